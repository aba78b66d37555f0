"""The optimizers with their arguments over which tests are parametrized."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras

from keras_textbook_opt import SGD, Adam, Momentum


@dataclass(frozen=True)
class Recipe:
    """An optimizer and its arguments; the learning rate is 0.1 in all."""

    optimizer: type
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)

    def make(self, **more: Any):
        return self.optimizer(0.1, **self.arguments, **more)

    def make_keras(self):
        """The built-in optimizer of the same equation."""
        arguments = {k: v for k, v in self.arguments.items() if k != "sparse_update"}
        if self.optimizer is Adam:
            arguments.setdefault("epsilon", 1e-8)
            return keras.optimizers.Adam(0.1, **arguments)
        if self.optimizer is Momentum:
            arguments.setdefault("momentum", 0.9)
        return keras.optimizers.SGD(0.1, **arguments)

    def with_arguments(self, **more: Any) -> Recipe:
        return Recipe(self.optimizer, {**self.arguments, **more})

    @property
    def lazy(self) -> bool:
        return self.arguments.get("sparse_update") == "lazy"

    def __str__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.arguments.items())
        return f"{self.optimizer.__name__}({arguments})"


EXACT = [
    Recipe(SGD),
    Recipe(SGD, {"clipnorm": 0.5}),
    Recipe(SGD, {"clipvalue": 0.25, "weight_decay": 0.1}),
    Recipe(SGD, {"global_clipnorm": 0.75}),
    Recipe(Momentum),
    Recipe(Momentum, {"nesterov": True, "clipnorm": 0.5}),
    Recipe(Momentum, {"momentum": 0.0, "global_clipnorm": 0.75}),
    Recipe(Momentum, {"momentum": 1.0, "weight_decay": 0.1}),
    Recipe(Adam),
    Recipe(Adam, {"amsgrad": True, "clipvalue": 0.25}),
    Recipe(Adam, {"beta_1": 0.0, "beta_2": 0.5, "clipnorm": 0.5}),
    Recipe(Adam, {"beta_1": 0.5, "beta_2": 0.0, "epsilon": 1.0}),
    Recipe(Adam, {"global_clipnorm": 0.75, "weight_decay": 0.1}),
]
LAZY = [
    Recipe(Momentum, {"sparse_update": "lazy", "clipnorm": 0.5}),
    Recipe(Momentum, {"sparse_update": "lazy", "nesterov": True}),
    Recipe(Adam, {"sparse_update": "lazy", "weight_decay": 0.1}),
    Recipe(Adam, {"sparse_update": "lazy", "amsgrad": True, "global_clipnorm": 0.75}),
]
# Every optimizer, variant and clip once: for features that no equation changes.
FEW_EXACT = [
    Recipe(SGD, {"clipnorm": 0.5}),
    Recipe(Momentum, {"nesterov": True, "global_clipnorm": 0.75}),
    Recipe(Adam, {"amsgrad": True, "clipvalue": 0.25}),
]
FEW_LAZY = [
    Recipe(Momentum, {"sparse_update": "lazy", "clipnorm": 0.5}),
    Recipe(Adam, {"sparse_update": "lazy", "global_clipnorm": 0.75}),
]
