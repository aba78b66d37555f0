"""Learning rates that are not floats: schedules, and callables that are registered."""

from __future__ import annotations

import keras
from keras.optimizers import schedules


@keras.saving.register_keras_serializable(package="round_trips")
def steady() -> float:
    return 0.06


@keras.saving.register_keras_serializable(package="round_trips")
class Share:
    """A callable with a configuration: `part` of `whole`."""

    def __init__(self, whole: float, part: float):
        self.whole, self.part = whole, part

    def __call__(self) -> float:
        return self.whole * self.part

    def get_config(self) -> dict[str, float]:
        return {"whole": self.whole, "part": self.part}

    @classmethod
    def from_config(cls, config: dict[str, float]) -> Share:
        return cls(**config)


LEARNING_RATES = {
    "piecewise": lambda: schedules.PiecewiseConstantDecay([2, 6], [0.4, 0.2, 0.05]),
    "exponential": lambda: schedules.ExponentialDecay(0.1, 2, 0.7),
    "cosine": lambda: schedules.CosineDecay(0.05, 9, warmup_target=0.2, warmup_steps=4),
    "function": lambda: steady,
    "object": lambda: Share(0.5, 0.25),
}
