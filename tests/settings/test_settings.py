"""Settings are checked by one rule, in the constructor and at every assignment."""

import fractions
import inspect
import json
import math

import keras
import numpy as np
import pytest

from keras_textbook_opt import SGD, Adam, Momentum, TextbookOptimizer
from tests.backends import BACKEND, LONG, numbers

pytestmark = pytest.mark.filterwarnings(
    "ignore:.sparse_update=.lazy.", "ignore:.learning_rate_multipliers."
)


class Plain(TextbookOptimizer):
    """A user's class whose arguments are those of the base class."""

    def apply_dense(self, g, θ, η):
        return θ - η * g


OPTIMIZERS = [SGD, Momentum, Adam, Plain]

NOT_NUMBERS = ["0.5", b"0.5", True, np.True_, [0.5], 0.5j, object(), np.ones(2)]
NOT_NUMBERS += [np.ones(0), {}]
NOT_FINITE = [math.nan, math.inf, -math.inf, np.float32("nan"), 10**400]
NOT_INTEGERS = [2.0, math.nan, "2", True, [2]]
NOT_BOOLEANS = [0, 1, None, "yes", 0.5]

# Values that are refused, and values that are accepted.
ABOVE_ZERO = [0, -1e-9, -1.0], [1e-9, 1, np.float64(2)]
FROM_ZERO = [-1e-9, -1], [0, 0.0, 1, np.int64(1), np.float16(0.5)]
HALF = fractions.Fraction(1, 2)
BELOW_ONE = [-0.1, 1, 1.0, 1.5], [0, 0.0, np.float32(0.5), HALF, 0.9999]
TO_ONE = [-0.1, 1.0001], [0, 1, 0.0, 1.0, np.float32(0.5)]
NO_FACTORS = [0, 2.0, "a", ["a"], [("a", 1.0, 2.0)], {1: 1.0}, [("a", 1), ("a", 2)]]
NO_FACTORS += [{"a": bad} for bad in (-1.0, math.nan, math.inf, "2", True)]
FACTORS = [None, {}, {"var": 0}, {"^var": 2}, [("^var", 2)]]
NO_UPDATES = ["Exact", "", None, True, 0, ["exact"]]
NO_PATTERNS = ["bias", 3, [3], [None]]
PATTERNS = [None, [], ["bias", "^var"], ("bias",)]


def number(limits, none="refused", classes=OPTIMIZERS):
    bad, good = limits
    bad = [*bad, *NOT_NUMBERS, *NOT_FINITE, *[None] * (none == "refused")]
    return classes, bad, [*good, *[None] * (none == "accepted")]


def integer(smallest):
    bad = [smallest - 1, -1, *NOT_INTEGERS]
    return OPTIMIZERS, bad, [smallest, np.int32(smallest), None]


def boolean(classes=OPTIMIZERS):
    return classes, NOT_BOOLEANS, [True, False, np.True_]


# Which optimizers have the argument, and both kinds of values.
ARGUMENTS = {
    "learning_rate": number(FROM_ZERO),
    "clipnorm": number(ABOVE_ZERO, "accepted"),
    "global_clipnorm": number(ABOVE_ZERO, "accepted"),
    "clipvalue": number(ABOVE_ZERO, "accepted"),
    "weight_decay": number(FROM_ZERO, "accepted"),
    "ema_momentum": number(TO_ONE),
    "loss_scale_factor": number(ABOVE_ZERO, "accepted"),
    "momentum": number(TO_ONE, classes=[Momentum]),
    "beta_1": number(BELOW_ONE, classes=[Adam]),
    "beta_2": number(BELOW_ONE, classes=[Adam]),
    "epsilon": number(ABOVE_ZERO, "accepted by the constructor", [Adam]),
    "ema_overwrite_frequency": integer(1),
    "gradient_accumulation_steps": integer(2),
    "use_ema": boolean(),
    "compensate": boolean(),
    "monitor": boolean(),
    "nesterov": boolean([Momentum]),
    "amsgrad": boolean([Adam]),
    "name": (OPTIMIZERS, [3, True, b"name", ["name"]], ["mine"]),
    "sparse_update": (OPTIMIZERS, NO_UPDATES, ["exact", "lazy"]),
    "learning_rate_multipliers": (OPTIMIZERS, NO_FACTORS, FACTORS),
    "exclude_from_weight_decay": (OPTIMIZERS, NO_PATTERNS, PATTERNS),
}
of_every_argument = pytest.mark.parametrize("name", ARGUMENTS)


def make(cls, **arguments):
    return cls(**{"learning_rate": 0.1, **arguments})


@of_every_argument
def test_a_bad_value_is_refused_by_constructor_and_assignment(name):
    """With the same message, and nothing has changed."""
    classes, values, _ = ARGUMENTS[name]
    for cls in classes:
        optimizer, θ = make(cls), keras.Variable([1.0])
        for built in (False, True):
            if built:
                optimizer.build([θ])
            before = optimizer.get_config()
            for value in values:
                with pytest.raises(ValueError) as expected:
                    make(cls, **{name: value})
                assert f"`{name}" in str(expected.value)
                assert "Received: " in str(expected.value)
                if name == "exclude_from_weight_decay":
                    continue  # a method has this name
                with pytest.raises(ValueError) as refusal:
                    setattr(optimizer, name, value)
                if not isinstance(value, (list, dict)):  # which Keras wraps first
                    assert str(refusal.value) == str(expected.value)
            assert optimizer.get_config() == before


@of_every_argument
def test_the_edges_of_a_range_are_accepted_and_give_a_finite_step(name):
    """Also as an assignment, and as NumPy numbers, which JSON must hold."""
    [*_, cls], _, values = ARGUMENTS[name]
    for value in values:
        assigned = make(cls)
        if name != "exclude_from_weight_decay":  # a method has this name
            setattr(assigned, name, value)
        for optimizer in (make(cls, **{name: value}), assigned):
            json.dumps(optimizer.get_config())
            θ = keras.Variable([1.0, -2.0, 3.0])
            for _ in range(2):
                optimizer.apply([[0.5, 0.0, -2.0]], [θ])
            assert np.isfinite(numbers(θ)).all()


@pytest.mark.parametrize("cls", OPTIMIZERS)
def test_every_argument_of_every_constructor_is_tried_above(cls):
    tried = {name for name, (classes, *_) in ARGUMENTS.items() if cls in classes}
    assert tried == set(inspect.signature(cls).parameters) - {"lr"}


@pytest.mark.parametrize("cls", OPTIMIZERS)
def test_a_second_clip_is_refused(cls):
    clips = {"clipnorm": 1.0, "global_clipnorm": 2.0, "clipvalue": 3.0}
    for name, value in clips.items():
        optimizer = make(cls, **{name: value})
        for other in clips.keys() - {name}:
            with pytest.raises(ValueError, match=r"Only one") as refusal:
                make(cls, **{name: value, other: 0.5})
            assert name in str(refusal.value) and other in str(refusal.value)
            with pytest.raises(ValueError, match=r"Only one"):
                setattr(optimizer, other, 0.5)
            assert getattr(optimizer, other) is None
        setattr(optimizer, name, None)
        optimizer.clipnorm = 0.5


FIXED = {
    "use_ema": True,
    "gradient_accumulation_steps": 2,
    "compensate": False,
    "monitor": True,
    "amsgrad": True,
}


@pytest.mark.parametrize("name", FIXED)
def test_a_setting_on_which_the_state_depends_cannot_change_after_build(name):
    optimizer = Adam()
    before = getattr(optimizer, name)
    setattr(optimizer, name, FIXED[name])  # before, it can
    setattr(optimizer, name, before)
    optimizer.build([keras.Variable([1.0])])
    setattr(optimizer, name, before)  # the same again
    with pytest.raises(ValueError, match=f"`{name}` cannot change after"):
        setattr(optimizer, name, FIXED[name])
    assert getattr(optimizer, name) == before


SCHEDULE = keras.optimizers.schedules.ExponentialDecay(0.25, 2, 0.5)
CHANGES = {
    "clipnorm": 1e-3,
    "weight_decay": 0.5,
    "momentum": 0.5,
    "learning_rate": SCHEDULE,
}


@pytest.mark.needs("fit")
@pytest.mark.parametrize("run_eagerly", [False, pytest.param(True, marks=LONG)])
@pytest.mark.parametrize("name", CHANGES)
def test_a_compiled_step_that_missed_a_change_is_an_error_at_the_end_of_fit(
    name, run_eagerly
):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    optimizer, x = Momentum(0.1), np.ones((4, 2), "float32")
    model.compile(optimizer, "mse", run_eagerly=run_eagerly)
    model.fit(x, x[:, :1], verbose=0)
    setattr(optimizer, name, CHANGES[name])
    # On JAX, a rate that is no state any more is traced anew.
    traces_anew = BACKEND == "jax" and name == "learning_rate"
    if BACKEND == "torch" or traces_anew or run_eagerly:
        model.fit(x, x[:, :1], verbose=0)  # an eager step follows at once
    else:
        with pytest.raises(ValueError, match="compile"):
            model.fit(x, x[:, :1], verbose=0)
    model.compile(optimizer, "mse", run_eagerly=run_eagerly)
    model.fit(x, x[:, :1], verbose=0)


# Arguments that do not exist.


class Wider(Plain):
    """A user's class with an argument of its own, which passes the others on."""

    def __init__(self, learning_rate=0.5, sharpness=2.0, **settings):
        super().__init__(learning_rate, **settings)
        self.sharpness = sharpness


WITH_WIDER = [Adam, Momentum, SGD, Plain, Wider]


@pytest.mark.parametrize("cls", WITH_WIDER)
def test_a_misspelt_argument_is_answered_with_its_neighbour(cls):
    """Two letters of each argument are swapped. Others are named with their values."""
    for value in (None, 0.5):
        with pytest.raises(ValueError, match=rf"{cls.__name__}.*rho.*{value}"):
            make(cls, rho=value)
    for name in set(inspect.signature(cls).parameters) - {"name", "lr"}:
        for k in range(1, len(name) - 2):
            wrong = name[:k] + name[k + 1] + name[k] + name[k + 2 :]
            if wrong != name:
                with pytest.raises(ValueError, match=f"`{wrong}`.*`{name}`"):
                    make(cls, **{wrong: 0.5})


def test_sgd_refers_to_momentum():
    for arguments in ({"momentum": 0.9}, {"nesterov": True}):
        with pytest.raises(ValueError, match=r"keras_textbook_opt\.Momentum"):
            SGD(0.1, **arguments)


@pytest.mark.parametrize("cls", WITH_WIDER)
def test_lr_is_another_name_for_learning_rate(cls):
    optimizer = cls(lr=0.25)
    assert float(numbers(optimizer.learning_rate)) == 0.25
    assert "lr" not in optimizer.get_config()
    optimizer.lr = 0.5
    assert (
        float(numbers(optimizer.lr)) == float(numbers(optimizer.learning_rate)) == 0.5
    )
    for bad in (-1.0, math.nan, "x", True):
        with pytest.raises(ValueError, match=r"`learning_rate` must be .*Received: "):
            cls(lr=bad)
        with pytest.raises(ValueError, match=r"`learning_rate` must be .*Received: "):
            optimizer.lr = bad
    with pytest.raises(ValueError, match=r"`lr`.*`learning_rate`.*lr=0.5"):
        cls(0.25, lr=0.5)


# The representation of an optimizer, and its hooks.


def test_the_base_class_is_abstract():
    with pytest.raises(TypeError, match=r"abstract.*apply_dense"):
        TextbookOptimizer(0.1)


def test_a_slot_that_does_not_exist_is_answered_with_those_that_do():
    θ, other = keras.Variable([1.0], name="θ"), keras.Variable([1.0], name="other")
    optimizer = Adam()
    with pytest.raises(ValueError, match=r"build"):
        optimizer.get_slot(θ, "m")
    optimizer.build([θ])
    with pytest.raises(ValueError, match=r"(?s)θ.*'u'.*'m'.*'v'"):
        optimizer.get_slot(θ, "u")
    with pytest.raises(ValueError, match=r"nknown variable 'other'"):
        optimizer.get_slot(other, "m")
    assert optimizer.get_slot(θ, "m").shape == θ.shape
