"""What is wrong in an optimizer of one's own is told in words, and nothing moves."""

import keras
import numpy as np
import pytest

from keras_textbook_opt import TextbookOptimizer
from tests.backends import numbers

ON_ROWS = pytest.param(True, marks=pytest.mark.needs("rows"))


class OneSlot(TextbookOptimizer):
    """`m ← m + g`, `θ ← θ − η·m`."""

    def create_slots(self, variables):
        for variable in variables:
            self.add_slot(variable, "m")

    def apply_dense(self, g, θ, η, m):
        return θ - η * (m + g), m + g


class AsAList(OneSlot):
    def apply_dense(self, g, θ, η, m):
        return list(super().apply_dense(g, θ, η, m))


class ForgetsTheSlot(OneSlot):
    def apply_dense(self, g, θ, η, m):
        return θ - η * (m + g)


class ReturnsNoSlot(OneSlot):
    def apply_dense(self, g, θ, η, m):
        return θ - η * (m + g), None


class ForgetsToReturn(TextbookOptimizer):
    def apply_dense(self, g, θ, η):
        θ - η * g


class ReturnsTwo(TextbookOptimizer):
    def apply_dense(self, g, θ, η):
        return θ - η * g, g


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


@pytest.mark.parametrize("on_rows", [False, ON_ROWS])
@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (ForgetsTheSlot, "2 in all. Received: 1$"),
        (ReturnsTwo, "1 in all. Received: 2$"),
        (ForgetsToReturn, "1 in all. Received: None$"),
        (ReturnsNoSlot, "2 in all. Received: 2, of which 1 is None$"),
    ],
)
def test_what_an_equation_does_not_return_is_missed(cls, said, on_rows):
    with pytest.raises(ValueError, match=said):
        stepped(cls(0.5), on_rows)


@pytest.mark.parametrize("on_rows", [False, ON_ROWS])
def test_an_equation_may_return_a_list(on_rows):
    assert stepped(AsAList(0.5), on_rows).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    "slot", [("m", "variable"), ("variable", None), ("other", "m")], ids=str
)
def test_a_slot_is_beside_a_variable_and_has_a_name(slot):
    other = keras.Variable(1.0)

    class Odd(TextbookOptimizer):
        def create_slots(self, variables):
            here = {"variable": variables[0], "other": other}
            self.add_slot(*(here.get(each, each) for each in slot))

        def apply_dense(self, g, θ, η, m):
            return θ - η * g, m

    with pytest.raises(ValueError, match=r"Expected a variable .* slot's name"):
        stepped(Odd(0.5))


class PassesItOn(TextbookOptimizer):
    def __init__(self, learning_rate=0.5, beta=0.9, **settings):
        super().__init__(learning_rate, **settings | {"beta": beta})

    def apply_dense(self, g, θ, η):
        return θ - η * g


def test_an_argument_of_ones_own_stays_in_ones_own_constructor():
    said = "`beta` is an argument of `PassesItOn` alone: .* not to pass it on"
    with pytest.raises(ValueError, match=said):
        PassesItOn()


class CallsItLr(TextbookOptimizer):
    def __init__(self, lr=0.25, **settings):
        super().__init__(lr, **settings)

    def apply_dense(self, g, θ, η):
        return θ - η * g


@pytest.mark.parametrize(
    "made",
    [
        lambda: CallsItLr(0.5),
        lambda: CallsItLr(lr=0.5),
        lambda: CallsItLr(learning_rate=0.5),
        lambda: CallsItLr.from_config(CallsItLr(0.5).get_config()),
    ],
)
def test_a_constructor_may_call_the_rate_by_its_other_name(made):
    optimizer = made()
    assert repr(optimizer) == "CallsItLr(lr=0.5)"
    assert stepped(optimizer).tolist() == [[0, 0], [0, 0]]
