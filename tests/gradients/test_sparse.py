"""A sparse gradient gives what its densified gradient gives, however it is written.

`"exact"`: the equation runs on every row; `"lazy"`: on the rows touched, alone.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_textbook_opt import SGD, Adam, Momentum, TextbookOptimizer
from tests.backends import MODES_IN_TIME, Sparse, in_modes
from tests.oracle import Oracle
from tests.programs.own_hooks import OwnEquation, OwnRows
from tests.recipes import EXACT, FEW_EXACT, FEW_LAZY, LAZY, Recipe
from tests.reference import densify
from tests.trainer import assert_follows, trainer

pytestmark = pytest.mark.needs("rows")

SPECS = (
    ((6, 3), "float32"),
    ((5,), "float64"),
    ((4, 2, 2), "float32"),
    ((3,), "float32"),
)
TABLES = (0, 1, 2)


# XLA compiles anew for each number of rows.
COUNTS = {"eager": [0, 1, 4, 9], "graph": [0, 1, 4, 9], "xla": [0, 9]}


@st.composite
def sparse_runs(draw, mode="graph"):
    """Values, and for each step rows of the tables: repeated, unsorted, none or all."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = [rng.normal(size=shape).astype(dtype) for shape, dtype in SPECS]
    counts = draw(st.lists(st.sampled_from(COUNTS[mode]), min_size=1, max_size=4))
    return values, [_step(rng, count) for count in counts]


def _step(rng, count: int) -> list:
    gradients = [_rows(rng, count, *SPECS[k]) for k in TABLES]
    shape, dtype = SPECS[-1]
    return [*gradients, rng.normal(size=shape).astype(dtype)]


def _rows(rng, count, shape, dtype) -> Sparse:
    indices = rng.integers(0, shape[0], count)
    values = rng.normal(size=(count, *shape[1:])) * rng.choice([0.0, 0.1, 1.0])
    return Sparse(indices, values.astype(dtype))


@pytest.mark.parametrize(
    ("recipe", "mode"), in_modes(EXACT + LAZY, slice(5, None, 4), MODES_IN_TIME)
)
@given(data=st.data())
def test_sparse_steps_follow_the_equation(recipe, mode, data):
    values, gradients = data.draw(sparse_runs(mode))
    oracle, subject = Oracle(recipe, values), trainer(recipe, mode, SPECS, TABLES)
    for step in gradients:
        oracle.step(step)
    subject.run(values, gradients)
    assert_follows(subject, oracle)


@pytest.mark.parametrize("recipe", EXACT + LAZY, ids=str)
@given(run=sparse_runs(), seed=st.integers(0, 2**32))
def test_order_splitting_and_merging_of_rows_do_not_matter(recipe, run, seed):
    values, gradients = run
    rng = np.random.default_rng(seed)
    oracle, subject = Oracle(recipe, values), trainer(recipe, "graph", SPECS, TABLES)
    for step in gradients:
        oracle.step(step)
    rewritten = [[_rewritten(rng, g) for g in step] for step in gradients]
    subject.run(values, rewritten)
    assert_follows(subject, oracle)


def _rewritten(rng, g):
    """The same gradient with half of its rows split in two, in another order."""
    if not isinstance(g, Sparse):
        return g
    split = rng.random(len(g.indices)) < 0.5
    half = g.values[split] * np.asarray(0.5, g.values.dtype)
    kept = g.values.copy()
    kept[split] -= half
    indices = np.concatenate([g.indices, g.indices[split]])
    order = rng.permutation(len(indices))
    return Sparse(indices[order], np.concatenate([kept, half])[order])


@pytest.mark.parametrize("mode", MODES_IN_TIME)
@pytest.mark.parametrize("recipe", LAZY, ids=str)
@given(data=st.data())
def test_lazy_leaves_absent_rows_as_they_are_bit_for_bit(recipe, mode, data):
    values, gradients = data.draw(sparse_runs(mode))
    subject = trainer(recipe, mode, SPECS, TABLES)
    subject.run(values, gradients[:-1])
    before = [_state(subject, k) for k in TABLES]
    subject.run(values, gradients)
    for k in TABLES:
        absent = np.setdiff1d(np.arange(SPECS[k][0][0]), gradients[-1][k].indices)
        for old, new in zip(before[k], _state(subject, k), strict=True):
            np.testing.assert_array_equal(new[absent], old[absent])


def _state(subject, k: int) -> list:
    variable, optimizer = subject.variables[k], subject.optimizer
    names = ["m", "v", "v_hat"] if optimizer.name.startswith("adam") else ["m"]
    slots = [optimizer.get_slot(variable, n) for n in names if _has(subject, k, n)]
    return [variable.numpy(), *(slot.numpy() for slot in slots)]


def _has(subject, k: int, name: str) -> bool:
    return name != "v_hat" or subject.optimizer.amsgrad


@pytest.mark.parametrize("recipe", LAZY, ids=str)
def test_a_lazy_step_writes_no_tensor_of_the_size_of_the_table(recipe):
    subject = trainer(recipe, "graph", (((1000, 3), "float32"),), (0,))
    graph = subject._step.graph
    sizes = [
        (op.type, output.shape)
        for op in graph.get_operations()
        for output in op.outputs
        if op.type != "ReadVariableOp" and output.shape.rank
    ]
    assert any(shape[0] is None for _, shape in sizes)
    assert not [(kind, shape) for kind, shape in sizes if shape[0] == 1000]


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm", "clipvalue"])
@pytest.mark.parametrize("optimizer", [SGD, Momentum, Adam])
def test_a_clip_keeps_a_sparse_gradient_sparse(optimizer, clip):
    slices = tf.IndexedSlices(tf.constant([[3.0], [4.0]]), tf.constant([1, 1]))
    (clipped,) = optimizer(0.1, **{clip: 0.5})._clip_gradients([slices])
    assert isinstance(clipped, tf.IndexedSlices)
    np.testing.assert_allclose(clipped.values, [[0.5]])


AS_WRITTEN = {
    "a list": lambda x: x.tolist(),
    "a tuple": lambda x: tuple(x.tolist()),
    "a list of arrays": list,
    "an array": lambda x: x,
    "a tensor": tf.constant,
}


@pytest.mark.parametrize("mode", MODES_IN_TIME)
@pytest.mark.parametrize("recipe", FEW_EXACT[:1] + FEW_LAZY[1:], ids=str)
@pytest.mark.parametrize("count", [0, 3])
def test_both_parts_of_a_sparse_gradient_may_be_lists_tuples_or_arrays(
    recipe, mode, count
):
    i, x = np.array([1, 3, 1][:count], int), np.arange(2.0 * count).reshape(count, 2)
    expected = a_step_on_rows(recipe, "eager", lambda: (tf.constant(x), tf.constant(i)))
    forms = list(AS_WRITTEN.values())[: 1 if mode == "xla" else None]
    for indices in forms:
        np.testing.assert_allclose(
            a_step_on_rows(recipe, mode, lambda write=indices: (x, write(i))), expected
        )
    # An empty list does not say how wide its rows are.
    for values in forms if count else ():
        np.testing.assert_allclose(
            a_step_on_rows(recipe, mode, lambda write=values: (write(x), i)), expected
        )


def a_step_on_rows(recipe, mode, parts) -> np.ndarray:
    """A variable of float64 after one step on the values and indices `parts()`."""
    θ = keras.Variable(np.ones((4, 2)), dtype="float64")
    optimizer = recipe.make()
    optimizer.build([θ])

    def step():
        optimizer.apply([tf.IndexedSlices(*parts())], [θ])

    if mode != "eager":
        step = tf.function(step, jit_compile=mode == "xla")
    step()
    return θ.numpy()


@pytest.mark.parametrize("mode", MODES_IN_TIME)
@pytest.mark.parametrize(
    "recipe",
    [
        *FEW_EXACT[1:],
        *FEW_LAZY[1:],
        Recipe(Momentum, {"gradient_accumulation_steps": 2, "weight_decay": 0.1}),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_table_without_an_element_takes_steps(recipe, mode, dtype):
    shapes = [(3, 0), (2, 0, 3), (0, 3), (0,)]
    tables = [keras.Variable(np.zeros(shape), dtype=dtype) for shape in shapes]
    variables = [*tables, keras.Variable([1.0])]
    optimizer = recipe.make()
    optimizer.build(variables)

    def step():
        rows = [[1, 0, 1] if shape[0] else [] for shape in shapes]
        slices = [
            tf.IndexedSlices(tf.zeros((len(i), *shape[1:]), dtype), i)
            for i, shape in zip(rows, shapes)
        ]
        optimizer.apply([*slices, [1.0]], variables)

    if mode != "eager":
        step = tf.function(step, jit_compile=mode == "xla")
    for _ in range(2):
        step()
    assert [tuple(table.shape) for table in tables] == shapes
    assert variables[-1].numpy() != 1.0


OWN = [
    {},
    {"sparse_update": "lazy"},
    {"clipnorm": 0.5},
    {"global_clipnorm": 0.5},
    {"clipvalue": 0.5, "sparse_update": "lazy"},
    {"gradient_accumulation_steps": 2},
    {"gradient_accumulation_steps": 2, "sparse_update": "lazy", "clipnorm": 0.5},
    {"loss_scale_factor": 2.0, "use_ema": True},
]


@pytest.mark.parametrize("mode", MODES_IN_TIME)
@pytest.mark.parametrize("arguments", OWN, ids=str)
@pytest.mark.parametrize("cls", [OwnEquation, OwnRows])
def test_the_hooks_of_another_class_get_each_row_once(cls, arguments, mode):
    step = [Sparse(np.array([1, 1, 2]), np.array([[3.0], [1.0], [-5.0]]))]
    own, twin = (keras.Variable(np.ones((4, 1))) for _ in range(2))
    optimizer = cls(0.25, **arguments)
    # Without a hook for rows: the densified gradient, which has no repeats.
    densified = OwnEquation(0.25, **arguments)
    optimizer.build([own])

    def apply():
        slices = [tf.IndexedSlices(g.values, g.indices) for g in step]
        optimizer.apply(slices, [own])

    if mode != "eager":
        apply = tf.function(apply, jit_compile=mode == "xla")
    for _ in range(2):
        apply()
        densified.apply([densify(*step[0], (4, 1))], [twin])
    assert optimizer.named.numpy().tolist() == [0, 1, 1, 0]
    np.testing.assert_allclose(own, twin, rtol=1e-6)
    np.testing.assert_allclose(
        optimizer.get_slot(own, "m"), densified.get_slot(twin, "m"), rtol=1e-6
    )


@pytest.mark.parametrize("mode", MODES_IN_TIME)
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.5}, {"clipnorm": 0.5}])
def test_a_class_that_says_lazy_leaves_absent_rows_alone(options, mode):
    class Lazy(TextbookOptimizer):
        sparse_update = "lazy"

        def create_slots(self, variables):
            for variable in variables:
                self.add_slot(variable, "m")

        def apply_dense(self, g, θ, η, m):
            m = 0.5 * m + g
            return θ - η * m, m

    θ = keras.Variable(np.ones((4, 1)))
    optimizer = Lazy(0.25, **options)
    optimizer.build([θ])

    def step(rows):
        optimizer.apply([tf.IndexedSlices(tf.ones((2, 1)), rows)], [θ])

    if mode != "eager":
        step = tf.function(step, jit_compile=mode == "xla")
    step(tf.constant([0, 1]))
    before = [θ.numpy(), optimizer.get_slot(θ, "m").numpy()]
    step(tf.constant([2, 2]))
    after = [θ.numpy(), optimizer.get_slot(θ, "m").numpy()]
    for old, new in zip(before, after):
        assert np.flatnonzero((old != new).ravel()).tolist() == [2]


@pytest.mark.parametrize("mode", MODES_IN_TIME)
def test_a_hook_without_slots_may_return_its_rows_alone(mode):
    class Alone(OwnEquation):
        def create_slots(self, variables):
            pass

        def apply_sparse(self, g, θ, η):  # type: ignore[override]
            return g.with_values(tf.gather(θ, g.indices) - η * g.values)

    θ = keras.Variable(np.ones((4, 1)))
    optimizer = Alone(0.25)
    optimizer.build([θ])

    def step():
        optimizer.apply([tf.IndexedSlices([[3.0], [1.0], [4.0]], [1, 1, 2])], [θ])

    if mode != "eager":
        step = tf.function(step, jit_compile=mode == "xla")
    step()
    assert θ.numpy().ravel().tolist() == [1.0, 0.0, 0.0, 1.0]


def test_a_hook_that_forgets_its_slots_is_refused_and_changes_nothing():
    class Forgetful(OwnEquation):
        def apply_sparse(self, g, θ, η, m):
            return θ

    θ = keras.Variable(np.ones((4, 1)))
    with pytest.raises(ValueError, match=r"its new slots: 2 in all. Received: 1"):
        Forgetful(0.25).apply([tf.IndexedSlices([[3.0]], [1])], [θ])
    assert (θ.numpy() == 1).all()
