"""What one step computes once for all of its variables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, final


class Step(NamedTuple):
    """A step with the learning rate `rate`, and its scalars by compute dtype."""

    rate: Any
    scalars: dict[str, Any]


@final
class Steps:
    """The steps that are being taken, one for each replica.

    `update_step` knows its step by the learning rate: by the tensor itself, not by its
    value. With another rate, as a subclass passes on that has one for each layer, it
    computes its own scalars.
    """

    def __init__(self) -> None:
        self._taken: list[Step] = []

    @contextmanager
    def taking(self, rate: Any, scalars: dict[str, Any]) -> Iterator[None]:
        """While the step with these scalars is taken."""
        step = Step(rate, scalars)
        self._taken.append(step)
        try:
            yield
        finally:
            self._taken = [other for other in self._taken if other is not step]

    def scalars(self, rate: Any, dtype: str, compute: Callable[[Any, str], Any]) -> Any:
        """The scalars of the step with `rate`, or those that `compute` returns."""
        for step in self._taken:
            if step.rate is rate:
                return step.scalars[dtype]
        return compute(rate, dtype)
