"""The optimizers that make the round trips. No import here needs TensorFlow.

Every argument of a recipe differs from its default, and each optimizer meets each of
its arguments and each kind of learning rate in one recipe or another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """An optimizer by name. `learning_rate` is a float or a name in `learning_rates`.

    `undecayed` and `undecayed_names` are paths and names of variables for
    `exclude_from_weight_decay`.
    """

    optimizer: str
    learning_rate: float | str
    arguments: dict[str, Any]
    undecayed: tuple[str, ...] = ()
    undecayed_names: tuple[str, ...] = ()
    run_eagerly: bool = False

    @property
    def label(self) -> str:
        return self.arguments["name"]

    @property
    def what_tells(self) -> list[str]:
        """What the weights of the next steps depend on, in variables of 32 bits."""
        excluded = ["exclude_from_weight_decay"] * self.excludes
        arguments = [a for a in self.arguments if a not in ("name", "compensate")]
        return ["learning_rate", *arguments, *excluded]

    @property
    def excludes(self) -> bool:
        return bool(self.undecayed or self.undecayed_names)


RECIPES = [
    Recipe(
        "SGD",
        0.3,
        {"clipnorm": 0.5, "weight_decay": 0.2, "name": "sgd_float"},
        undecayed=("table/embeddings",),
    ),
    Recipe(
        "SGD",
        "piecewise",
        {
            "clipvalue": 0.02,
            "use_ema": True,
            "ema_momentum": 0.6,
            "ema_overwrite_frequency": 3,
            "learning_rate_multipliers": {"table": 0.5, "bias": 0.0},
            "name": "sgd_schedule",
        },
        run_eagerly=True,
    ),
    Recipe(
        "SGD",
        "function",
        {
            "global_clipnorm": 0.3,
            "weight_decay": 0.3,
            "gradient_accumulation_steps": 3,
            "loss_scale_factor": 3.0,
            "compensate": False,
            "name": "sgd_callable",
        },
        undecayed_names=("bias", "kernel"),
        run_eagerly=True,
    ),
    Recipe(
        "Momentum",
        0.07,
        {
            "momentum": 0.6,
            "nesterov": True,
            "clipvalue": 0.03,
            "weight_decay": 0.2,
            "gradient_accumulation_steps": 2,
            "compensate": False,
            "name": "momentum_float",
        },
        undecayed=("hidden/kernel",),
        undecayed_names=("bias",),
        run_eagerly=True,
    ),
    Recipe(
        "Momentum",
        "exponential",
        {
            "momentum": 0.7,
            "sparse_update": "lazy",
            "global_clipnorm": 0.5,
            "use_ema": True,
            "ema_momentum": 0.8,
            "ema_overwrite_frequency": 4,
            "learning_rate_multipliers": {"kernel": 0.75, "^table/": 2.0},
            "name": "momentum_schedule",
        },
    ),
    Recipe(
        "Momentum",
        "object",
        {
            "momentum": 0.5,
            "nesterov": True,
            "sparse_update": "lazy",
            "clipnorm": 0.3,
            "weight_decay": 0.4,
            "loss_scale_factor": 3.0,
            "name": "momentum_callable",
        },
        undecayed=("table/embeddings", "head/kernel"),
        run_eagerly=True,
    ),
    Recipe(
        "Adam",
        0.05,
        {
            "beta_1": 0.7,
            "beta_2": 0.9,
            "epsilon": 1e-2,
            "amsgrad": True,
            "clipnorm": 0.2,
            "weight_decay": 0.3,
            "use_ema": True,
            "ema_momentum": 0.5,
            "learning_rate_multipliers": {"^head/": 3.0, "a": 0.25},
            "name": "adam_float",
        },
        undecayed_names=("bias",),
    ),
    Recipe(
        "Adam",
        "cosine",
        {
            "beta_1": 0.5,
            "beta_2": 0.95,
            "epsilon": 1e-3,
            "sparse_update": "lazy",
            "global_clipnorm": 0.3,
            "weight_decay": 0.2,
            "loss_scale_factor": 3.0,
            "use_ema": True,
            "ema_momentum": 0.4,
            "ema_overwrite_frequency": 3,
            "name": "adam_schedule",
        },
        undecayed=("head/kernel",),
        run_eagerly=True,
    ),
    Recipe(
        "Adam",
        "function",
        {
            "beta_1": 0.8,
            "beta_2": 0.8,
            "epsilon": 1e-4,
            "clipvalue": 0.05,
            "weight_decay": 0.1,
            "gradient_accumulation_steps": 2,
            "compensate": False,
            "name": "adam_callable",
        },
        undecayed=("table/embeddings", "head/kernel"),
        undecayed_names=("bias",),
        run_eagerly=True,
    ),
]
OPTIMIZERS = ["SGD", "Momentum", "Adam"]
# The state travels and training goes on.
RESUMED = ["keras", "weights", "checkpoint", "backup", "pickle"]
# The configuration travels and training starts afresh.
AFRESH = ["deserialize", "get", "clone"]
# The trained model travels, as a SavedModel.
SERVED = ["exported", "saved"]
# What is tried in a process that does not know the package.
UNKNOWN = ["keras", "pickle", "deserialize", "get", "get_by_name"]
