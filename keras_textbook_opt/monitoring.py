"""What the steps of an optimizer leave for whoever watches it.

A step writes a record, in the graph: its number, its rate, its norms, what its clip
did. The last few are kept in a variable of the optimizer, which is read when there is
time. Where nobody watches there is no such variable, and a step computes none of this.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple, final

import keras
import numpy as np
from keras import ops

from keras_textbook_opt import backends
from keras_textbook_opt.gradients import Dense
from keras_textbook_opt.norms import (
    LEAST,
    Measured,
    Norms,
    measured,
    measured_each,
    namespace,
)
from keras_textbook_opt.variables import path_of

# Steps are numbered from 1 to this, and then from 1 again: float32 holds each number.
NUMBERS = 2**20
# So many steps may pass between two looks at them.
ROOM = 8
NUMBER, RATE, NORM, CLIPPED, FIRST, RATIO = range(6)


class Taken(NamedTuple):
    """What one step did.

    Args:
        numbers: `learning_rate`, `grad_norm` (`‖g‖₂` over all gradients, before the
            clip), `clip_fraction` (the part of the gradients that the clip changed:
            with `clipnorm` of all variables, else 0 or 1), `update_ratio`
            (`‖Δθ‖₂/‖θ‖₂`), and `grad_norm/…` for the path of each variable: those of
            them that there are.
        nonfinite: The path of the first variable with a gradient that is not finite;
            `None` where all are finite.
    """

    numbers: dict[str, float]
    nonfinite: str | None


@final
class Watch:
    """The records of an optimizer's last steps, the newest first.

    Args:
        optimizer: A `TextbookOptimizer`. If it is not built, its `build` makes the
            variables.
        update_ratio: Whether `‖Δθ‖₂/‖θ‖₂` is wanted.
        per_variable: Whether the norm of each variable's gradient is wanted.
        room: How many records are kept.
    """

    def __init__(
        self, optimizer: Any, update_ratio: bool, per_variable: bool, room: int = ROOM
    ):
        self.update_ratio, self.per_variable = update_ratio, per_variable
        self.norms: Norms | None = None
        self.variables: list[keras.Variable] = []
        self._room = room
        if optimizer.built:
            self.build(optimizer)

    def build(self, optimizer: Any) -> None:
        """Create the variables: the records, and those of each variable's norm.

        Again where the optimizer has other variables: what was not read is lost.
        """
        self._seen = 0
        self._paths = list(map(path_of, optimizer._state.variables))
        self._has_clip = clip_of(optimizer) is not None
        dtype = max(optimizer._state.compute_dtypes, default="float32")
        # On JAX, a program is known by the shapes that it takes.
        widths = [RATIO + 1 if self.update_ratio else RATIO]
        widths += [len(self._paths)] if self.per_variable else []
        with backends.active.outside_the_step(optimizer):
            self.variables = [
                keras.Variable(
                    np.zeros((self._room, width)),
                    dtype=dtype,
                    trainable=False,
                    autocast=False,
                    aggregation="only_first_replica",
                    name=name,
                )
                for name, width in zip(("steps", "norms"), widths)
            ]

    @property
    def keys(self) -> list[str]:
        """The keys of `Taken.numbers`."""
        return [
            "learning_rate",
            "grad_norm",
            *(["clip_fraction"] if self._has_clip else []),
            *(["update_ratio"] if self.update_ratio else []),
            *(f"grad_norm/{path}" for path in self._paths if self.per_variable),
        ]

    def is_of(self, optimizer: Any) -> bool:
        """Whether these are records of the variables that the optimizer has now."""
        return self._paths == list(map(path_of, optimizer._state.variables))

    # In the step.

    def record(self, optimizer: Any, rate: Any, norms: Norms, variables: list) -> Any:
        """What is known of a step before it is taken, for each of `variables`."""
        of_gradients = self._measured(optimizer, norms)
        places = optimizer._places(variables)
        of_step = [
            _held(self.variables[0], of_gradients.total)[0, NUMBER] % NUMBERS + 1,
            rate,
            of_gradients.total,
            _clipped_part(optimizer, norms, of_gradients),
            _place_of(of_gradients.first, places),
        ]
        if not self.per_variable:
            return [of_step]
        return [of_step, _spread(of_gradients.each, places, len(self._paths))]

    def _measured(self, optimizer: Any, norms: Norms) -> Measured:
        c = optimizer.clipnorm
        each_counts = self.per_variable or (c is not None and c**2 < LEAST)
        return measured_each(norms) if each_counts else measured(norms)

    def keep(self, record: list) -> None:
        """Put a record before those that are kept."""
        of_step, *rows = record
        known, dtype = of_step[NORM], self.variables[0].dtype
        rows = [_row(of_step, known), *rows]
        of = namespace(known)
        for variable, row in zip(self.variables, rows):
            newest = _cast(row, dtype)[None]
            kept = _held(variable, known)[:-1]
            variable.assign(of.concatenate([newest, kept]))

    # Outside of it.

    def new_steps(self, values: list[np.ndarray]) -> list[Taken]:
        """The steps taken since the last call, the oldest first, `room` at most.

        Args:
            values: What `variables` hold now.
        """
        records, *norms = values
        number = int(records[0, NUMBER])
        count = min((number - self._seen) % NUMBERS, len(records))
        self._seen = number
        of_variables = norms[0] if norms else np.empty((len(records), 0))
        return [
            self._taken(records[k], of_variables[k]) for k in reversed(range(count))
        ]

    def _taken(self, record: np.ndarray, norms: Any) -> Taken:
        numbers = [
            record[RATE],
            record[NORM],
            *([record[CLIPPED]] if self._has_clip else []),
            *([record[RATIO]] if self.update_ratio else []),
            *norms,
        ]
        first = int(record[FIRST])
        return Taken(
            dict(zip(self.keys, map(float, numbers))),
            None if first < 0 else self._paths[first],
        )


def norms(optimizer: Any, gradients: list) -> Norms:
    """The norms of the gradients, which a watch sees as well."""
    made, watch = Norms(gradients), optimizer._state.watch
    if watch is not None:
        watch.norms = made
    return made


@contextlib.contextmanager
def noting(
    optimizer: Any, rate: Any, gradients: list, variables: list
) -> Iterator[None]:
    """Where `variables` are updated with `gradients`; the watch, if any, notes it."""
    watch = optimizer._state.watch
    if watch is None:
        yield
        return
    of_gradients, watch.norms = watch.norms or Norms(gradients), None
    record = watch.record(optimizer, rate, of_gradients, variables)
    if not watch.update_ratio:
        yield
    else:
        before = _values(optimizer, variables)
        yield
        record[0].append(_update_ratio(before, _values(optimizer, variables)))
    watch.keep(record)


def clip_of(optimizer: Any) -> float | None:
    """The `c` of the optimizer's clip; `None` without one."""
    clips = (optimizer.clipnorm, optimizer.global_clipnorm, optimizer.clipvalue)
    return next((c for c in clips if c is not None), None)


def _clipped_part(optimizer: Any, norms: Norms, of_gradients: Measured) -> Any:
    """The part of the gradients on which the clip acted; a clip of all is one."""
    c = clip_of(optimizer)
    if c is None:
        return 0.0
    if optimizer.clipnorm:
        of = namespace(of_gradients.total)
        return sum(of.sum(n > c) for n in of_gradients.each) / len(norms.arrays)
    if optimizer.global_clipnorm:
        return of_gradients.total > c
    return backends.active.largest(norms.arrays) > c


def _place_of(first: Any, places: list[int]) -> Any:
    """The place among all variables of the first of those of a step; −1 if none is."""
    if places == list(range(len(places))):
        return first
    of = namespace(first)
    return of.where(first < 0, first, of.take(np.array(places), of.maximum(first, 0)))


def _held(variable: Any, known: Any) -> Any:
    """What `variable` holds, of the kind of `known`."""
    if namespace(known) is np:
        return ops.convert_to_numpy(variable)
    return ops.convert_to_tensor(variable)


def _row(numbers: list, known: Any) -> Any:
    """Scalars as a vector, of the kind and the dtype of `known`."""
    if namespace(known) is np:
        return np.array(list(map(float, numbers)))
    return ops.stack([ops.cast(x, known.dtype) for x in numbers])


def _cast(x: Any, dtype: str) -> Any:
    if namespace(x) is ops:
        return ops.cast(x, dtype)
    with np.errstate(over="ignore"):
        return x.astype(dtype)


def _values(optimizer: Any, variables: list) -> list:
    """A copy of what the variables hold, with what 16 bits have no room for."""
    return [ops.copy(optimizer._read(θ)) for θ in variables]


def _update_ratio(before: list, after: list) -> Any:
    """`‖Δθ‖₂/‖θ‖₂`."""
    changes = [new - old for new, old in zip(after, before)]
    of_changes, of_values = (
        measured(Norms(list(map(Dense, each)))).total for each in (changes, before)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return of_changes / of_values


def _spread(each: list, places: list[int], count: int) -> Any:
    """The norms at their places among `count`, with 0 where there is no gradient."""
    of = namespace(each[0])
    vector = of.concatenate([of.reshape(part, (-1,)) for part in each])
    sources = np.full(count, len(places), "int32")
    sources[places] = np.arange(len(places))
    return of.take(of.concatenate([vector, of.zeros(1, vector.dtype)]), sources)


def summary(keys: list[str], steps: list[Taken]) -> dict[str, float]:
    """Numbers for Keras's logs: means over the steps whose gradients are finite.

    `learning_rate` is that of the last step. NaN stands where there is no such step.
    """
    finite = [step.numbers for step in steps if step.nonfinite is None]
    means = {key: _mean([numbers[key] for numbers in finite]) for key in keys}
    if steps:
        means["learning_rate"] = steps[-1].numbers["learning_rate"]
    return means | {"nonfinite_steps": float(len(steps) - len(finite))}


def _mean(numbers: list[float]) -> float:
    return math.fsum(numbers) / len(numbers) if numbers else math.nan
