"""What is timed on JAX and PyTorch: a step under several optimizers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np

import keras_textbook_opt
from benchmarks.steps.figures import BUILTIN, OURS
from benchmarks.steps.optimizers import LEARNING_RATE, MOMENTUM

CLIPNORM = "clipnorm"
LIMIT = 1.0
# Others have it elsewhere in the formula: it is too small to tell.
EPSILON = 1e-16


class Contender(NamedTuple):
    """`step()` returns when its result is there; `values()` are the variables."""

    step: Callable[[], object]
    values: Callable[[], list[np.ndarray]]


@dataclass(frozen=True)
class Step:
    """An equation, with its slots and perhaps a clip."""

    equation: str
    slots: int
    option: str = ""

    @property
    def title(self) -> str:
        return f"{self.equation} + {self.option}" if self.option else self.equation

    @property
    def clip(self) -> dict[str, Any]:
        return {"clipnorm": LIMIT} if self.option else {}

    def optimizers(self) -> dict[str, Any]:
        """Ours and Keras's."""
        if self.equation in ("Adam", "AMSGrad"):
            adam: dict[str, Any] = {
                "epsilon": EPSILON,
                "amsgrad": self.equation == "AMSGrad",
            }
            return {
                OURS: keras_textbook_opt.Adam(LEARNING_RATE, **adam, **self.clip),
                BUILTIN: keras.optimizers.Adam(LEARNING_RATE, **adam, **self.clip),
            }
        if self.equation == "SGD":
            return {
                OURS: keras_textbook_opt.SGD(LEARNING_RATE, **self.clip),
                BUILTIN: keras.optimizers.SGD(LEARNING_RATE, **self.clip),
            }
        momentum: dict[str, Any] = {
            "momentum": MOMENTUM,
            "nesterov": self.equation == "Nesterov",
        }
        return {
            OURS: keras_textbook_opt.Momentum(LEARNING_RATE, **momentum, **self.clip),
            BUILTIN: keras.optimizers.SGD(LEARNING_RATE, **momentum, **self.clip),
        }


STEPS = (
    Step("SGD", 0),
    Step("SGD", 0, CLIPNORM),
    Step("Momentum", 1),
    Step("Momentum", 1, CLIPNORM),
    Step("Nesterov", 1),
    Step("Adam", 2),
    Step("Adam", 2, CLIPNORM),
    Step("AMSGrad", 3),
)
