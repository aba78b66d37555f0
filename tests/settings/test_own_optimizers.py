"""A user's optimizer is short, and its mistakes are explained; nothing moves."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_textbook_opt import TextbookOptimizer
from keras_textbook_opt.settings import Boolean, Choice, Integer, Optional, Real, Text
from tests.backends import numbers

ON_ROWS = pytest.param(True, marks=pytest.mark.needs("rows"))
on_rows = pytest.mark.parametrize("on_rows", [False, ON_ROWS])


@keras.saving.register_keras_serializable(package="tests_of_own_optimizers")
class Lion(TextbookOptimizer):
    beta_1 = Real(at_least=0, below=1)
    beta_2 = Real(at_least=0, below=1)

    def __init__(self, learning_rate=1e-4, beta_1=0.9, beta_2=0.99, **settings):
        super().__init__(learning_rate, **settings)
        self.beta_1, self.beta_2 = beta_1, beta_2

    def create_slots(self, variables):
        for θ in variables:
            self.add_slot(θ, "m")

    def apply_dense(self, g, θ, η, m):
        # c ← β₁·m + (1 − β₁)·g
        c = self.beta_1 * m + (1 - self.beta_1) * g
        # θ ← θ − η·sign(c), m ← β₂·m + (1 − β₂)·g
        return θ - η * ops.sign(c), self.beta_2 * m + (1 - self.beta_2) * g


def test_an_optimizer_without_get_config_has_its_config():
    optimizer = Lion(0.5, beta_2=np.float32(0.5), clipnorm=1.0)
    config = json.loads(json.dumps(optimizer.get_config()))
    assert (config["beta_1"], config["beta_2"], config["clipnorm"]) == (0.9, 0.5, 1.0)
    twin = Lion.from_config(config)
    assert twin.get_config() == config
    θ = [keras.Variable([1.0, 2.0]) for _ in range(2)]
    for each, variable in zip((optimizer, twin), θ):
        each.apply([[3.0, -4.0]], [variable])
    assert numbers(θ[0]).tolist() == numbers(θ[1]).tolist() == [0.5, 2.5]


class Base(TextbookOptimizer):
    def apply_dense(self, g, θ, η):
        return θ - η * g


def test_a_class_that_overrides_update_step_is_refused():
    with pytest.raises(TypeError, match=r"`Own` must override `apply_dense`"):
        type("Own", (Base,), {"update_step": print})


def test_settings_of_a_users_class_are_checked_at_every_assignment():
    class Own(Base):
        real = Real(above=0, at_most=2)
        integer = Integer(at_least=1)
        boolean = Boolean(fixed=True)
        choice = Choice("a", "b")
        text = Text()
        optional = Optional(Real(below=0))

    optimizer = Own(0.1)
    good_and_bad = {
        "real": (2, 0, "finite number > 0 and <= 2"),
        "integer": (1, 0, "integer >= 1"),
        "boolean": (True, 1, "True or False"),
        "choice": ("b", "c", "'a' or 'b'"),
        "text": ("x", 1, "string"),
        "optional": (-1, 1, "number < 0"),
    }
    for name, (good, bad, expected) in good_and_bad.items():
        setattr(optimizer, name, good)
        with pytest.raises(ValueError, match=f"`{name}` must be .*{expected}.*{name}="):
            setattr(optimizer, name, bad)
        assert getattr(optimizer, name) == good
    optimizer.optional = None
    optimizer.build([keras.Variable(1.0)])
    with pytest.raises(ValueError, match="`boolean` cannot change after"):
        optimizer.boolean = False


class LosesAnArgument(Base):
    def __init__(self, learning_rate=0.5, sharpness=2.0, **settings):
        super().__init__(learning_rate, **settings)
        self._sharpness = sharpness


class PassesItOn(Base):
    def __init__(self, learning_rate=0.5, sharpness=0.9, **settings):
        super().__init__(learning_rate, **settings | {"sharpness": sharpness})


def test_an_argument_without_an_attribute_is_named():
    with pytest.raises(ValueError, match=r"`LosesAnArgument`.*`sharpness`"):
        LosesAnArgument().get_config()
    with pytest.raises(ValueError, match=r"`PassesItOn`.*`sharpness`"):
        PassesItOn()


# Hooks that return something else.


class OneSlot(TextbookOptimizer):
    """`m ← m + g`, `θ ← θ − η·m`, returned in some form."""

    def __init__(self, learning_rate=0.5, form=tuple, **settings):
        super().__init__(learning_rate, **settings)
        self.form = form

    def create_slots(self, variables):
        for variable in variables:
            self.add_slot(variable, "m")

    def apply_dense(self, g, θ, η, m):
        return self.form([θ - η * (m + g), m + g])


def stepped(optimizer, on_rows: bool = False) -> np.ndarray:
    θ = keras.Variable(np.ones((2, 2), "float32"), name="table")
    g = np.full((2, 2), 2.0, "float32")
    if on_rows:
        import tensorflow as tf

        g = tf.IndexedSlices(g, [1, 0])
    try:
        optimizer.apply([g], [θ])
    except ValueError:
        assert numbers(θ).tolist() == [[1, 1], [1, 1]]
        raise
    return numbers(θ)


WRONG = {
    "nothing": lambda both: None,
    "no slot": lambda both: both[0],
    "None for a slot": lambda both: (both[0], None),
    "one too many": lambda both: (*both, both[0]),
}


@on_rows
@pytest.mark.parametrize("form", WRONG)
def test_a_wrong_number_of_results_is_refused(form, on_rows):
    with pytest.raises(ValueError, match=r"2 in all. Received: "):
        stepped(OneSlot(form=WRONG[form]), on_rows)


@on_rows
@pytest.mark.parametrize("form", [tuple, list])
def test_an_equation_may_return_a_tuple_or_a_list(form, on_rows):
    assert stepped(OneSlot(form=form), on_rows).tolist() == [[0, 0], [0, 0]]


def test_a_slot_belongs_to_a_variable_of_the_optimizer():
    other = keras.Variable(1.0, name="other")

    class Odd(OneSlot):
        def create_slots(self, variables):
            self.add_slot(other, "m")

    with pytest.raises(ValueError, match="other"):
        stepped(Odd())
