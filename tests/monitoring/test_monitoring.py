"""What a step leaves for whoever watches: norms, clips, rates, on every backend."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_textbook_opt import SGD, Adam, monitoring
from keras_textbook_opt.callbacks import watch
from keras_textbook_opt.gradients import Dense
from keras_textbook_opt.norms import Norms, measured, measured_each
from tests import reference
from tests.backends import (
    BACKEND,
    HAS,
    MODES,
    MODES_IN_TIME,
    Sparse,
    few,
    few_on_jax,
    gradient,
    in_modes,
    numbers,
    of_dtypes,
    step_in,
)
from tests.recipes import EXACT, LAZY, Recipe
from tests.same import assert_hold_the_same

SPECS = (((5, 2), "float32"), ((3, 2), "float32"), ((4,), "float32"))
ROWS = np.array([3, 0, 3, 1])
CLIPS: list[dict[str, float]] = [
    {},
    {"clipnorm": 0.5},
    {"global_clipnorm": 0.5},
    {"clipvalue": 0.5},
]
LAZY_HERE = LAZY[::2] if "rows" in HAS else []
RECIPES = [*EXACT[:4], EXACT[8], *LAZY_HERE]
of_each_mode = pytest.mark.parametrize("mode", MODES_IN_TIME)
of_each_clip = pytest.mark.parametrize("clip", CLIPS, ids=str)


class Loop:
    """A loop of one's own over the variables of `specs`, which is watched."""

    def __init__(self, recipe: Recipe, mode: str, specs: tuple = SPECS, **watched: Any):
        self.specs = specs
        with self._dtypes():
            self.variables = [
                keras.Variable(np.ones(shape), dtype=d, name=f"v{k}")
                for k, (shape, d) in enumerate(specs)
            ]
            self.optimizer = recipe.make()
            self.optimizer.build(self.variables)
            self._open = watch(self.optimizer, **watched)
            self.watched = self._open.__enter__()
            self._step = step_in(mode, self.optimizer, self.variables)

    def _dtypes(self) -> Any:
        return of_dtypes([dtype for _, dtype in self.specs])

    def take(self, *steps: list) -> dict[str, float]:
        """What is read after the steps, each a list of gradients."""
        with self._dtypes():
            for gradients in steps:
                self._step([gradient(g, *s) for g, s in zip(gradients, self.specs)])
            return self.watched.read()

    def path(self, k: int) -> str:
        return self.variables[k].path

    def close(self) -> None:
        self._open.__exit__(None, None, None)


def dense(g: Any, shape: tuple) -> np.ndarray:
    """A gradient in float64."""
    if isinstance(g, Sparse):
        return reference.densify(*g, shape)
    return np.asarray(g, np.float64)


def norm(*arrays: np.ndarray) -> float:
    flat = np.concatenate([a.ravel().astype(np.longdouble) for a in arrays])
    return float(np.sqrt(np.sum(np.square(flat))))


def acted(clip: dict[str, float], gradients: list[np.ndarray]) -> float:
    """The part of the variables, or of the one step, on which the clip acts."""
    [(name, c)] = clip.items()
    if name == "clipnorm":
        return float(np.mean([norm(g) > c for g in gradients]))
    if name == "global_clipnorm":
        return float(norm(*gradients) > c)
    return float(max(np.abs(g).max() for g in gradients) > c)


LOOPS: dict[Any, Loop] = {}


def loop(recipe: Recipe, mode: str, **watched: Any) -> Loop:
    """One that is compiled once for all examples."""
    key = (str(recipe), mode, str(watched))
    if key not in LOOPS:
        LOOPS[key] = Loop(recipe, mode, **watched)
    return LOOPS[key]


@pytest.mark.parametrize("per_variable", [False, True], ids=["total", "each"])
@pytest.mark.parametrize(("clip", "mode"), in_modes(CLIPS, slice(2, 3)))
@given(
    seed=st.integers(0, 2**32),
    exponents=st.lists(st.integers(-36, 36), min_size=3, max_size=3)
    | st.integers(-30, 30).map(lambda x: [x] * 3),
)
def test_the_norms_are_those_of_float64_for_gradients_of_any_size(
    clip, per_variable, mode, seed, exponents
):
    rng = np.random.default_rng(seed)
    shapes = [(4, 2), (3, 2), (4,)]
    values = [
        (rng.normal(size=shape) * 10.0**e).astype("float32")
        for shape, e in zip(shapes, exponents, strict=True)
    ]
    gradients = [Sparse(ROWS, values[0]), *values[1:]]
    subject = loop(Recipe(SGD, clip), mode, per_variable=per_variable)
    logs = subject.take(gradients)
    exact = [dense(g, shape) for g, (shape, _) in zip(gradients, SPECS, strict=True)]
    np.testing.assert_allclose(logs["grad_norm"], norm(*exact), rtol=1e-5)
    assert logs["grad_norm_max"] == logs["grad_norm"]
    assert logs["nonfinite_steps"] == 0 and logs["learning_rate"] == np.float32(0.1)
    expected = pytest.approx(acted(clip, exact)) if clip else None
    assert logs.get("clip_fraction") == expected
    for k, g in enumerate(exact):
        key = f"grad_norm/{subject.path(k)}"
        assert (key in logs) == per_variable
        if per_variable:
            np.testing.assert_allclose(logs[key], norm(g), rtol=1e-5)


@of_each_mode
@of_each_clip
def test_gradients_of_zero_have_the_norm_zero(clip, mode):
    logs = loop(Recipe(SGD, clip), mode, per_variable=True).take(
        [Sparse(ROWS, np.zeros((4, 2))), np.zeros((3, 2)), np.zeros(4)]
    )
    assert logs["grad_norm"] == 0 and logs.get("clip_fraction", 0) == 0
    assert logs["nonfinite_steps"] == 0


@pytest.mark.needs("float64")
@of_each_mode
@of_each_clip
def test_norms_of_float64_may_be_larger_still(clip, mode):
    specs = (((3,), "float64"), ((2,), "float32"))
    subject = Loop(Recipe(SGD, clip), mode, specs)
    gradients = [np.array([1e200, -2e200, 1e190]), np.array([1e30, 1.0], "float32")]
    logs = subject.take(gradients)
    subject.close()
    np.testing.assert_allclose(logs["grad_norm"], norm(*gradients), rtol=1e-5)
    assert logs["nonfinite_steps"] == 0


SIZES = [1.4 * 2.0**59, 1.0, 1e-35, 1e36]


@pytest.mark.parametrize("size", few_on_jax(SIZES, slice(1)))
@pytest.mark.parametrize("measure", [measured, measured_each])
def test_the_squares_of_many_may_fit_where_their_sum_does_not(measure, size):
    each = keras.ops.full((2,), size, "float32")
    found = measure(Norms([Dense(each)] * 300))
    np.testing.assert_allclose(numbers(found.total), 600**0.5 * size, rtol=1e-5)
    assert int(numbers(found.first)) == -1


@pytest.mark.parametrize("c", few_on_jax([1e-18, 1e-8, 1.0], slice(1)))
def test_a_clipnorm_acts_on_the_small_beside_the_large(c):
    variables = [keras.Variable(np.ones(2, "float32"), name=n) for n in "abc"]
    optimizer = SGD(0.1, clipnorm=c)
    optimizer.build(variables)
    with watch(optimizer) as watched:
        gradients = [keras.ops.full((2,), x, "float32") for x in (2 * c, c / 4, 1e6)]
        optimizer.apply(gradients, variables)
        assert watched.read()["clip_fraction"] == pytest.approx(2 / 3)


@pytest.mark.needs("jax")
@pytest.mark.parametrize(
    "recipe", few([EXACT[8], EXACT[0], EXACT[-1]], slice(1)), ids=str
)
def test_nothing_of_the_size_of_a_gradient_is_written_down_to_watch_it(recipe):
    """Adam's `g²` is another one to the compiler than that of the norm."""
    import jax

    variables = [keras.Variable(np.ones((512, 512), "float32"))]
    optimizer = recipe.make()
    optimizer.build(variables)

    def size_of_what_is_between() -> int:
        state, θ = (
            [v.value for v in each] for each in (optimizer.variables, variables)
        )
        step = jax.jit(
            lambda θ, state, g: optimizer.stateless_apply(state, g, θ),
            donate_argnums=(0, 1),
        )
        memory = step.lower(θ, state, θ).compile().memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    before = size_of_what_is_between()
    with watch(optimizer):
        assert size_of_what_is_between() < before + 512 * 512


@of_each_mode
@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(SGD, {"weight_decay": 0.1}),
        Recipe(Adam, {"global_clipnorm": 0.75}),
        *LAZY_HERE[:1],
    ],
    ids=str,
)
def test_the_update_ratio_is_that_of_what_the_variables_hold(recipe, mode):
    subject = Loop(recipe, mode, update_ratio=True)
    rng = np.random.default_rng(1)
    for size in (1.0, 1e-20):
        before = [numbers(v).astype(np.float64) for v in subject.variables]
        gradients = [
            Sparse(ROWS, size * rng.normal(size=(4, 2))),
            size * rng.normal(size=(3, 2)),
            size * rng.normal(size=4),
        ]
        logs = subject.take(gradients)
        changes = [numbers(v) - b for v, b in zip(subject.variables, before)]
        expected = norm(*changes) / norm(*before)
        np.testing.assert_allclose(logs["update_ratio"], expected, rtol=1e-5)
    subject.close()


def test_the_update_ratio_has_what_16_bits_have_no_room_for():
    θ = keras.Variable([1.0, 1.0], dtype="bfloat16")
    optimizer = SGD(1e-6)
    optimizer.build([θ])
    with watch(optimizer, update_ratio=True) as watched:
        optimizer.apply([keras.ops.ones(2, "bfloat16")], [θ])
        assert watched.read()["update_ratio"] == pytest.approx(1e-6, rel=0.1)


@of_each_mode
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("per_variable", [False, True], ids=["total", "each"])
@pytest.mark.parametrize("clip", [CLIPS[0], CLIPS[1]], ids=str)
def test_what_is_not_finite_is_counted_and_named_and_spoils_no_mean(
    clip, per_variable, bad, mode
):
    subject = loop(Recipe(SGD, clip), mode, per_variable=per_variable)
    subject.watched.first_nonfinite = None
    table = Sparse(ROWS, np.ones((4, 2)))
    sound = [table, np.ones((3, 2)), np.ones(4)]
    matrix, vector = np.ones((3, 2)), np.ones(4)
    matrix[2, 1] = vector[0] = bad
    broken = [table, matrix, vector]
    logs = subject.take(sound, broken, sound, broken)
    assert logs == subject.take(sound) | {"nonfinite_steps": 2.0}
    assert subject.watched.first_nonfinite == subject.path(1)
    assert np.isnan(subject.take(broken).get("grad_norm", np.nan))


def test_the_sum_of_finite_gradients_may_overflow_and_is_not_a_fault():
    subject = loop(Recipe(SGD, CLIPS[1]), MODES[-1], per_variable=False)
    table = Sparse(np.arange(4), np.full((4, 2), 3e38))
    logs = subject.take([table, np.full((3, 2), 3e38), np.full(4, 3e38)])
    assert logs["nonfinite_steps"] == 0 and logs["grad_norm"] > 3e38


@of_each_mode
def test_a_read_tells_of_the_steps_since_the_last_and_of_room_at_most(mode):
    subject = Loop(Recipe(SGD, {"global_clipnorm": 2.5}), mode, room=3)
    steps = [[np.zeros((5, 2)), np.zeros((3, 2)), [0.0, 0, 0, n]] for n in range(1, 8)]
    steps = [[a, b, np.array(c)] for a, b, c in steps]
    assert subject.take() == {}
    expected = [
        (steps[:1], 1, 1, 0),
        ([], None, None, None),
        (steps[1:4], 3, 4, 2 / 3),
        (steps[2:], 6, 7, 1),
        (steps[:2], 1.5, 2, 0),
    ]
    for taken, mean, largest, part in expected:
        logs = subject.take(*taken)
        found = [logs.get(k) for k in ("grad_norm", "grad_norm_max", "clip_fraction")]
        assert found == (
            [None] * 3 if mean is None else pytest.approx([mean, largest, part])
        )
    subject.close()


def test_more_steps_can_be_numbered_than_float32_can_count():
    subject = Loop(Recipe(SGD), MODES[-1])
    records = subject.optimizer._state.watch.variables[0]
    held = numbers(records)
    held[:, monitoring.NUMBER] = monitoring.NUMBERS - 1
    records.assign(held)
    subject.take()
    gradients = [np.ones(shape) for shape, _ in SPECS]
    for count in (1, 2, 3):
        subject.take(*count * [gradients])
        assert len(subject.optimizer._state.watch.variables) == 1
    assert 1 <= numbers(records)[0, monitoring.NUMBER] <= 5
    subject.close()


@of_each_mode
def test_steps_that_only_accumulate_are_no_steps_and_the_norm_is_of_the_mean(mode):
    recipe = Recipe(
        Adam, {"gradient_accumulation_steps": 3, "clipnorm": 0.5, "weight_decay": 0.1}
    )
    subject = Loop(recipe, mode)
    rng = np.random.default_rng(3)
    steps = [
        [Sparse(ROWS, rng.normal(size=(4, 2))), rng.normal(size=(3, 2)), np.ones(4)]
        for _ in range(3)
    ]
    assert [subject.take(s) for s in steps[:2]] == [{}, {}]
    logs = subject.take(steps[2])
    means = [
        np.mean([dense(s[k], shape) for s in steps], axis=0)
        for k, (shape, _) in enumerate(SPECS)
    ]
    np.testing.assert_allclose(logs["grad_norm"], norm(*means), rtol=1e-5)
    assert logs["clip_fraction"] == pytest.approx(acted({"clipnorm": 0.5}, means))
    subject.close()


@pytest.mark.parametrize("mode", MODES[-1:])
@pytest.mark.parametrize("recipe", few(RECIPES, slice(1, 5, 3)), ids=str)
def test_a_step_that_is_watched_is_the_same_step_to_the_bit(recipe, mode):
    rng = np.random.default_rng(5)
    steps = [
        [Sparse(ROWS, rng.normal(size=(4, 2))), rng.normal(size=(3, 2)), np.ones(4)]
        for _ in range(3)
    ]
    watched = Loop(recipe, mode, update_ratio=True, per_variable=True)
    alone = Loop(recipe, mode)
    alone.close()
    alone._step = step_in(mode, alone.optimizer, alone.variables)
    for gradients in steps:
        watched.take(gradients)
        alone._step([gradient(g, *s) for g, s in zip(gradients, SPECS)])
    watched.close()
    assert_hold_the_same(watched, alone)


def program(optimizer: Any, variables: list) -> str:
    """What a step is compiled to."""
    gradients = [keras.ops.ones(v.shape) for v in variables]
    if BACKEND == "jax":
        import jax

        values = [[v.value for v in each] for each in (optimizer.variables, variables)]
        return str(
            jax.make_jaxpr(optimizer.stateless_apply)(values[0], gradients, values[1])
        )
    import tensorflow as tf

    step = tf.function(lambda gs: optimizer.apply(gs, variables))
    graph = step.get_concrete_function(gradients).graph
    return "\n".join(
        f"{op.type} {[str(i.dtype) for i in op.inputs]}"
        for op in graph.get_operations()
    )


@pytest.mark.skipif(BACKEND not in ("tensorflow", "jax"), reason="nothing is compiled")
@pytest.mark.parametrize("recipe", EXACT[:4], ids=str)
def test_a_step_that_nobody_watches_any_more_is_compiled_to_what_it_was(recipe):
    variables = [keras.Variable(np.ones(shape)) for shape, _ in SPECS]
    optimizer = recipe.make()
    optimizer.build(variables)
    before = program(optimizer, variables)
    with watch(optimizer, update_ratio=True):
        assert program(optimizer, variables) != before
    assert program(optimizer, variables) == before


def test_what_is_watched_is_not_saved():
    variables = [keras.Variable(np.ones(shape)) for shape, _ in SPECS]
    optimizer = Adam(0.1, clipnorm=1.0)
    optimizer.build(variables)
    gradients = [np.ones(shape) for shape, _ in SPECS]

    def saved() -> dict[str, np.ndarray]:
        store: dict[str, Any] = {}
        optimizer.save_own_variables(store)
        return {key: np.array(value) for key, value in store.items()}

    config, names = optimizer.get_config(), set(saved())
    with watch(optimizer, True, True) as watched:
        optimizer.apply(gradients, variables)
        assert optimizer.get_config() == config and set(saved()) == names
        for copied in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)):
            twins = [keras.Variable(np.ones(shape)) for shape, _ in SPECS]
            copied.build(twins)
            assert len(copied.variables) == len(optimizer.variables) - 2
        optimizer.set_weights([numbers(v) for v in optimizer.variables])
        kept = optimizer.to_keras()
        assert len(kept.variables) == len(optimizer.variables) - 2
        optimizer.reset_state()
        assert watched.read()["nonfinite_steps"] == 0
    assert int(optimizer.iterations) == 0


@pytest.mark.needs("tensorflow")
def test_a_checkpoint_of_tensorflow_is_the_same_with_and_without(tmp_path):
    import tensorflow as tf

    def written(is_watched: bool) -> list:
        θ = keras.Variable(np.ones(3))
        optimizer = Adam(0.1, clipnorm=1.0)
        optimizer.build([θ])
        checkpoint = tf.train.Checkpoint(optimizer=optimizer)
        if not is_watched:
            return tf.train.list_variables(checkpoint.write(tmp_path / "without"))
        with watch(optimizer, True, True):
            optimizer.apply([np.ones(3)], [θ])
            return tf.train.list_variables(checkpoint.write(tmp_path / "with"))

    assert written(True) == written(False)


def test_a_variable_without_a_gradient_has_the_norm_zero_and_keeps_its_place():
    variables = [keras.Variable(np.ones(2), name=f"v{k}") for k in range(3)]
    optimizer = SGD(0.1, clipnorm=1.0)
    optimizer.build(variables)
    with watch(optimizer, per_variable=True) as watched, pytest.warns(UserWarning):
        optimizer.apply(
            [None, np.array([3.0, 4.0]), np.array([0.0, np.nan])], variables
        )
        bad = watched.read()
        optimizer.apply([None, np.array([3.0, 4.0]), np.array([0.0, 0.5])], variables)
        logs = watched.read()
    assert bad["nonfinite_steps"] == 1 and watched.first_nonfinite == variables[2].path
    norms = [logs[f"grad_norm/{v.path}"] for v in variables]
    assert norms == [0, 5, 0.5] and logs["clip_fraction"] == 0.5


@pytest.mark.parametrize("per_variable", [False, True])
@pytest.mark.parametrize(
    ("added", "trained"),
    [("abc", "abc"), ("ca", "ca"), ("b", "b"), ("c", "abc"), ("c", "cab")],
)
def test_a_watch_is_of_the_variables_that_there_are(added, trained, per_variable):
    """Grown, let go, in another order; those that come last were appended."""
    of = {name: keras.Variable(np.ones(2), name=name) for name in "abc"}
    optimizer = SGD(0.1, clipnorm=1.0)
    optimizer.build([of["a"], of["b"]])
    variables = [of[name] for name in trained]
    sizes = [np.array([0.0, k], "float32") for k in range(1, len(trained) + 1)]
    with watch(optimizer, per_variable=per_variable) as watched:
        optimizer.apply([np.ones(2, "float32")] * 2)
        assert watched.read()["grad_norm"] == 2
        optimizer.add_variables([of[name] for name in added])
        optimizer.apply(sizes, variables)
        logs = watched.read()
        optimizer.apply([*sizes[1:], sizes[0] * np.nan], variables)
        assert watched.read()["nonfinite_steps"] == 1
    np.testing.assert_allclose(logs["grad_norm"], np.linalg.norm(sizes), rtol=1e-6)
    assert watched.first_nonfinite == variables[-1].path
    norms = {key: x for key, x in logs.items() if key.startswith("grad_norm/")}
    expected = {f"grad_norm/{v.path}": k for k, v in enumerate(variables, 1)}
    assert norms == (expected if per_variable else {})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: keras.optimizers.SGD(0.1), "optimizer of `keras_textbook_opt`"),
        (lambda: SGD(0.1), "built"),
    ],
)
def test_what_cannot_be_watched_is_refused(make, said):
    with pytest.raises(ValueError, match=said), watch(make()):
        raise AssertionError


def test_a_watch_is_alone_and_ends_with_its_block():
    θ = keras.Variable(1.0)
    optimizer = SGD(0.1)
    optimizer.build([θ])
    count = len(optimizer.variables)
    with pytest.raises(RuntimeError), watch(optimizer):
        with pytest.raises(ValueError, match="nobody watches"), watch(optimizer):
            raise AssertionError
        assert len(optimizer.variables) == count + 1
        raise RuntimeError
    assert len(optimizer.variables) == count
    for room in (0, 1.5, "x"):
        with pytest.raises(ValueError, match="room"), watch(optimizer, room=room):  # type: ignore[arg-type]
            raise AssertionError
