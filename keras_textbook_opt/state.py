"""The state of an optimizer: the slots that it keeps beside each variable."""

from __future__ import annotations

from typing import final

import keras


@final
class Slots:
    """Slots by variable and name, in the order in which they were added."""

    def __init__(self) -> None:
        self._by_variable: dict[object, dict[str, keras.Variable]] = {}

    def add(self, variable_key, name: str, slot: keras.Variable) -> None:
        self._by_variable.setdefault(variable_key, {})[name] = slot

    def of(self, variable_key) -> dict[str, keras.Variable]:
        return self._by_variable.get(variable_key, {})
