"""What an optimizer keeps beside each variable, found by the variable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

import keras
from keras import ops

from keras_textbook_opt import backends

AVERAGE, ACCUMULATOR, CARRY = "average", "gradient_accumulator", "carry"
SLOT = "slots/"  # in front of the name that the optimizer gave to a slot


@final
@dataclass(eq=False)
class Beside:
    """All that is kept beside one variable."""

    slots: dict[str, keras.Variable] = field(default_factory=dict)
    initializers: dict[str, Any] = field(default_factory=dict)
    average: keras.Variable | None = None
    accumulator: keras.Variable | None = None
    carry: keras.Variable | None = None
    factor: float = 1.0  # of the learning rate

    def kept(self) -> dict[str, keras.Variable]:
        """Each variable by its kind: `slots/m`, `average`, `carry` and so on."""
        others = {
            AVERAGE: self.average,
            ACCUMULATOR: self.accumulator,
            CARRY: self.carry,
        }
        slots = {SLOT + name: slot for name, slot in self.slots.items()}
        return slots | {kind: v for kind, v in others.items() if v is not None}

    def initial(self, kind: str) -> Callable[[], Any]:
        """What makes the value that `kind` starts with."""
        variable = self.kept()[kind]
        initializer = self.initializers.get(kind)
        if initializer is None:
            return zeros(variable)
        return lambda: initializer(variable.shape, dtype=variable.dtype)

    def reset(self) -> None:
        """Every slot as its initializer makes it, and zeros for the rest."""
        for kind, variable in self.kept().items():
            initial = self.initial(kind)()
            variable.assign(backends.active.placed(initial, variable))


def zeros(variable: keras.Variable) -> Callable[[], Any]:
    """What makes zeros like `variable`."""
    return lambda: ops.zeros(variable.shape, variable.dtype)


def name_of(kind: str, label: str) -> str:
    """What a person calls it: `m/dense/kernel`."""
    return f"{kind.removeprefix(SLOT)}/{label}"
