"""A rate for each variable: the steps of as many optimizers, each with its own rate."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_textbook_opt import SGD, Adam, Momentum
from keras_textbook_opt.variables import compute_dtype
from tests.backends import (
    HAS,
    MODES_IN_TIME,
    few,
    few_on_jax,
    numbers,
    of_dtypes,
    step_in,
)
from tests.equations.test_equations import SPECS as DENSE_SPECS
from tests.equations.test_equations import WIDE, dense_runs
from tests.equations.test_everything_at_once import (
    CASES,
    SPECS,
    assert_features_go_with_the_oracle,
    runs,
)
from tests.equations.test_everything_at_once import _label as label
from tests.oracle import Oracle
from tests.recipes import EXACT, LAZY
from tests.trainer import assert_follows, trainer

if "rows" in HAS:
    from tests.gradients import test_sparse as sparse

OPTIMIZERS = [SGD, Momentum, Adam]
of_each_optimizer = pytest.mark.parametrize("cls", OPTIMIZERS)
of_each_mode = pytest.mark.parametrize("mode", MODES_IN_TIME)
FACTORS = (0.25, 2.0, 1.0, 0.3, 0.0, 0.3, 0.0)


@of_each_mode
@pytest.mark.parametrize("recipe", few(EXACT[1:], slice(1, None, 5)), ids=str)
@given(run=dense_runs())
def test_dense_steps_follow_the_equation_of_each_rate(recipe, mode, run):
    values, gradients = run
    oracle = Oracle(recipe, values, factors=FACTORS)
    subject = trainer(recipe, mode, DENSE_SPECS, factors=FACTORS)
    for step in gradients:
        oracle.step(step)
    subject.run(values, gradients)
    assert_follows(subject, oracle)


@pytest.mark.needs("rows")
@pytest.mark.parametrize("mode", MODES_IN_TIME)
@pytest.mark.parametrize("recipe", few([EXACT[9], *LAZY], slice(0, None, 2)), ids=str)
@given(data=st.data())
def test_sparse_steps_follow_the_equation_of_each_rate(recipe, mode, data):
    factors = FACTORS[1 : 1 + len(sparse.SPECS)]
    values, gradients = data.draw(sparse.sparse_runs(mode))
    oracle = Oracle(recipe, values, factors=factors)
    subject = trainer(recipe, mode, sparse.SPECS, sparse.TABLES, factors=factors)
    for step in gradients:
        oracle.step(step)
    subject.run(values, gradients)
    assert_follows(subject, oracle)


@pytest.mark.parametrize("recipe", few(CASES, slice(0, None, 4)), ids=label)
@given(run=runs())
def test_all_features_of_keras_go_with_it(recipe, run):
    """And a factor of 0 leaves variables of 16 bits, carries and averages in place."""
    assert_features_go_with_the_oracle(recipe, run, FACTORS[1 : 1 + len(SPECS)])


# Against an optimizer for each variable.

NAMED = {"single": "float32", "double": WIDE, "half": "float16", "brain": "bfloat16"}
DTYPES = list(NAMED.values())
BY_NAME = {"single": 0.5, "^double$": 4.0, "brain": 0.0, "[a-h]": 0.25}
EACH = [0.5, 4.0, 0.25, 0.0]


def at_the_start() -> list[keras.Variable]:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(len(NAMED), 3, 2))
    return [keras.Variable(x, dtype=NAMED[n], name=n) for n, x in zip(NAMED, values)]


def stepped(optimizer, variables, mode: str = "eager", count: int = 3) -> list:
    """The variables, and what is kept beside them, after some steps."""
    optimizer.build(variables)
    rng = np.random.default_rng(1)
    step = step_in(mode, optimizer, variables)
    all_gradients = rng.normal(size=(count, len(DTYPES), 3, 2))
    for gradients in all_gradients:
        chosen = [gradients[list(NAMED).index(v.name)] for v in variables]
        step([ops.cast(g, v.dtype) for g, v in zip(chosen, variables)])
    optimizer.finalize_variable_values(variables)
    return [[numbers(v) for v in (θ, *kept(optimizer, θ))] for θ in variables]


def kept(optimizer, variable) -> list[keras.Variable]:
    return list(optimizer._beside(variable).kept().values())


schedules = keras.optimizers.schedules
LEARNING_RATES = {
    "a number": lambda factor: 0.125 * factor,
    "a callable": lambda factor: lambda: 0.125 * factor,
    "a schedule": lambda factor: schedules.PiecewiseConstantDecay(
        [1, 2], [0.5 * factor, 0.125 * factor, 0.25 * factor]
    ),
}
OPTIONS: list[dict] = [
    {"clipnorm": 0.5, "weight_decay": 0.25},
    {"clipvalue": 0.5, "use_ema": True, "ema_overwrite_frequency": 2},
    {"gradient_accumulation_steps": 2, "weight_decay": 0.25, "compensate": False},
]


@pytest.mark.parametrize(
    ("rate", "options"),
    few_on_jax(
        [pytest.param(*each) for each in zip(LEARNING_RATES, OPTIONS)], slice(1)
    ),
)
@of_each_mode
@of_each_optimizer
def test_the_steps_are_those_of_an_optimizer_for_each_variable(
    cls, mode, options, rate
):
    """The factors are powers of two: nothing is rounded on the way."""
    make = LEARNING_RATES[rate]
    with of_dtypes(DTYPES):
        ours = stepped(
            cls(make(1.0), learning_rate_multipliers=BY_NAME, **options),
            at_the_start(),
            mode,
        )
        for k, factor in enumerate(EACH):
            if factor:
                own = cls(make(factor), **options)
                (expected,) = stepped(own, at_the_start()[k : k + 1], mode)
                unit = np.finfo(compute_dtype(at_the_start()[k])).eps
                for a, b in zip(ours[k], expected, strict=True):
                    a, b = (np.asarray(x, "float64") for x in (a, b))
                    np.testing.assert_allclose(a, b, rtol=8 * unit, atol=8 * unit)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: next(iter(options)))
@of_each_mode
@of_each_optimizer
def test_a_factor_of_zero_changes_nothing_to_the_bit(cls, mode, options):
    """Nor its slots, nor a carry; its average is the variable."""
    with of_dtypes(DTYPES):
        optimizer = cls(0.125, learning_rate_multipliers={"^(?!double)": 0}, **options)
        variables = at_the_start()
        for θ, (value, *_) in zip(variables, stepped(optimizer, variables, mode)):
            before = at_the_start()[list(NAMED).index(θ.name)]
            same = np.array_equal(value, numbers(before))
            assert same == (θ.name != "double")
            if same:
                beside = optimizer._beside(θ)
                if beside.average is not None:
                    held = np.asarray(value, beside.average.dtype)
                    np.testing.assert_array_equal(numbers(beside.average), held)
                for place in [*beside.slots.values(), beside.carry]:
                    assert place is None or not numbers(place).any()


def test_the_gradient_of_one_that_stays_counts_in_the_norm_of_all():
    still, moving = keras.Variable([0.0], name="still"), keras.Variable([0.0], name="b")
    optimizer = SGD(1.0, global_clipnorm=1.0, learning_rate_multipliers={"still": 0})
    optimizer.apply([[3.0], [4.0]], [still, moving])
    np.testing.assert_allclose([*map(numbers, (still, moving))], [[0.0], [-0.8]])


@pytest.mark.needs("torch")
@of_each_optimizer
def test_so_it_is_with_the_groups_of_pytorch(cls):
    """Where the clip counts all gradients, and decay is scaled with the rate."""
    import torch

    arguments = {"weight_decay": 0.25, "global_clipnorm": 1.0}
    θ = [keras.Variable([1.0, -2.0], name=n) for n in ("a", "b", "c")]
    optimizer = cls(0.125, learning_rate_multipliers={"a": 0.5, "b": 0}, **arguments)
    tensors = [torch.nn.Parameter(torch.tensor([1.0, -2.0])) for _ in θ]
    groups: list[dict[str, Any]] = [
        {"params": [t], "lr": 0.125 * f} for t, f in zip(tensors, (0.5, 0.0, 1.0))
    ]
    theirs: torch.optim.Optimizer
    if cls is Adam:
        theirs = torch.optim.AdamW(groups, weight_decay=0.25, eps=1e-8)
    else:
        theirs = torch.optim.SGD(groups, momentum=0.9 if cls is Momentum else 0.0)
    for k in range(3):
        gradients = [torch.tensor([0.5 - k, float(j)]) for j in range(3)]
        optimizer.apply(gradients, θ)
        for t, g in zip(tensors, gradients):
            t.grad = g.clone()
        torch.nn.utils.clip_grad_norm_(tensors, 1.0, foreach=False)
        if cls is not Adam:  # whose decay is not decoupled there
            with torch.no_grad():
                for group in groups:
                    group["params"][0].mul_(1 - group["lr"] * 0.25)
        theirs.step()
    for variable, tensor in zip(θ, tensors):
        expected = tensor.detach().numpy()
        np.testing.assert_allclose(numbers(variable), expected, rtol=2e-5, atol=2e-6)


@of_each_mode
@of_each_optimizer
def test_a_subclass_gets_the_rate_of_each_variable(cls, mode):
    class Halving(cls):  # type: ignore[misc, valid-type]
        def update_step(self, gradient, variable, learning_rate):
            assert ops.is_tensor(learning_rate) and learning_rate.shape == ()
            super().update_step(gradient, variable, learning_rate * 0.5)

    options: dict[str, Any] = {"clipnorm": 0.5, "weight_decay": 0.25}
    options["learning_rate_multipliers"] = BY_NAME
    with of_dtypes(DTYPES):
        half = stepped(Halving(0.25, **options), at_the_start(), mode)
        own = stepped(cls(0.125, **options), at_the_start(), mode)
        for one, other in zip(half, own):
            for a, b in zip(one, other, strict=True):
                a, b = (np.asarray(x, "float64") for x in (a, b))
                np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


# What the argument may be.


def test_the_first_pattern_that_is_found_counts():
    variables = [keras.Variable(0.0, name=n) for n in ("kernel", "bias", "gamma")]
    optimizer = SGD(learning_rate_multipliers={"^ker": 2, "e|b": 3, "kernel": 5})
    optimizer.build(variables)
    assert [optimizer._beside(v).factor for v in variables] == [2, 3, 1]
    assert float(optimizer.learning_rate) == np.float32(0.01)


BAD = {
    "a negative factor": {"a": -1.0},
    "NaN": {"a": float("nan")},
    "infinity": {"a": float("inf")},
    "no number": {"a": "2"},
    "a bool": {"a": True},
    "too large for float32": {"a": 1e39},
    "no pattern": {"(": 1.0},
    "no string": {1: 1.0},
    "a list of patterns": ["a", "b"],
    "a list of strings of two letters": ["ab"],
    "three in a row": [("a", 1.0, 2.0)],
    "a pattern twice": [("a", 1.0), ("a", 2.0)],
    "a pair of no string": [(1, 1.0)],
    "a set of pairs": {("a", 1.0)},
    "a number": 2.0,
    "zero": 0,
}


@pytest.mark.parametrize("bad", BAD)
@of_each_optimizer
def test_what_is_no_dict_of_patterns_and_factors_is_refused(cls, bad):
    message = r"`learning_rate_multipliers.*` must be .*Received: "
    with pytest.raises(ValueError, match=message):
        cls(learning_rate_multipliers=BAD[bad])
    optimizer = cls(learning_rate_multipliers={"a": 2})
    with pytest.raises(ValueError, match=message):
        optimizer.learning_rate_multipliers = BAD[bad]
    assert optimizer.learning_rate_multipliers == {"a": 2.0}


@of_each_optimizer
def test_a_pattern_that_is_found_nowhere_is_refused_and_nothing_is_built(cls):
    variables = [keras.Variable(0.0, name=n) for n in ("kernel", "bias")]
    optimizer = cls(learning_rate_multipliers={"bias": 2, "^head/": 3, "kernal": 4})
    message = r"found.*Received: '\^head/', 'kernal', for variables kernel, bias"
    for attempt in (optimizer.build, lambda θ: optimizer.apply([1.0, 1.0], θ)):
        with pytest.raises(ValueError, match=message):
            attempt(variables)
        assert not optimizer.built and len(optimizer.variables) == 2
        assert [float(numbers(v)) for v in variables] == [0.0, 0.0]


def test_repr_shows_them_in_their_order():
    assert repr(SGD(learning_rate_multipliers={})) == "SGD()"
    few = {"b": 2, "a": 0.5}
    assert "learning_rate_multipliers={'b': 2.0, 'a': 0.5}" in repr(
        SGD(learning_rate_multipliers=few)
    )
    many = dict.fromkeys("fedcba", 2)
    assert "{'f': 2.0, 'e': 2.0, 'd': 2.0, 'c': 2.0, ...}" in repr(
        SGD(learning_rate_multipliers=many)
    )


def test_the_dict_is_the_optimizers_own():
    given = {"a": 2.0}
    optimizer = SGD(learning_rate_multipliers=given)
    given["a"] = 3.0
    got = optimizer.learning_rate_multipliers
    assert got is not None
    got["b"] = 4.0
    assert optimizer.learning_rate_multipliers == {"a": 2.0}


@given(factors=st.dictionaries(st.text("abc"), st.integers(0, 9), min_size=1))
def test_a_dict_its_pairs_and_a_config_of_before_say_the_same(factors):
    pairs = list(factors.items())
    config = SGD().get_config()
    made = [
        SGD(learning_rate_multipliers=factors),
        SGD(learning_rate_multipliers=pairs),
        SGD(learning_rate_multipliers=list(map(list, pairs))),
        SGD.from_config(config | {"learning_rate_multipliers": factors}),
    ]
    others = SGD()
    others.learning_rate_multipliers = pairs
    for optimizer in [*made, others]:
        found = optimizer.learning_rate_multipliers
        assert found is not None and list(found.items()) == pairs


def test_what_a_config_of_before_says_of_variables_counts():
    config = SGD(learning_rate_multipliers={"b": 2.0, "a": 3.0}).get_config()
    patterns = {"b": 2.0, "a": 3.0}
    config["learning_rate_multipliers"] = patterns
    written = [["model/b", True, 2.0], ["model/a", True, 3.0]]
    config["multiplied_variables"] = {"patterns": patterns, "variables": written}
    optimizer = SGD.from_config(config)
    variables = [keras.Variable(0.0, name=n) for n in ("b", "a")]
    optimizer.build(variables)
    assert [optimizer._beside(v).factor for v in variables] == [2.0, 3.0]


@of_each_optimizer
def test_keras_s_own_cannot_have_them(cls):
    with pytest.raises(ValueError, match="without `learning_rate_multipliers`"):
        cls(learning_rate_multipliers={"a": 2}).to_keras()
    assert cls(learning_rate_multipliers={}).to_keras()


# What it costs.


@of_each_optimizer
@pytest.mark.parametrize("factors", [{}, {"a": 1}, {"a": 2, "b": 2}, {"a": 2, "c": 0}])
def test_the_step_size_is_computed_once_for_each_factor(cls, factors):
    class Counting(cls):  # type: ignore[misc, valid-type]
        count = 0

        def step_size(self, η, t):
            Counting.count += 1
            return super().step_size(η, t)

    variables = [keras.Variable([1.0], name=n) for n in "abbcd"]
    optimizer = Counting(learning_rate_multipliers=factors)
    optimizer.apply([[1.0]] * 5, variables)
    assert Counting.count == len({*factors.values(), 1} - {0})


def program(optimizer) -> list[str]:
    """What a compiled step consists of, as the backend writes it."""
    variables = [keras.Variable(np.ones((3, 2)), name=n) for n in "ab"]
    optimizer.build(variables)
    gradients = [ops.ones((3, 2)) for _ in variables]
    if keras.backend.backend() == "jax":
        import jax

        state = [v.value for v in optimizer.variables]
        θ = [v.value for v in variables]
        text = str(jax.make_jaxpr(optimizer.stateless_apply)(state, gradients, θ))
        return text.split("\n")
    import tensorflow as tf

    step = tf.function(lambda *g: optimizer.apply(list(g), variables))
    graph = step.get_concrete_function(*gradients).graph
    return [f"{op.type} {len(op.inputs)}" for op in graph.get_operations()]


@pytest.mark.skipif(
    keras.backend.backend() not in ("jax", "tensorflow"), reason="no graphs there"
)
@of_each_optimizer
def test_a_step_without_them_is_what_it_was(cls):
    options = {"weight_decay": 0.25, "clipnorm": 0.5}
    none = program(cls(**options))
    ones = program(cls(learning_rate_multipliers={"a": 1, "b": 1}, **options))
    halves = program(cls(learning_rate_multipliers={"a|b": 0.5}, **options))
    assert ones == none
    assert len(none) < len(halves) <= len(none) + 2


@pytest.mark.needs("torch")
@of_each_optimizer
def test_on_pytorch_a_step_is_one_call_for_each_factor(cls, monkeypatch):
    from keras_textbook_opt.backends import torch as backend

    calls = []
    name = cls.__name__.lower()
    equation = backend.EQUATIONS[name]

    def counted(optimizer, θ, *more):
        calls.append(len(θ))
        equation(optimizer, θ, *more)

    monkeypatch.setitem(backend.EQUATIONS, name, counted)
    variables = [keras.Variable([1.0], name=n) for n in "abbcda"]
    optimizer = cls(learning_rate_multipliers={"a": 2, "b": 0.5, "d": 0})
    optimizer.apply([ops.ones(1)] * 6, variables)
    assert calls == [2, 2, 1]


@given(
    frozen=st.sets(st.integers(0, 3), min_size=1, max_size=3),
    times=st.sampled_from([1, 2]),
)
def test_one_that_was_frozen_in_a_file_has_its_factor_again(
    frozen: set[int], times: int
):
    """Where Keras has numbered its layer anew, and no pattern is found in its path."""
    θ = kernels(1)
    factors = {"dense_1/": 0.5, "dense_2/": 0.25, "dense_3/": 2.0}
    optimizer: Any = Momentum(0.5, learning_rate_multipliers=factors)
    optimizer.build(θ)
    expected = [optimizer._beside(v).factor for v in θ]
    for k in frozen:
        θ[k].trainable = False
    for count in range(times):
        store: dict[str, np.ndarray] = {}
        optimizer.save_own_variables(store)
        optimizer = Momentum.from_config(optimizer.get_config())
        θ = kernels(5 * (count + 1))
        optimizer.build([v for k, v in enumerate(θ) if k not in frozen])
        optimizer.load_own_variables(store)
    optimizer.add_variables(θ)
    assert [optimizer._beside(v).factor for v in θ] == expected == [0.5, 0.25, 2.0, 1.0]


def kernels(first: int) -> list[keras.Variable]:
    """Those of four layers; no two hold the same."""
    found = []
    for k in range(4):
        with keras.name_scope(f"dense_{first + k}"):
            found.append(keras.Variable([1.0 + k], name="kernel"))
    return found
