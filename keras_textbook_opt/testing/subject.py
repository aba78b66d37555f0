"""The optimizer under test: how it is made, and how far a learning rate moves θ."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Hashable
from typing import Any, final

import numpy as np

from keras_textbook_opt.testing import backend, by_hand, problem
from keras_textbook_opt.testing.comparing import (
    assert_close,
    distance,
    failure,
    rounding,
)
from keras_textbook_opt.testing.naming import shown
from keras_textbook_opt.testing.run import Run
from keras_textbook_opt.testing.verdicts import (
    CheckFailed,
    CheckSkipped,
    CouldNotRun,
    telling_line,
)

# By powers of two, from the usual size outwards.
RATES = sorted(
    (2.0**k for k in range(-20, 15)), key=lambda rate: abs(np.log(rate * 16))
)
# The equation of `Ftrl` does not start from θ: its first step is as long as θ.
MOVES = [(0.02, 0.5), (0.5, 4.0)]
# An optimizer with a warm-up of its own, or one that finds its rate, starts late.
LENGTHS = {3: 6, 12: 12, 48: 48}
"""Steps to calibrate with, and steps to compare afterwards."""
LATE_RATES = [1.0, 2.0**-4, 2.0**-8, 2.0**-12]
LATER, FASTER = 24, 64


@final
class Subject:
    """A factory with its calibration.

    Args:
        factory: A class, or a callable that passes keyword arguments on to one.
    """

    rate: float
    """A learning rate with which a few steps move the variables by 0.02 to 4."""
    movement: float
    """How far they move them."""
    steps: list[list[np.ndarray]]
    """The gradients of the steps to compare: enough for the variables to move."""
    plain: list[np.ndarray]
    """The variables after these steps."""
    noise: float
    """How far the variables end up apart if each gradient is off by its rounding."""

    def __init__(self, factory: Any):
        self.factory = factory
        self.rate, self.movement, length = self._calibrated()
        self.steps = problem.gradients(length)
        self.plain = self.after(self.steps)
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
        """The name of the factory in messages."""
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
            given = by_hand.written(options or {"learning_rate": learning_rate})
            raise CheckSkipped(
                f"the constructor does not take {given}: {telling_line(error)}"
            ) from error

    def takes(self, options: dict[str, Any]) -> bool:
        """Whether the constructor has these options."""
        try:
            self.make(**options)
        except CheckSkipped:
            return False
        return True

    def run(self, **options: Any) -> Run:
        """A new optimizer with new variables."""
        return Run(self.make(**options))

    def after(self, steps: list[list], **options: Any) -> list[np.ndarray]:
        """The variables after these steps."""
        return self.run(**options).follow(steps).numbers

    def assert_close(
        self,
        found: list[np.ndarray],
        expected: list[np.ndarray],
        what: str,
        *,
        steps: int = 0,
        start: list[np.ndarray] | None = None,
        names: list[str] = problem.NAMES,
    ) -> None:
        """Two ways to compute the variables after some steps agree up to rounding."""
        assert_close(
            found,
            expected,
            what,
            steps=steps or len(self.steps),
            noise=self.noise,
            start=problem.values() if start is None else start,
            names=names,
        )

    def require_rows(self) -> None:
        """Skip the check if there are no sparse gradients, or they raise an error.

        One check reports that error.
        """
        backend.require("rows")
        try:
            self.after(problem.with_rows(problem.EVERY)[:1])
        except Exception as error:
            raise CouldNotRun(
                f"`check_sparse_gradients` does not pass: {telling_line(error)}"
            ) from error

    def require_local(self) -> None:
        """Skip the check if the step on a variable depends on the other variables."""
        if not self._is_local:
            raise CheckSkipped(
                "the step on a variable depends on the other variables (a global "
                "scalar, or a rate by depth)"
            )

    @functools.cached_property
    def _is_local(self) -> bool:
        random = np.random.default_rng(7)
        value, *gradients = (
            random.normal(size=5).astype("float32") for _ in range(len(self.steps) + 1)
        )
        beside = Run(self.make(), [*problem.values(), value])
        beside.follow([[*step, g] for step, g in zip(self.steps, gradients)])
        allowed = rounding(len(self.steps), self.plain) + 4 * self.noise
        return distance(beside.numbers[: len(self.plain)], self.plain) <= allowed

    def defaults(self) -> dict[str, Any]:
        """Each constructor argument that is known by name, with its default.

        If a constructor hides arguments behind `**kwargs`, the config has them.
        """
        config = self.make().get_config()
        return {**config, **{n: config.get(n, d) for n, d in self.named().items()}}

    def named(self) -> dict[str, Any]:
        """The arguments that the constructor's signature names, with their defaults."""
        parameters = inspect.signature(self.kind).parameters.values()
        return {
            p.name: p.default
            for p in parameters
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }

    def _calibrated(self) -> tuple[float, float, int]:
        """The rate, how far it moves the variables, and how many steps to compare."""
        moves: dict[float, float] = {}
        for steps, length in LENGTHS.items():
            moves = {}
            # A large rate does not make up for a late start.
            rates = RATES if steps == 3 else LATE_RATES
            for low, high in MOVES:
                for rate in rates:
                    if rate not in moves:
                        moves[rate] = self._moved(rate, steps)
                    if low <= moves[rate] <= high and self._is_steady(rate, moves):
                        return rate, moves[rate], length
        farthest = max(moves, key=lambda rate: np.nan_to_num(moves[rate], nan=-1.0))
        least = MOVES[0][0]
        raise failure(
            f"no learning rate between {min(RATES):.0e} and {max(RATES):.0e} moves "
            f"variables of size 1 by {least} to {MOVES[-1][1]} in {max(LENGTHS)} "
            f"steps; {farthest:.3g} moves them by {moves[farthest]:.3g}",
            least - moves[farthest],
            least,
        )

    def _moved(self, rate: float, steps: int) -> float:
        mode = backend.eager if steps == 3 else backend.fastest
        try:
            optimizer = self.factory(learning_rate=rate)
        except TypeError as error:
            if error.__traceback__ and error.__traceback__.tb_next:
                raise
            raise CheckFailed(f"cannot be made: {telling_line(error)}") from error
        run = Run(optimizer, mode=mode)
        return distance(run.follow(problem.gradients(steps)).numbers, run.start)

    def _is_steady(self, rate: float, moves: dict[float, float]) -> bool:
        """Whether steps do not grow without bound.

        Where the optimizer finds its own rate, a large one runs away after a few steps.
        """
        if rate <= 1:
            return True
        return self._moved(rate, LATER) <= FASTER * moves[rate]

    def _measured_noise(self) -> float:
        random = np.random.default_rng(4)
        ε = np.finfo("float32").eps
        nearby = [
            [g * (1 + 2 * ε * random.choice([-1, 1], g.shape)) for g in step]
            for step in self.steps
        ]
        return distance(self.plain, self.after(nearby))


@functools.lru_cache(maxsize=8)
def _cached(factory: Any) -> Subject | Exception:
    try:
        return Subject(factory)
    except Exception as error:
        return error
