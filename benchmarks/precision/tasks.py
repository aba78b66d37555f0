"""A task: data, a model of any dtype, a loss, and how long it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Task:
    """What to train. All seeds see the same data, in their own order.

    Args:
        data: Returns the inputs and the targets to train on.
        model: Returns the model of a dtype, as `keras.layers` take it.
        loss: Returns the loss; its arithmetic is float32 in every dtype.
        unit: Of the loss.
        learning_rates: By the name of the optimizer's class.
    """

    name: str
    title: str
    data: Callable[[], tuple[Array, Array]]
    model: Callable[[str], Any]
    loss: Callable[[], Any]
    loss_name: str
    unit: str
    learning_rates: dict[str, float]
    epochs: int
    batch_size: int = 32

    def shortened(self, divisor: int) -> Task:
        """Return the task with a part of its epochs, but one."""
        return replace(self, epochs=max(1, self.epochs // divisor))
