"""The optimizer under test: how it is made, and how far a learning rate takes it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Hashable
from typing import Any, final

import numpy as np

from keras_textbook_opt.testing import backend, problem
from keras_textbook_opt.testing.comparing import distance, failure
from keras_textbook_opt.testing.naming import shown
from keras_textbook_opt.testing.run import Run
from keras_textbook_opt.testing.verdicts import CheckSkipped, telling_line

# By powers of two, from the usual size outwards.
RATES = sorted(
    (2.0**k for k in range(-20, 15)), key=lambda rate: abs(np.log(rate * 16))
)
# The equation of `Ftrl` does not start from θ: its first step is as long as θ.
MOVES = [(0.02, 0.5), (0.5, 4.0)]
CALIBRATING = 3


@final
class Subject:
    """A factory with its calibration.

    Args:
        factory: A class, or a callable that passes keyword arguments on to one.
    """

    rate: float
    """Three steps with it move the variables by 0.02 to 0.5, or by at most 4."""
    movement: float
    """How far three steps with it move them."""
    noise: float
    """How far they end where each gradient is off by its rounding."""

    def __init__(self, factory: Any):
        self.factory = factory
        self.rate, self.movement = self._calibrated()
        self.noise = self._measured_noise()

    @classmethod
    def of(cls, factory: Any) -> Subject:
        """The subject of a factory, calibrated once."""
        found = _cached(factory) if isinstance(factory, Hashable) else cls(factory)
        if isinstance(found, Exception):
            raise found
        return found

    @property
    def name(self) -> str:
        """What the factory is called in messages."""
        return shown(self.factory)

    @property
    def kind(self) -> type:
        """The class of the optimizers that the factory makes."""
        return type(self.make())

    def make(self, learning_rate: Any = None, **options: Any) -> Any:
        """A new optimizer with the calibrated rate.

        Raises:
            CheckSkipped: The constructor does not take these options.
        """
        rate = self.rate if learning_rate is None else learning_rate
        try:
            return self.factory(learning_rate=rate, **options)
        except (TypeError, ValueError) as error:
            if not options and learning_rate is None:
                raise
            given = options or {"learning_rate": learning_rate}
            written = ", ".join(f"{name}={value!r}" for name, value in given.items())
            raise CheckSkipped(
                f"waits for a constructor that takes {written}: {telling_line(error)}"
            ) from error

    def takes(self, options: dict[str, Any]) -> bool:
        """Whether the constructor has these options."""
        try:
            self.make(**options)
        except CheckSkipped:
            return False
        return True

    def run(self, **options: Any) -> Run:
        """A new optimizer beside new variables."""
        return Run(self.make(**options))

    def after(self, steps: list[list], **options: Any) -> list[np.ndarray]:
        """Where the variables are after these steps."""
        return self.run(**options).follow(steps).numbers

    def want_rows(self) -> None:
        """Skip the check where there are no rows, or they make an error by themselves.

        That they do is for one check to say.
        """
        backend.want("rows")
        try:
            self.after(problem.with_rows(problem.EVERY)[:1])
        except Exception as error:
            raise CheckSkipped(
                f"waits for `check_rows_are_taken` to pass: {telling_line(error)}"
            ) from error

    def defaults(self) -> dict[str, Any]:
        """Each constructor argument that is known by name, with what it is unless set.

        Where a constructor hides arguments behind `**kwargs`, the config has them.
        """
        config = self.make().get_config()
        named = inspect.signature(self.kind).parameters.values()
        explicit = {
            p.name: config.get(p.name, p.default)
            for p in named
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }
        return {**config, **explicit}

    def _calibrated(self) -> tuple[float, float]:
        steps = problem.gradients(CALIBRATING)
        start = problem.values()
        moves: dict[float, float] = {}
        for low, high in MOVES:
            for rate in RATES:
                if rate not in moves:
                    run = Run(self.factory(learning_rate=rate)).follow(steps)
                    moves[rate] = distance(run.numbers, start)
                if low <= moves[rate] <= high:
                    return rate, moves[rate]
        least = MOVES[0][0]
        raise failure(
            f"Expected a learning rate between {min(RATES):.0e} and {max(RATES):.0e} "
            f"with which three steps move variables of size 1 by {least} to 4; none "
            f"does, and with {RATES[0]:.3g} they move by {moves[RATES[0]]:.3g}",
            least - moves[RATES[0]],
            least,
        )

    def _measured_noise(self) -> float:
        steps = problem.gradients()
        random = np.random.default_rng(4)
        ε = np.finfo("float32").eps
        nearby = [
            [g * (1 + 2 * ε * random.choice([-1, 1], g.shape)) for g in step]
            for step in steps
        ]
        return distance(self.after(steps), self.after(nearby))


@functools.lru_cache(maxsize=8)
def _cached(factory: Any) -> Subject | Exception:
    try:
        return Subject(factory)
    except Exception as error:
        return error
