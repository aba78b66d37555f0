"""Dense gradients: one large variable, many small ones, and a network's."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import keras

from benchmarks import timing
from benchmarks.rows import Row
from benchmarks.steps import bandwidth, optimizers, peers, sizes
from benchmarks.steps.bandwidth import Floor
from benchmarks.steps.contender import Contender, Work, best, check_same_step, timed
from benchmarks.steps.optimizers import BUILTIN, OURS, WITHOUT, Case
from benchmarks.steps.plans import DENSE, Plan
from keras_textbook_opt.callbacks import watch


def work(plan: Plan, backend: Any) -> Iterator[Work]:
    libraries = backend.PEERS[:1] if plan.accelerator else backend.PEERS
    for size, options in plan.dense.items():
        cases = optimizers.cases(options)
        elements = sizes.elements(size)
        its_floor = bandwidth.floor_of(elements, backend if plan.accelerator else None)
        for mode in backend.MODES:
            place = Place(backend, mode, size, libraries, its_floor)
            where = f"{size}, {place.names['backend']}"
            for case in cases:
                yield f"{case.name}, {where}", place.measure(case, plan.repeats)
            yield f"floor, {where}", place.floors(cases)


@dataclass(frozen=True)
class Place:
    """A list of variables, of which all contenders have one like it.

    Args:
        backend: One of the modules `on_...`.
        mode: One of its modes.
        size: The list's title.
        libraries: Where to take peers from.
        floor: What memory allows with arrays of that size.
    """

    backend: Any
    mode: str
    size: str
    libraries: Sequence[str]
    floor: Floor

    @property
    def names(self) -> dict[str, str]:
        where = ", ".join(filter(None, (keras.backend.backend(), self.mode)))
        return {"part": DENSE, "backend": where, "size": self.size}

    def measure(self, case: Case, repeats: timing.Repeats) -> Iterator[Row]:
        moves = bandwidth.moves(case)
        self.floor.try_again(moves)
        with ExitStack() as watches:
            found = self.contenders(case, watches)
            others = (WITHOUT,) if case.option.keras_has_it else (WITHOUT, BUILTIN)
            same = {name: it for name, it in found.items() if name not in others}
            check_same_step(same, case.option.dtype)
            steps = {name: each.step for name, each in found.items()}
            samples = timing.interleaved(steps, repeats)
        self.floor.try_again(moves)
        yield from timed(samples, case=case.name, **self.names)

    def contenders(self, case: Case, watches: ExitStack) -> dict[str, Contender]:
        """Return ours, the built-in, peers, and ours without the case's option."""
        found = {OURS: self._of_keras(case, case.ours(), watches)}
        found[BUILTIN] = self._of_keras(case, case.builtin())
        makers = peers.of(case, *sizes.arrays(self.size), self.libraries)
        found |= {name: make() for name, make in makers.items()}
        if case.added:
            without = Case(case.equation, case.option.over)
            found[WITHOUT] = self._of_keras(without, without.ours())
        return found

    def floors(self, cases: Iterable[Case]) -> Iterator[Row]:
        """Return the floor of each case, by all tries beside all of them."""
        for case in cases:
            self.floor.try_again(bandwidth.moves(case))
        for case in cases:
            value = self.floor.milliseconds(bandwidth.moves(case))
            yield best(value, case=case.name, **self.names)

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
        g = self.backend.tensors(gradients, dtype)
        return self.backend.contender(optimizer, variables, g, self.mode)
