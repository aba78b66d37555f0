"""The chapter's experiments, and the figures it prints for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

import keras_textbook_opt

CLIPNORM = 2.0
BETA_2_ONE_ULP_UP = float(np.nextafter(np.float32(0.999), np.float32(1)))

Settings = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Ours and the built-in, made from the same settings; `batch_size` None is all."""

    title: str
    ours: Callable[..., Any]
    builtin: Callable[..., Any]
    settings: Settings
    batch_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Experiment(Pair):
    """One line of the chapter's table."""

    name: str
    epochs: int
    chapter: float

    @property
    def learning_rate(self) -> float:
        return self.settings["learning_rate"]

    @property
    def settings_one_ulp_away(self) -> Settings:
        """Return the settings of the built-in where it starts one ulp away.

        They are the same but for Adam's β₂, which the built-in rounds to float32 in
        one place and not in another: it is the next float32.
        """
        if self.builtin is keras.optimizers.Adam:
            return {**self.settings, "beta_2": BETA_2_ONE_ULP_UP}
        return self.settings

    def steps_per_epoch(self, rows: int) -> int:
        """Return the steps of one epoch, a last partial batch being dropped."""
        return 1 if self.batch_size is None else rows // self.batch_size

    def shortened(self, factor: int) -> "Experiment":
        """Return the same experiment with one epoch for every `factor` epochs."""
        return replace(self, epochs=self.epochs // factor)


DESCENT = {"ours": keras_textbook_opt.SGD, "builtin": keras.optimizers.SGD}
MOMENTUM = {"ours": keras_textbook_opt.Momentum, "builtin": keras.optimizers.SGD}
ADAM = {"ours": keras_textbook_opt.Adam, "builtin": keras.optimizers.Adam}

_RATE = {"learning_rate": 1e-3}
_CLIP = {"clipnorm": CLIPNORM}
_EPSILON = {"epsilon": 1e-8}
_BATCHES = "mini-batches of 32, η = 1e-3"
_CHAPTER = {
    -9: 216.570,
    -8: 616.280,
    -7: 85.039,
    -6: 71.764,
    -5: 444.852,
    -4: 97.061,
    -3: 83.244,
}
SWEEP = tuple(
    Experiment(
        name=f"sgd-1e{exponent}",
        title=f"gradient descent, full batch, η = 1e{exponent}",
        **DESCENT,
        settings={"learning_rate": 10.0**exponent},
        epochs=10_000,
        chapter=chapter,
    )
    for exponent, chapter in _CHAPTER.items()
)
OTHERS = (
    Experiment(
        name="sgd-clipnorm",
        title="gradient descent, full batch, η = 1e-3, clipnorm 2",
        **DESCENT,
        settings=_RATE | _CLIP,
        epochs=10_000,
        chapter=49.352,
    ),
    Experiment(
        name="mini-batches",
        title=f"{_BATCHES}, clipnorm 2",
        **DESCENT,
        settings=_RATE | _CLIP,
        epochs=2_000,
        batch_size=32,
        chapter=30.624,
    ),
    Experiment(
        name="momentum",
        title=f"momentum .98, {_BATCHES}, clipnorm 2",
        **MOMENTUM,
        settings=_RATE | _CLIP | {"momentum": 0.98},
        epochs=1_000,
        batch_size=32,
        chapter=29.116,
    ),
    Experiment(
        name="adam-clipnorm",
        title=f"Adam, {_BATCHES}, ε = 1e-8, clipnorm 2",
        **ADAM,
        settings=_RATE | _CLIP | _EPSILON,
        epochs=1_000,
        batch_size=32,
        chapter=28.040,
    ),
    Experiment(
        name="adam",
        title=f"Adam, {_BATCHES}, ε = 1e-8, no clip",
        **ADAM,
        settings=_RATE | _EPSILON,
        epochs=1_000,
        batch_size=32,
        chapter=29.336,
    ),
)
EXPERIMENTS = SWEEP + OTHERS
