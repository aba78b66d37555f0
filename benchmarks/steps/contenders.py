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
        kinds, arguments = self._kinds()
        return {
            who: make(LEARNING_RATE, **arguments, **self.clip)
            for who, make in zip((OURS, BUILTIN), kinds)
        }

    def _kinds(self) -> tuple[tuple[Any, Any], dict[str, Any]]:
        """Our class and Keras's, and the arguments of both."""
        if self.equation == "SGD":
            return (keras_textbook_opt.SGD, keras.optimizers.SGD), {}
        if self.equation in ("Momentum", "Nesterov"):
            nesterov = self.equation == "Nesterov"
            return (
                (keras_textbook_opt.Momentum, keras.optimizers.SGD),
                {"momentum": MOMENTUM, "nesterov": nesterov},
            )
        amsgrad = self.equation == "AMSGrad"
        return (
            (keras_textbook_opt.Adam, keras.optimizers.Adam),
            {"epsilon": EPSILON, "amsgrad": amsgrad},
        )


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
