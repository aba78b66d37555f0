"""`from_keras` and `to_keras` copy an optimizer with its state, and no step is lost."""

from typing import Any

import keras
import numpy as np
import pytest
from keras.optimizers import schedules

from keras_textbook_opt import SGD, Adam, Momentum, TextbookOptimizer
from tests.backends import BACKEND, few, of_dtypes
from tests.same import assert_same
from tests.state.stores import (
    START,
    built,
    fit,
    model,
    named,
    saved,
    step,
    trained,
    values,
    variables,
)

ALL: dict[str, Any] = {
    "weight_decay": 0.1,
    "use_ema": True,
    "ema_momentum": 0.6,
    "ema_overwrite_frequency": 3,
    "loss_scale_factor": 2.0,
}


ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"clipnorm": 0.5},
    {"clipvalue": 0.2, "weight_decay": 0.3, "gradient_accumulation_steps": 2},
    {"global_clipnorm": 0.4, **ALL},
    {"learning_rate": schedules.ExponentialDecay(0.2, 2, 0.5)},
    {"use_ema": True, "name": "mine"},
]
OWN: dict[Any, list[dict[str, Any]]] = {
    (SGD, keras.optimizers.SGD): [{}],
    (Momentum, keras.optimizers.SGD): [
        {"momentum": 0.8},
        {"momentum": 0.6, "nesterov": True},
        {"momentum": 1.0},
    ],
    (Adam, keras.optimizers.Adam): [
        {"beta_1": 0.5, "beta_2": 0.8, "epsilon": 1e-3},
        {"amsgrad": True},
    ],
    (Adam, keras.optimizers.AdamW): [{}],
}
CASES = [
    pytest.param(ours, theirs, {"learning_rate": 0.1} | more | own)
    for (ours, theirs), kinds in OWN.items()
    for own in kinds
    for more in ARGUMENTS
]
# By fives, so that all arguments come, of which there are six.
QUICK = slice(21, None, 18) if BACKEND == "jax" else slice(0, None, 5)
of_every_case = pytest.mark.parametrize(
    ("ours", "theirs", "arguments"), few(CASES, QUICK)
)
to_keras = TextbookOptimizer.to_keras
NEXT = range(START, START + 4)


def assert_close(given: list[np.ndarray], expected: list[np.ndarray]) -> None:
    # A few float32 roundings a step, on values and steps of about 1.
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


def assert_moves(move: Any, optimizer: Any, θ: list) -> Any:
    """A moved optimizer takes the next steps, and shares no array with the other."""
    point, state = values(θ), values(optimizer.variables)
    moved = move(optimizer)
    ends = []
    for each in (moved, optimizer):
        for variable, value in zip(θ, point, strict=True):
            variable.assign(value)
        step(each, θ, NEXT)
        each.finalize_variable_values(θ)
        ends.append(values(θ))
        if each is moved:
            assert_same(values(optimizer.variables), state)
    assert_close(*ends)
    return moved


@of_every_case
@pytest.mark.parametrize("way", ["from_keras", "to_keras"])
def test_the_next_steps_are_the_same_after(way: str, ours, theirs, arguments):
    kind, move = (ours, to_keras) if way == "to_keras" else (theirs, ours.from_keras)
    assert_moves(move, trained(kind(**arguments), θ := variables()), θ)


@of_every_case
def test_settings_and_state_make_the_round_trip_bit_for_bit(ours, theirs, arguments):
    original = trained(theirs(**arguments))
    taken_over = ours.from_keras(original)
    assert type(taken_over) is ours
    back = taken_over.to_keras()
    named = {} if "name" in arguments else {"name": taken_over.name}
    assert back.get_config() == original.get_config() | named
    assert_same(values(back.variables), values(original.variables))
    assert not ours.from_keras(theirs(**arguments)).to_keras().built


@pytest.mark.parametrize(
    ("move", "kind"), [(to_keras, Adam), (Adam.from_keras, keras.optimizers.Adam)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exclusions_and_float64_are_copied(move, kind, dtype: str):
    with of_dtypes([dtype]):
        optimizer, θ = kind(0.01, weight_decay=0.9, amsgrad=True), variables(dtype)
        optimizer.exclude_from_weight_decay(var_list=[θ[0]], var_names=["gamma"])
        assert_moves(move, trained(optimizer, θ), θ)


def test_variables_of_one_path_that_differ_in_decay_are_refused():
    optimizer, θ = keras.optimizers.AdamW(0.1), [named("a", [1.0]), named("a", [2.0])]
    optimizer.exclude_from_weight_decay(var_list=[θ[0]])
    optimizer.build(θ)
    with pytest.raises(ValueError, match="one path"):
        Adam.from_keras(optimizer)


def test_a_list_that_has_grown_is_copied():
    optimizer = trained(Adam(0.1, amsgrad=True, use_ema=True), (θ := variables())[:2])
    optimizer.set_variables(θ)
    assert_moves(to_keras, optimizer, θ)


@pytest.mark.needs("fit")
@pytest.mark.parametrize(
    ("move", "make"),
    [
        (Adam.from_keras, lambda: keras.optimizers.Adam(0.1)),
        (to_keras, lambda: Momentum(0.1, use_ema=True)),
    ],
)
def test_a_compiled_fit_leaves_the_arrays_of_the_original(move, make):
    """On JAX, a step deletes the arrays that it is given."""
    here, original = model(None), make()
    for optimizer in (original, move):
        if optimizer is move:
            before = values(original.variables)
            optimizer = move(original)
        here.compile(optimizer, "mse")
        fit(here)
    assert_same(values(original.variables), before)


# Settings without a counterpart.


@pytest.mark.parametrize(
    ("kind", "other", "said"),
    [
        (SGD, keras.optimizers.SGD(0.1, momentum=0.9), "Momentum"),
        (SGD, keras.optimizers.Adam(0.1), r"keras\.optimizers"),
        (Momentum, keras.optimizers.RMSprop(0.1), r"keras\.optimizers"),
        (Adam, keras.optimizers.SGD(0.1), r"keras\.optimizers"),
        (Adam, type("Own", (keras.optimizers.Adam,), {})(0.1), r"keras\.optimizers"),
        (Adam, keras.optimizers.Nadam(0.1), r"keras\.optimizers"),
        (Adam, Adam(0.1), r"keras\.optimizers"),
        (Adam, "adam", r"keras\.optimizers"),
        (Adam, keras.optimizers.Adam(0.1, epsilon=-1.0), "epsilon"),
    ],
)
def test_an_optimizer_of_another_class_or_range_is_refused(kind, other, said: str):
    with pytest.raises(ValueError, match=said):
        kind.from_keras(other)


class SignDescent(TextbookOptimizer):
    def apply_dense(self, g, θ, η):
        return θ - η * keras.ops.sign(g)


def unbuilt_with_a_state() -> Adam:
    optimizer = Adam(0.1)
    optimizer.load_own_variables(saved(trained(Adam(0.1))))
    return optimizer


@pytest.mark.filterwarnings("ignore:.*lazy:UserWarning")
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Momentum(0.1, sparse_update="lazy"), "sparse_update"),
        (lambda: built(Adam(0.1), variables("bfloat16")), "16-bit"),
        (lambda: Adam(0.1, learning_rate_multipliers={"alpha": 0.5}), "multipliers"),
        (unbuilt_with_a_state, "build"),
        (lambda: SignDescent(0.1), "SignDescent"),
    ],
)
def test_an_optimizer_without_a_built_in_counterpart_is_refused(make, said: str):
    with pytest.raises(ValueError, match=said):
        make().to_keras()
