"""What a task is trained with: an optimizer, and the dtype of the whole model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

import keras_textbook_opt
from benchmarks.precision import boston, embedding, transformer
from benchmarks.precision.tasks import Task

NARROW = ("bfloat16", "float16")


@dataclass(frozen=True)
class Variant:
    """An optimizer in a dtype.

    Args:
        learning_rate_of: The optimizer whose learning rate this one takes.
        reference: The optimizer whose run in float32 this one is compared with.
        promised: Whether its loss must come near that one's; other variants are there
            to be compared with.
    """

    optimizer: str
    dtype: str
    make: Callable[..., Any]
    learning_rate_of: str
    reference: str
    promised: bool = False

    @property
    def name(self) -> str:
        return f"{self.optimizer}, {self.dtype}"

    def optimizer_for(self, task: Task) -> Any:
        """Return a new optimizer for the task."""
        return self.make(learning_rate=task.learning_rates[self.learning_rate_of])


def adam_without_carry(**arguments: Any) -> Any:
    """Return Adam as it is where a step that rounds off is lost."""
    return keras_textbook_opt.Adam(compensate=False, **arguments)


def _ours(name: str, make: Callable[..., Any]) -> list[Variant]:
    return [
        Variant(name, dtype, make, name, name, promised=dtype in NARROW)
        for dtype in DTYPES
    ]


DTYPES = ("float32", *NARROW)
BUILTIN = "keras.optimizers.Adam"
WITHOUT_CARRY = "Adam(compensate=False)"
VARIANTS = (
    *_ours("Adam", keras_textbook_opt.Adam),
    *_ours("Momentum", keras_textbook_opt.Momentum),
    *(Variant(WITHOUT_CARRY, d, adam_without_carry, "Adam", "Adam") for d in NARROW),
    *(Variant(BUILTIN, d, keras.optimizers.Adam, "Adam", BUILTIN) for d in DTYPES),
)
TASKS = (boston.TASK, embedding.TASK, transformer.TASK)
