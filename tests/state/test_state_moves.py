"""A built-in becomes an optimizer of this package and back, and no step is lost."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras.optimizers import schedules

from keras_textbook_opt import SGD, Adam, Momentum, TextbookOptimizer
from tests.backends import BACKEND, LONG, few, gradient, numbers, of_dtypes

ALL: dict[str, Any] = {
    "weight_decay": 0.1,
    "use_ema": True,
    "ema_momentum": 0.6,
    "ema_overwrite_frequency": 3,
    "loss_scale_factor": 2.0,
    "gradient_accumulation_steps": 2,
}


def rate() -> float:
    return 0.05


ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"clipnorm": 0.5},
    {"clipvalue": 0.2, "weight_decay": 0.3},
    {"global_clipnorm": 0.4, **ALL},
    {"learning_rate": schedules.ExponentialDecay(0.2, 2, 0.5)},
    {"learning_rate": rate, "use_ema": True, "name": "mine"},
]
OF_SGD: list[dict[str, Any]] = [{}]
OF_MOMENTUM: list[dict[str, Any]] = [
    {"momentum": 0.8},
    {"momentum": 0.6, "nesterov": True},
    {"momentum": 0.0},
    {"momentum": 1.0},
]
OF_ADAM: list[dict[str, Any]] = [
    {},
    {"beta_1": 0.5, "beta_2": 0.8, "epsilon": 1e-3},
    {"amsgrad": True},
]
PAIRS = [
    (SGD, keras.optimizers.SGD, OF_SGD),
    (Momentum, keras.optimizers.SGD, OF_MOMENTUM),
    (Adam, keras.optimizers.Adam, OF_ADAM),
    (Adam, keras.optimizers.AdamW, OF_ADAM),
]
CASES = [
    pytest.param(
        ours,
        built_in,
        {"learning_rate": 0.1} | more | own,
        id=f"{ours.__name__}-{built_in.__name__}-{k}",
    )
    for ours, built_in, kinds in PAIRS
    for k, (own, more) in enumerate((own, more) for own in kinds for more in ARGUMENTS)
]
# By fives, so that all arguments come, of which there are six.
QUICK = slice(21, None, 24) if BACKEND == "jax" else slice(0, None, 5)
of_every_case = pytest.mark.parametrize(
    ("ours", "built_in", "arguments"), few(CASES, QUICK)
)
SHAPES = [(3, 2), (2,), ()]
# An odd count, in the middle of an accumulation of two.
STEPS = 3


def variables(dtype: str = "float32") -> list[keras.Variable]:
    rng = np.random.default_rng(0)
    return [
        keras.Variable(rng.normal(size=shape), name=f"v{k}", dtype=dtype)
        for k, shape in enumerate(SHAPES)
    ]


def step(optimizer, θ: list[keras.Variable], steps: range) -> list[np.ndarray]:
    """Take the steps of these numbers; the variables after each of them."""
    after = []
    for k in steps:
        rng = np.random.default_rng(k)
        gradients = [gradient(rng.normal(size=v.shape), v.shape, v.dtype) for v in θ]
        optimizer.apply(gradients, θ)
        after.append(np.concatenate([numbers(v).ravel() for v in θ]))
    optimizer.finalize_variable_values(θ)
    return [*after, np.concatenate([numbers(v).ravel() for v in θ])]


def assert_close(given: list[np.ndarray], expected: list[np.ndarray]) -> None:
    # A few float32 roundings a step, on values and steps of about 1.
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


def assert_goes_on(move, optimizer, θ: list[keras.Variable]):
    """Step on with `optimizer`, then, from the same point, with what it becomes."""
    point = [numbers(v) for v in θ]
    moved = move(optimizer)
    assert moved.built
    expected = step(optimizer, θ, range(STEPS, STEPS + 4))
    for variable, value in zip(θ, point, strict=True):
        variable.assign(value)
    assert_close(step(moved, θ, range(STEPS, STEPS + 4)), expected)


@of_every_case
def test_from_keras_takes_the_next_steps(ours, built_in, arguments):
    θ = variables()
    optimizer = built_in(**arguments)
    step(optimizer, θ, range(STEPS))
    assert_goes_on(ours.from_keras, optimizer, θ)


@of_every_case
def test_to_keras_takes_the_next_steps(ours, built_in, arguments):
    θ = variables()
    optimizer = ours(**arguments)
    step(optimizer, θ, range(STEPS))
    assert_goes_on(lambda o: o.to_keras(), optimizer, θ)


@of_every_case
def test_hyperparameters_make_the_round_trip(ours, built_in, arguments):
    optimizer = built_in(**arguments)
    taken_over = ours.from_keras(optimizer)
    assert type(taken_over) is ours
    back = taken_over.to_keras()
    assert back.get_config() == optimizer.get_config() | (
        {"name": taken_over.name} if "name" not in arguments else {}
    )
    assert not back.built


@of_every_case
def test_the_state_makes_the_round_trip_to_the_bit(ours, built_in, arguments):
    θ = variables()
    optimizer = built_in(**arguments)
    step(optimizer, θ, range(STEPS))
    taken_over = ours.from_keras(optimizer)
    back = taken_over.to_keras()
    for other in (back, taken_over)[: 1 if arguments.get("momentum") == 0 else 2]:
        assert len(other.variables) == len(optimizer.variables)
        for given, value in zip(other.variables, optimizer.variables, strict=True):
            np.testing.assert_array_equal(numbers(given), numbers(value), strict=True)


@pytest.mark.parametrize(
    ("ours", "optimizer"),
    [
        (SGD, lambda: keras.optimizers.SGD(0.1)),
        (Momentum, lambda: keras.optimizers.SGD(0.1, 0.9)),
        (Adam, lambda: keras.optimizers.Adam(0.1)),
    ],
    ids=["SGD", "Momentum", "Adam"],
)
def test_the_original_stays_as_it_is(ours, optimizer):
    optimizer, θ = optimizer(), variables()
    step(optimizer, θ, range(STEPS))
    before = [numbers(v) for v in optimizer.variables]
    step(ours.from_keras(optimizer), θ, range(STEPS))
    for variable, value in zip(optimizer.variables, before, strict=True):
        np.testing.assert_array_equal(numbers(variable), value)


def test_a_learning_rate_that_was_set_goes_along():
    optimizer = keras.optimizers.Adam(0.1)
    step(optimizer, variables(), range(STEPS))
    optimizer.learning_rate = 0.025
    assert float(Adam.from_keras(optimizer).learning_rate) == np.float32(0.025)


def test_a_schedule_goes_along_at_its_step():
    θ = variables()
    optimizer = keras.optimizers.SGD(schedules.ExponentialDecay(0.2, 1, 0.5))
    step(optimizer, θ, range(STEPS))
    assert float(SGD.from_keras(optimizer).learning_rate) == pytest.approx(0.2 / 2**3)


@pytest.mark.parametrize("way", ["to_keras", "from_keras"])
@pytest.mark.parametrize("by", ["variables", "names"])
def test_exclusions_from_weight_decay_go_along(way: str, by: str):
    θ = variables()
    kind = Adam if way == "to_keras" else keras.optimizers.Adam
    optimizer = kind(0.01, weight_decay=0.9)
    if by == "variables":
        optimizer.exclude_from_weight_decay(var_list=[θ[0], θ[2]])
    else:
        optimizer.exclude_from_weight_decay(var_names=["v0", "v2"])
    step(optimizer, θ, range(STEPS))
    move = Adam.from_keras if way == "from_keras" else lambda o: o.to_keras()
    assert_goes_on(move, optimizer, θ)
    moved = move(optimizer)
    decayed = [moved._use_weight_decay(variable) for variable in θ]
    assert decayed == [False, True, False]


def test_exclusions_are_in_the_config_of_what_was_taken_over():
    θ = variables()
    optimizer = keras.optimizers.Adam(0.01, weight_decay=0.9)
    optimizer.exclude_from_weight_decay(var_list=[θ[0]], var_names=["v2"])
    step(optimizer, θ, range(STEPS))
    config = Adam.from_keras(optimizer).get_config()
    assert config["exclude_from_weight_decay"] == {"paths": ["v0"], "names": ["v2"]}


@pytest.mark.parametrize("arguments", [{}, {"amsgrad": True}, {"use_ema": True}])
def test_what_has_grown_goes_back_variable_by_variable(arguments: dict):
    θ = variables()
    optimizer = Adam(0.1, **arguments)
    step(optimizer, θ[:2], range(STEPS))
    optimizer.add_variables(θ)
    assert_goes_on(lambda o: o.to_keras(), optimizer, θ)


@pytest.mark.parametrize("way", ["from_keras", "to_keras"])
def test_float64_goes_along(way: str):
    kind = Adam if way == "to_keras" else keras.optimizers.Adam
    move = Adam.from_keras if way == "from_keras" else lambda o: o.to_keras()
    with of_dtypes(["float64"]):
        θ, optimizer = variables("float64"), kind(0.1, amsgrad=True)
        step(optimizer, θ, range(STEPS))
        assert_goes_on(move, optimizer, θ)


def test_one_that_is_not_built_is_taken_over_unbuilt():
    taken_over = Adam.from_keras(keras.optimizers.Adam(0.3, beta_1=0.2))
    assert not taken_over.built
    assert taken_over.beta_1 == 0.2


# A model goes on.


def make_model(optimizer) -> keras.Model:
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)]
    )
    model.compile(optimizer, keras.losses.MeanSquaredError())
    return model


def fit(model: keras.Model) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    x, y = (rng.normal(size=(12, n)).astype("float32") for n in (3, 1))
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    return model.get_weights()


@pytest.mark.needs("fit")
@pytest.mark.parametrize(
    ("ours", "built_in"),
    [
        pytest.param(SGD, keras.optimizers.SGD(0.1), marks=LONG),
        (Momentum, keras.optimizers.SGD(0.1, 0.9, nesterov=True)),
        # Keras's own second fit with an average fails on JAX.
        pytest.param(
            Adam, keras.optimizers.Adam(0.1, use_ema=BACKEND != "jax"), marks=LONG
        ),
    ],
    ids=["SGD", "Momentum", "Adam"],
)
def test_a_model_that_was_saved_with_a_built_in_goes_on(ours, built_in, tmp_path):
    model = make_model(built_in)
    fit(model)
    model.save(tmp_path / "model.keras")
    expected = fit(model)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    loaded.compile(ours.from_keras(loaded.optimizer), loaded.loss)
    assert_close(fit(loaded), expected)


# What has no counterpart.


def test_sgd_of_one_with_momentum_says_momentum():
    with pytest.raises(ValueError, match="Momentum"):
        SGD.from_keras(keras.optimizers.SGD(0.1, momentum=0.9))


@pytest.mark.parametrize("kind", [SGD, Momentum, Adam])
@pytest.mark.parametrize(
    "other",
    [
        keras.optimizers.RMSprop(0.1),
        keras.optimizers.Nadam(0.1),
        keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1)),
        Adam(0.1),
        "adam",
        None,
    ],
    ids=lambda other: type(other).__name__,
)
def test_another_optimizer_is_refused(kind, other):
    with pytest.raises(ValueError, match=r"Expected keras\.optimizers"):
        kind.from_keras(other)


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (SGD, keras.optimizers.Adam(0.1)),
        (Momentum, keras.optimizers.Adam(0.1)),
        (Adam, keras.optimizers.SGD(0.1)),
    ],
)
def test_the_counterpart_of_another_is_refused(kind, other):
    with pytest.raises(ValueError, match=r"Expected keras\.optimizers"):
        kind.from_keras(other)


@pytest.mark.parametrize("module", ["a.module", "keras_hub.optimizers", "zoo"])
def test_a_subclass_of_a_built_in_is_refused(module):
    class Own(keras.optimizers.Adam):
        __module__ = module

    with pytest.raises(ValueError, match=r"Expected keras\.optimizers"):
        Adam.from_keras(Own(0.1))


@pytest.mark.filterwarnings("ignore:.sparse_update=.lazy.. is the same")
@pytest.mark.parametrize("kind", [Momentum, Adam])
def test_a_lazy_update_has_no_counterpart(kind):
    with pytest.raises(ValueError, match="sparse_update"):
        kind(0.1, sparse_update="lazy").to_keras()


def test_a_hyperparameter_out_of_range_is_refused():
    with pytest.raises(ValueError, match="epsilon"):
        Adam.from_keras(keras.optimizers.Adam(0.1, epsilon=-1.0))


def test_variables_of_16_bits_have_no_way_back():
    optimizer = Adam(0.1)
    step(optimizer, variables("bfloat16"), range(STEPS))
    with pytest.raises(ValueError, match="16 bits"):
        optimizer.to_keras()


def test_a_state_that_waits_has_no_way_back():
    optimizer, waiting = Adam(0.1), Adam(0.1)
    step(optimizer, variables(), range(STEPS))
    store: dict = {}
    optimizer.save_own_variables(store)
    waiting.load_own_variables(store)
    with pytest.raises(ValueError, match="built"):
        waiting.to_keras()


def test_an_equation_of_ones_own_has_no_way_back():
    class SignDescent(TextbookOptimizer):
        def apply_dense(self, g, θ, η):
            return θ - η * keras.ops.sign(g)

    with pytest.raises(ValueError, match="SignDescent"):
        SignDescent(0.1).to_keras()
