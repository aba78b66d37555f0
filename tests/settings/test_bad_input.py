"""Bad hyperparameters and settings are refused, clearly, before anything changes."""

import fractions
import inspect
import math

import keras
import numpy as np
import pytest

from keras_textbook_opt import SGD, Adam, Momentum, TextbookOptimizer
from tests.backends import numbers

pytestmark = pytest.mark.filterwarnings("ignore:.sparse_update=.lazy.. is the same")


class Plain(TextbookOptimizer):
    """What a user writes on the base: every argument is the base's own."""

    def apply_dense(self, g, θ, η):
        return θ - η * g


SCHEDULE = keras.optimizers.schedules.ExponentialDecay(0.25, 2, 0.5)
OPTIMIZERS = [SGD, Momentum, Adam, Plain]

NOT_NUMBERS = ["0.5", b"0.5", True, np.True_, [0.5], 0.5j, object(), np.ones(2)]
NOT_FINITE = [math.nan, math.inf, -math.inf, np.float32("nan"), 10**400]
NOT_INTEGERS = [2.0, math.nan, "2", True, [2]]
NOT_BOOLEANS = [0, 1, None, "yes", 0.5]
NOT_TEXT = [3, True, b"name", ["name"]]

ABOVE_ZERO = {"bad": [0, -1e-9, -1.0], "good": [1e-9, 1, np.float64(2)]}
FROM_ZERO = {"bad": [-1e-9, -1], "good": [0, 0.0, 1, np.int64(1), np.float16(0.5)]}
BELOW_ONE = {
    "bad": [-0.1, 1, 1.0, 1.5],
    "good": [0, 0.0, np.float32(0.5), fractions.Fraction(1, 2), 0.9999],
}
TO_ONE = {"bad": [-0.1, 1.0001], "good": [0, 1, 0.0, 1.0, np.float32(0.5)]}

NUMBERS = {
    "learning_rate": (OPTIMIZERS, FROM_ZERO),
    "clipnorm": (OPTIMIZERS, ABOVE_ZERO),
    "global_clipnorm": (OPTIMIZERS, ABOVE_ZERO),
    "clipvalue": (OPTIMIZERS, ABOVE_ZERO),
    "weight_decay": (OPTIMIZERS, FROM_ZERO),
    "ema_momentum": (OPTIMIZERS, TO_ONE),
    "loss_scale_factor": (OPTIMIZERS, ABOVE_ZERO),
    "momentum": ([Momentum], TO_ONE),
    "beta_1": ([Adam], BELOW_ONE),
    "beta_2": ([Adam], BELOW_ONE),
    "epsilon": ([Adam], ABOVE_ZERO),
}
INTEGERS = {
    "ema_overwrite_frequency": (OPTIMIZERS, 1),
    "gradient_accumulation_steps": (OPTIMIZERS, 2),
}
BOOLEANS = {
    "use_ema": OPTIMIZERS,
    "compensate": OPTIMIZERS,
    "nesterov": [Momentum],
    "amsgrad": [Adam],
}
NONE_IS_REFUSED = ["learning_rate", "ema_momentum", "momentum", "beta_1", "beta_2"]


def bad_arguments():
    for name, (classes, range_) in NUMBERS.items():
        missing = [None] if name in NONE_IS_REFUSED else []
        for value in (*range_["bad"], *NOT_NUMBERS, *NOT_FINITE, *missing):
            yield classes, name, value
    for name, (classes, smallest) in INTEGERS.items():
        for value in (smallest - 1, -1, *NOT_INTEGERS):
            yield classes, name, value
    for name, classes in BOOLEANS.items():
        for value in NOT_BOOLEANS:
            yield classes, name, value
    for value in NOT_TEXT:
        yield OPTIMIZERS, "name", value
    for value in ["Exact", "", None, True, 0, np.array(["exact", "lazy"]), ["exact"]]:
        yield [Momentum, Adam], "sparse_update", value
    for value in (0, 2.0, "a", ["a"], [("a", 1.0, 2.0)], False):
        yield OPTIMIZERS, "learning_rate_multipliers", value


def good_arguments():
    for name, (classes, range_) in NUMBERS.items():
        for value in range_["good"]:
            yield classes, name, value
    for name, (classes, smallest) in INTEGERS.items():
        for value in (smallest, np.int32(smallest)):
            yield classes, name, value
    for name, classes in BOOLEANS.items():
        for value in (True, False):
            yield classes, name, value
    for value in ("exact", "lazy"):
        yield [Momentum, Adam], "sparse_update", value
    for value in (None, {}, {"": 0}, {"^var": 2}, [("^var", 2)]):
        yield OPTIMIZERS, "learning_rate_multipliers", value
    for name in sorted({*NUMBERS, *INTEGERS, "name"} - {*NONE_IS_REFUSED}):
        yield NUMBERS.get(name, (OPTIMIZERS,))[0], name, None


def each(arguments):
    cases = list(arguments())
    ids = [f"{k}-{name}-{value!r:.20}" for k, (_, name, value) in enumerate(cases)]
    return pytest.mark.parametrize("classes, name, value", cases, ids=ids)


def make(cls, **arguments):
    return cls(**{"learning_rate": 0.1, **arguments})


def assert_three_steps_stay_finite(optimizer):
    θ = keras.Variable([1.0, -2.0, 3.0])
    for _ in range(3):
        optimizer.apply([[0.5, 0.0, -2.0]], [θ])
    assert np.isfinite(numbers(θ)).all()


def learning_rate_of(optimizer) -> float:
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))


@each(bad_arguments)
def test_a_bad_hyperparameter_is_named_with_what_was_expected_and_received(
    classes, name, value
):
    for cls in classes:
        with pytest.raises(ValueError) as refusal:
            make(cls, **{name: value})
        assert f"`{name}` must be " in str(refusal.value)
        assert f"Received: {name}={value!r}" in str(refusal.value)


@each(good_arguments)
def test_the_edges_of_a_range_are_accepted_and_give_a_finite_step(classes, name, value):
    for cls in classes:
        assert_three_steps_stay_finite(make(cls, **{name: value}))


@pytest.mark.parametrize(
    "cls, name, value",
    [
        (SGD, "learning_rate", 1e300),
        (Adam, "beta_1", 1 - 1e-12),
        (Adam, "beta_2", 1 - 1e-12),
        (Adam, "epsilon", 1e-40),
        (Adam, "epsilon", 1e-300),
        (SGD, "clipnorm", 1e-300),
        (SGD, "global_clipnorm", 1e-300),
        (SGD, "clipvalue", 1e300),
        (SGD, "clipnorm", 1e300),
        (SGD, "loss_scale_factor", 1e-300),
        (SGD, "loss_scale_factor", 1e300),
        (Momentum, "momentum", 1 - 1e-12),
    ],
)
def test_what_float32_cannot_hold_is_refused_or_gives_a_finite_step(cls, name, value):
    try:
        optimizer = make(cls, **{name: value})
    except ValueError as refusal:
        assert f"Received: {name}={value!r}" in str(refusal)
        return
    assert_three_steps_stay_finite(optimizer)


@pytest.mark.parametrize("cls", OPTIMIZERS)
def test_every_argument_of_every_constructor_is_tried_above(cls):
    def tried(arguments):
        return {name for classes, name, _ in arguments() if cls in classes}

    named = set(inspect.signature(cls).parameters)
    assert tried(bad_arguments) == named
    assert tried(good_arguments) == named


@pytest.mark.parametrize("cls", OPTIMIZERS)
@pytest.mark.parametrize(
    "clips",
    [
        {"clipnorm": 1.0, "clipvalue": 2.0},
        {"clipnorm": 1.0, "global_clipnorm": 2.0},
        {"global_clipnorm": 1.0, "clipvalue": 2.0},
        {"clipnorm": 1.0, "global_clipnorm": 2.0, "clipvalue": 3.0},
    ],
    ids=" ".join,
)
def test_one_clip_at_a_time(cls, clips):
    with pytest.raises(ValueError, match=r"Only one of") as refusal:
        make(cls, **clips)
    for name, value in clips.items():
        assert f"`{name}`" in str(refusal.value)
        assert f"{name}={value}" in str(refusal.value)


@pytest.mark.parametrize(
    "momentum", [{"momentum": 0.9}, {"nesterov": True}, {"momentum": 0.0}], ids=str
)
def test_sgd_sends_momentum_to_momentum(momentum):
    with pytest.raises(ValueError, match=r"keras_textbook_opt\.Momentum") as refusal:
        SGD(0.1, **momentum)
    assert str(momentum) in str(refusal.value)


@pytest.mark.parametrize(
    "arguments, shown",
    [
        ((0.01, 0.9), "Momentum(0.01, momentum=0.9)"),
        ((0.01, 0.9, True), "Momentum(0.01, momentum=0.9, nesterov=True)"),
        ((SCHEDULE, 0.5), "Momentum(ExponentialDecay, momentum=0.5)"),
    ],
    ids=["momentum", "nesterov", "a schedule"],
)
def test_sgd_sends_a_momentum_by_position_to_momentum(arguments, shown):
    with pytest.raises(ValueError, match=r"keras_textbook_opt\.Momentum") as refusal:
        SGD(*arguments)
    assert shown in str(refusal.value)


class Wider(TextbookOptimizer):
    """A user's class with an argument of its own, which passes the others on."""

    def __init__(self, learning_rate=0.5, sharpness=2.0, **others):
        super().__init__(learning_rate, **others)
        self.sharpness = sharpness

    def apply_dense(self, g, θ, η):
        return θ - η * g


WITH_WIDER = [Adam, Momentum, SGD, Plain, Wider]


@pytest.mark.parametrize("cls", WITH_WIDER)
@pytest.mark.parametrize("name", ["decay", "learning_rat", "clip_norm", "rho", "jit"])
@pytest.mark.parametrize("value", [None, 0.5], ids=str)
def test_an_unknown_argument_is_named(cls, name, value):
    with pytest.raises(ValueError, match=rf"{cls.__name__}.*{name}.*{value}"):
        make(cls, **{name: value})


@pytest.mark.parametrize(
    "name, meant, classes",
    [
        ("eps", "`epsilon`", [Adam]),
        ("betas", "`beta_1` and `beta_2`", [Adam]),
        ("beta1", "`beta_1`", [Adam]),
        ("beta", "`momentum`", [Momentum]),
        ("momentum", "`beta_1`", [Adam]),
        ("decay", "a schedule as `learning_rate`, or `weight_decay`", WITH_WIDER),
        ("weight_decay_rate", "`weight_decay`", WITH_WIDER),
        ("wd", "`weight_decay`", WITH_WIDER),
        ("sharpnes", "`sharpness`", [Wider]),
        ("sparse", "`sparse_update`", [Adam, Momentum]),
    ],
)
def test_another_spelling_is_answered_with_the_right_one(name, meant, classes):
    for cls in classes:
        with pytest.raises(ValueError) as refusal:
            make(cls, **{name: 0.5})
        assert meant in str(refusal.value)
        assert f"Received: {name}=0.5" in str(refusal.value)


@pytest.mark.parametrize("cls", WITH_WIDER)
def test_two_letters_that_are_swapped_are_put_right(cls):
    """Of every argument, and each is answered with itself."""
    for name in set(inspect.signature(cls).parameters) - {"name"}:
        for k in range(1, len(name) - 2):
            wrong = name[:k] + name[k + 1] + name[k] + name[k + 2 :]
            if wrong != name:
                with pytest.raises(ValueError, match=f"`{wrong}`.*`{name}`"):
                    make(cls, **{wrong: 0.5})


@pytest.mark.parametrize("cls", WITH_WIDER)
def test_without_a_near_neighbour_all_arguments_are_listed(cls):
    with pytest.raises(ValueError, match="expected some of") as refusal:
        make(cls, xyz=1)
    for name in ("learning_rate", "clipnorm", "name"):
        assert f"`{name}`" in str(refusal.value)


@pytest.mark.parametrize("cls", WITH_WIDER)
def test_lr_is_another_name_for_learning_rate(cls):
    assert learning_rate_of(cls(lr=0.25)) == 0.25
    assert "lr" not in cls(lr=0.25).get_config()


@pytest.mark.parametrize("cls", WITH_WIDER)
@pytest.mark.parametrize(
    "positional, named",
    [((0.25,), {}), ((), {"learning_rate": 0.25}), ((0.5,), {})],
    ids=["positional", "named", "the same value"],
)
def test_lr_and_learning_rate_exclude_each_other(cls, positional, named):
    with pytest.raises(ValueError, match=r"`lr`.*`learning_rate`") as refusal:
        cls(*positional, lr=0.5, **named)
    learning_rate = (*positional, *named.values())[0]
    assert "lr=0.5" in str(refusal.value)
    assert f"learning_rate={learning_rate}" in str(refusal.value)


@pytest.mark.parametrize("cls", WITH_WIDER)
@pytest.mark.parametrize(
    "value",
    [*FROM_ZERO["bad"], *NOT_FINITE, "x", None, True],
    ids=lambda value: f"{value!r:.20}",
)
def test_lr_is_checked_like_learning_rate(cls, value):
    with pytest.raises(ValueError, match=r"`learning_rate` must be .* Received: "):
        cls(lr=value)


@pytest.mark.parametrize("cls", OPTIMIZERS)
@pytest.mark.parametrize(
    "value",
    [-1.0, -1e-9, *NOT_FINITE, *NOT_NUMBERS, None, np.array(math.nan)],
    ids=lambda value: f"{value!r:.20}",
)
def test_a_bad_learning_rate_cannot_be_set(cls, value):
    optimizer = cls(0.25)
    with pytest.raises(ValueError, match=r"`learning_rate` must be .* Received: "):
        optimizer.learning_rate = value
    assert learning_rate_of(optimizer) == 0.25


@pytest.mark.parametrize("cls", WITH_WIDER)
def test_lr_reads_and_sets_the_learning_rate(cls):
    optimizer = cls(0.25)
    optimizer.lr = 0.5
    assert learning_rate_of(optimizer) == float(optimizer.lr) == 0.5
    with pytest.raises(ValueError, match="`learning_rate` must be "):
        optimizer.lr = -1.0
    optimizer.lr = SCHEDULE
    assert float(optimizer.lr) == 0.25


@pytest.mark.parametrize("value", [math.nan, -1.0, [0.1, 0.2]], ids=str)
def test_a_bad_learning_rate_cannot_be_set_as_a_tensor(value):
    optimizer = SGD(0.25)
    with pytest.raises(ValueError, match=r"learning_rate.*Received: "):
        optimizer.learning_rate = keras.ops.convert_to_tensor(value)
    assert learning_rate_of(optimizer) == 0.25


@pytest.mark.parametrize("cls", OPTIMIZERS)
@pytest.mark.parametrize(
    "value",
    [0, 0.5, 1, np.float32(0.5), np.float64(0.5), np.int64(1), np.array(0.5)],
    ids=repr,
)
def test_a_number_can_be_set_as_the_learning_rate(cls, value):
    optimizer = cls(0.25)
    optimizer.learning_rate = value
    assert learning_rate_of(optimizer) == float(value)
    optimizer.learning_rate = keras.ops.convert_to_tensor(0.125)
    assert learning_rate_of(optimizer) == 0.125


@pytest.mark.parametrize(
    "fixed",
    [keras.optimizers.schedules.ExponentialDecay(0.25, 2, 0.5), lambda: 0.25],
    ids=["schedule", "callable"],
)
def test_a_number_cannot_be_set_over_a_schedule_or_a_callable(fixed):
    optimizer = SGD(fixed)
    with pytest.raises(TypeError, match=r"learning_rate"):
        optimizer.learning_rate = 0.5
    assert learning_rate_of(optimizer) == 0.25


@pytest.mark.parametrize("cls", OPTIMIZERS)
def test_weight_decay_cannot_be_excluded_once_slots_exist(cls):
    bias = keras.Variable([1.0], name="bias")
    optimizer = cls(0.1, weight_decay=0.5)
    optimizer.build([bias])
    config = optimizer.get_config()
    with pytest.raises(ValueError, match=r"before the optimizer is built. Received: "):
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    assert optimizer.get_config() == config


@pytest.mark.parametrize("restored", [False, True], ids=["given", "from the config"])
@pytest.mark.parametrize("cls", OPTIMIZERS)
def test_what_is_excluded_may_be_said_again_and_not_changed(cls, restored):
    bias, kernel = (keras.Variable([1.0], name=name) for name in ("bias", "kernel"))
    same: dict = {"var_list": [kernel, bias], "var_names": ["b", "scale"]}
    optimizer = cls(0.0, weight_decay=0.5)
    for _ in range(2):
        optimizer.exclude_from_weight_decay(**same)
    if restored:
        optimizer = cls.from_config(optimizer.get_config())
    optimizer.build([bias, kernel])
    config = optimizer.get_config()
    for again in [
        same,
        {"var_list": [bias, kernel, bias], "var_names": ("scale", "b")},
    ]:
        optimizer.exclude_from_weight_decay(**again)
        assert optimizer.get_config() == config
    for other in [{}, {**same, "var_list": [bias]}, {**same, "var_names": ["scale"]}]:
        with pytest.raises(ValueError, match=r"before the optimizer is built"):
            optimizer.exclude_from_weight_decay(**other)
        assert optimizer.get_config() == config


@pytest.mark.parametrize(
    "bad",
    [{"var_names": n} for n in ("bias", [3], ["("])] + [{"var_list": ["bias"]}],
    ids=str,
)
def test_what_names_no_variable_cannot_be_excluded_from_weight_decay(bad):
    (name,) = bad
    optimizer = SGD(0.1, weight_decay=0.5)
    config = optimizer.get_config()
    with pytest.raises(ValueError, match=f"{name}.*Received: "):
        optimizer.exclude_from_weight_decay(**bad)
    assert optimizer.get_config() == config


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match=r"abstract.*apply_dense"):
        TextbookOptimizer(0.1)


def test_a_slot_that_is_not_there_is_answered_with_those_that_are():
    θ, other = keras.Variable([1.0], name="θ"), keras.Variable([1.0], name="other")
    optimizer = Adam()
    with pytest.raises(ValueError, match=r"built before `get_slot`.*Received: "):
        optimizer.get_slot(θ, "m")
    optimizer.build([θ])
    with pytest.raises(ValueError, match=r"slot of 'θ': 'm' or 'v'. Received: 'u'"):
        optimizer.get_slot(θ, "u")
    with pytest.raises(ValueError, match=r"built with: 'θ'. Received: 'other'"):
        optimizer.get_slot(other, "m")
    sgd = SGD()
    sgd.build([θ])
    with pytest.raises(ValueError, match=r"it has none. Received: 'm'"):
        sgd.get_slot(θ, "m")
    assert optimizer.get_slot(θ, "m").shape == θ.shape


@pytest.mark.parametrize("cls", OPTIMIZERS)
def test_pairs_of_a_variable_and_its_gradient_are_refused(cls):
    θ = keras.Variable([1.0])
    for built in (False, True):
        optimizer = cls(0.5)
        if built:
            optimizer.build([θ])
        for gradient in ([1.0], np.ones(1), keras.ops.ones(1)):
            with pytest.raises(ValueError, match=r"gradients first.*Received: "):
                optimizer.apply_gradients([(θ, gradient)])
            with pytest.raises(ValueError, match=r"gradients first.*Received: "):
                optimizer.apply([θ], [gradient])
        assert optimizer.built == built
    assert numbers(θ) == [1.0]


REPRESENTED = {
    "Adam()": lambda: Adam(),
    "Adam(learning_rate=0.01, clipnorm=1.0)": lambda: Adam(0.01, clipnorm=1),
    "Adam(epsilon=1e-07, amsgrad=True)": lambda: Adam(epsilon=None, amsgrad=True),
    "Momentum(momentum=0.5, sparse_update='lazy', name='mine')": lambda: Momentum(
        momentum=0.5, sparse_update="lazy", name="mine"
    ),
    "SGD(learning_rate=ExponentialDecay)": lambda: SGD(SCHEDULE),
    "SGD(learning_rate=learning_rate_of)": lambda: SGD(learning_rate_of),
    "SGD(learning_rate=1e-05)": lambda: SGD(1e-5),
    "Plain(learning_rate=0.5, compensate=False)": lambda: Plain(0.5, compensate=False),
    "Wider(sharpness=3.0, weight_decay=0.1)": lambda: Wider(
        sharpness=3.0, weight_decay=0.1
    ),
    "Adam() ": lambda: Adam.__new__(Adam),
}


@pytest.mark.parametrize("expected", REPRESENTED)
def test_an_optimizer_shows_what_it_was_made_with(expected):
    optimizer = REPRESENTED[expected]()
    assert repr(optimizer) == expected.strip()


@pytest.mark.needs("graphs")
def test_an_optimizer_shows_itself_after_steps_and_in_a_graph():
    import tensorflow as tf

    θ, optimizer = keras.Variable([1.0]), Adam(0.5)
    seen = []

    @tf.function
    def step():
        optimizer.apply([[1.0]], [θ])
        seen.append(repr(optimizer))

    step()
    assert {*seen, repr(optimizer)} == {"Adam(learning_rate=0.5)"}
    optimizer.learning_rate = 0.25
    assert repr(optimizer) == "Adam(learning_rate=0.25)"
