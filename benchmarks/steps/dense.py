"""Dense gradients: one large variable, many small ones, and a network's."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras

from benchmarks import timing
from benchmarks.rows import Row
from benchmarks.steps import bandwidth, names, optimizers, peers, sizes
from benchmarks.steps.bandwidth import Floor
from benchmarks.steps.contender import Contender, check_all_take_the_same_step
from benchmarks.steps.names import BUILTIN, FLOOR, OURS, WITHOUT
from benchmarks.steps.optimizers import Case
from benchmarks.steps.plans import DENSE, Plan
from benchmarks.steps.work import Work, against, timed
from keras_textbook_opt.callbacks import watch


def work(plan: Plan, backend: Any) -> Iterator[Work]:
    libraries = backend.PEERS[:1] if plan.accelerator else backend.PEERS
    for size, options in plan.dense.items():
        cases = optimizers.cases(options)
        elements = sizes.elements(size)
        its_floor = bandwidth.floor_of(elements, backend if plan.accelerator else None)
        for mode in backend.MODES:
            place = Place(backend, mode, size, libraries)
            for case in cases:
                measure = partial(place.measure, case, plan.repeats, its_floor)
                yield Work(f"{size}, {case.name}, {place.name}", measure)
            title = f"{size}, floor, {place.name}"
            yield Work(title, partial(place.floors, cases, its_floor))


@dataclass(frozen=True)
class Place:
    """A list of variables, of which all contenders have one like it.

    Args:
        backend: One of the modules `on_...`.
        mode: One of its modes.
        size: The list's title.
        libraries: Where to take peers from.
    """

    backend: Any
    mode: str
    size: str
    libraries: Sequence[str]

    @property
    def name(self) -> str:
        return names.backend(keras.backend.backend(), self.mode)

    def measure(
        self, case: Case, repeats: timing.Repeats, its_floor: Floor
    ) -> Iterator[Row]:
        moves = bandwidth.moves(case)
        its_floor.try_again(moves)
        with ExitStack() as watches:
            found = self.contenders(case, watches)
            others = (WITHOUT,) if case.option.keras_has_it else (WITHOUT, BUILTIN)
            same = {name: it for name, it in found.items() if name not in others}
            check_all_take_the_same_step(same, case.option.dtype)
            steps = {name: each.step for name, each in found.items()}
            samples = timing.interleaved(steps, repeats)
        its_floor.try_again(moves)
        ratios = [it for it in against([OURS], samples) if it[0] != WITHOUT]
        if WITHOUT in samples:
            ratios.append((OURS, WITHOUT))
        yield from timed(samples, ratios, **self._names(case))

    def contenders(self, case: Case, watches: ExitStack) -> dict[str, Contender]:
        """Return ours, the built-in, peers, and ours without the case's option."""
        found = {OURS: self._of_keras(case, case.ours(), watches)}
        found[BUILTIN] = self._of_keras(case, case.builtin())
        makers = peers.of(case, *sizes.arrays(self.size), self.libraries)
        found |= {name: make() for name, make in makers.items()}
        if case.option.name:
            without = case.without()
            found[WITHOUT] = self._of_keras(without, without.ours())
        return found

    def floors(self, cases: Iterable[Case], its_floor: Floor) -> Iterator[Row]:
        """Return the floor of each case, by all tries beside all of them."""
        moves = {case.name: bandwidth.moves(case) for case in cases}
        for each in moves.values():
            its_floor.try_again(each)
        for case in cases:
            yield Row(
                subject=FLOOR,
                quantile=names.BEST,
                value=its_floor.milliseconds(moves[case.name]),
                unit=names.MILLISECONDS,
                **self._names(case),
            )

    def _of_keras(
        self, case: Case, optimizer: Any, watches: ExitStack | None = None
    ) -> Contender:
        """Return the step of an optimizer; ours may be watched while it is timed."""
        values, gradients = sizes.arrays(self.size)
        dtype = case.option.dtype
        variables = [
            keras.Variable(value, dtype=dtype, name=f"variable_{k}")
            for k, value in enumerate(values)
        ]
        optimizer.build(variables)
        if watches and case.option.watched:
            watches.enter_context(watch(optimizer))
        return self.backend.contender(optimizer, variables, gradients, dtype, self.mode)

    def _names(self, case: Case) -> dict[str, str]:
        return {
            "part": DENSE,
            "case": case.name,
            "backend": self.name,
            "size": self.size,
        }
