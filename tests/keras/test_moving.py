"""`from_keras` and `to_keras` copy: the next steps of either leave the other alone."""

from typing import Any

import keras
import numpy as np
import pytest

from keras_textbook_opt import Adam, Momentum
from tests.backends import numbers

pytestmark = pytest.mark.needs("fit")
X = np.ones((4, 2), "float32")
EMA: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.5}
MOVES = {
    "Adam.from_keras": (lambda: keras.optimizers.Adam(0.1), Adam.from_keras),
    "Momentum.from_keras": (
        lambda: keras.optimizers.SGD(0.1, momentum=0.9, **EMA),
        Momentum.from_keras,
    ),
    "Adam.to_keras": (lambda: Adam(0.1), Adam.to_keras),
    "Momentum.to_keras": (lambda: Momentum(0.1, **EMA), Momentum.to_keras),
}


def fit(model: keras.Model, optimizer=None) -> None:
    if optimizer is not None:
        model.compile(optimizer, "mse")
    model.fit(X, X[:, :1], verbose=0)


@pytest.mark.parametrize("name", MOVES)
def test_an_optimizer_and_its_copy_share_no_arrays(name):
    """On JAX, a step deletes the arrays of its optimizer, and Keras's with averages."""
    make, move = MOVES[name]
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    old = make()
    fit(model, old)
    weights, before = model.get_weights(), [numbers(v) for v in old.variables]
    fit(model, move(old))
    if old.use_ema and isinstance(old, keras.optimizers.SGD):
        return  # the averages of a built-in share their arrays with the weights
    for variable, value in zip(old.variables, before, strict=True):
        np.testing.assert_array_equal(numbers(variable), value)
    model.set_weights(weights)
    if "use_ema" not in name and not (old.use_ema and "from" in name):
        fit(model, old)
