"""How a state is loaded that two replicas are to go on from. TensorFlow stays out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras_textbook_opt import Adam, Momentum

EMA: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.5}
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "Momentum": lambda: Momentum(0.1, nesterov=True, **EMA),
    "Adam": lambda: Adam(0.1, amsgrad=True, gradient_accumulation_steps=2),
}
# Whether the optimizer is built before, what trains, and what loads.
CASES = [
    ("Momentum", "waiting, loop, load_weights"),
    ("Momentum", "waiting, fit, load_weights"),
    ("Momentum", "built, loop, load_own_variables"),
    ("Adam", "waiting, loop, load_own_variables"),
    ("Adam", "built, fit, load_weights"),
]
