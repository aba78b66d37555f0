"""From a saved state to assignments: all are planned and checked before the first."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, final

import keras
import numpy as np

from keras_textbook_opt.state import matching
from keras_textbook_opt.state.archive import Saved
from keras_textbook_opt.state.identity import Identity, unique
from keras_textbook_opt.state.matching import Match
from keras_textbook_opt.state.slots import CARRY, Beside, name_of, zeros
from keras_textbook_opt.variables import held_dtype


@final
@dataclass
class Plan:
    """What a load will do.

    Args:
        assignments: Variables, each with the function that reads what it gets.
        match: Which saved variable is which of those here.
        problems: What does not fit, a line each.
    """

    assignments: list[tuple[keras.Variable, Callable[[], Any]]] = field(
        default_factory=list
    )
    match: Match = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def assign(self, name: str, variable: keras.Variable, entry: Any) -> None:
        """Plan an assignment, or note why it cannot be."""
        problem = misfit(name, variable, entry)
        if problem:
            self.problems.append(problem)
        else:
            self.assignments.append((variable, entry.read))

    def reset(self, beside: Beside) -> None:
        for kind, variable in beside.kept().items():
            self.assignments.append((variable, beside.initial(kind)))

    def followed_by(self, other: Plan) -> Plan:
        return Plan(
            self.assignments + other.assignments,
            other.match,
            self.problems + other.problems,
        )

    def execute(self) -> None:
        """Do it, an entry at a time.

        Raises:
            ValueError: There are problems. Nothing has been assigned then.
        """
        if self.problems:
            refuse(self.problems)
        for variable, read in self.assignments:
            variable.assign(read())

    def execute_what_fits(self) -> None:
        """The same, with one warning of the problems."""
        if self.problems:
            warnings.warn(
                "Some of the saved state of the optimizer does not fit, and starts "
                f"afresh:\n{_listed(self.problems)}",
                stacklevel=2,
            )
            self.problems.clear()
        self.execute()


def afresh(beside: Sequence[Beside]) -> Plan:
    """A plan that resets all that is beside variables."""
    plan = Plan()
    for kept in beside:
        plan.reset(kept)
    return plan


def of_own(saved: Saved, own: dict[str, keras.Variable]) -> Plan:
    """A plan for what is beside no variable."""
    plan, entries = Plan(), saved.own
    if saved.numbered:
        entries = dict(zip(own, saved.numbered))
        if len(entries) < len(own):
            names, count = ", ".join(own), len(entries)
            refuse([f"expected {len(own)} values ({names}) or more, not {count}"])
    plan.problems += [f"{name} is missing" for name in own if name not in entries]
    plan.problems += [f"{n} is not expected" for n in entries if n not in own]
    plan.problems += [f"{key} is not expected" for key in saved.unlisted]
    for name in own:
        if name in entries:
            plan.assign(name, own[name], entries[name])
    return plan


def by_number(saved: Saved, state: Sequence[tuple[str, str, Any]], own: int) -> Plan:
    """A plan for the numbered entries of a built-in.

    Args:
        saved: What was saved beside variables.
        state: Name, kind and variable of all state there, in the order of the
            built-ins. They have slots of 16 bits, and no carries.
        own: How many values came before, which are beside no variable.
    """
    plan, kept = Plan(), state
    if len(saved.numbered) < len(state):
        kept = [(name, kind, v) for name, kind, v in state if kind != CARRY]
    if len(saved.numbered) != len(kept):
        names = ", ".join(name for name, _, _ in kept)
        plan.problems.append(
            f"expected {own + len(kept)} values, {own} of the optimizer's own and "
            f"{names}, not {own + len(saved.numbered)}"
        )
        return plan
    for (name, _, variable), entry in zip(kept, saved.numbered):
        plan.assign(name, variable, _widened(entry, variable))
    if len(kept) < len(state):
        carries = [variable for _, kind, variable in state if kind == CARRY]
        plan.assignments += [(carry, zeros(carry)) for carry in carries]
    return plan


def of_all(saved: Saved, here: Sequence[Identity], beside: Sequence[Beside]) -> Plan:
    """A plan for what is beside the variables: all of it, or the problems.

    Args:
        saved: What was saved.
        here: The variables, in their order.
        beside: What is kept beside them.
    """
    match = matching.by_names(saved.variables, here, saved.appended)
    match = matching.by_contents(saved.variables, here, match)
    if match is None:
        return Plan(problems=_differences(saved, here, beside))
    plan = Plan(match=match)
    for part in _parts(saved, here, beside, match):
        plan.assignments += part.assignments
        plan.problems += part.problems
    return plan


def of_what_fits(
    saved: Saved,
    here: Sequence[Identity],
    beside: Sequence[Beside],
    doubted: Container[int] = (),
) -> Plan:
    """A plan in which what does not fit starts afresh, and is among the problems.

    Args:
        saved: What was saved.
        here: The variables, in their order.
        beside: What is kept beside them.
        doubted: The places of variables that may not have got their weights. They get
            their state only if they hold what they held when it was saved.
    """
    match = matching.what_fits(saved.variables, here)
    plan = Plan(match=dict(match))
    for h, (part, kept) in enumerate(zip(_parts(saved, here, beside, match), beside)):
        if h in doubted and part.assignments and not part.problems:
            part.problems += _doubts(saved.variables[match[h]], here[h])
        if part.problems:
            plan.match.pop(h, None)
            plan.reset(kept)
            plan.problems += part.problems
        else:
            plan.assignments += part.assignments
    plan.problems += _left(saved, match)
    return plan


def of_doubts(
    saved: Sequence[Identity],
    here: Sequence[Identity],
    beside: Sequence[Beside],
    match: Match,
    doubted: Container[int],
) -> Plan:
    """A plan that takes back the state of variables that did not get their weights."""
    plan = Plan()
    for h, s in match.items():
        if h in doubted and beside[h].kept():
            problems = _doubts(saved[s], here[h])
            plan.problems += problems
            if problems:
                plan.reset(beside[h])
    return plan


def _doubts(saved: Identity, here: Identity) -> list[str]:
    return [] if saved.is_held_by(here) else [f"{here.path} has other weights"]


def _parts(
    saved: Saved, here: Sequence[Identity], beside: Sequence[Beside], match: Match
) -> list[Plan]:
    """A plan for each of the variables."""
    return [
        of_one(label, saved.beside[match[h]] if h in match else {}, kept)
        for h, (label, kept) in enumerate(zip(_labels(here), beside))
    ]


def _left(saved: Saved, match: Match) -> list[str]:
    """What no variable here takes."""
    taken = set(match.values())
    return [
        f"{name_of(kind, label)} is not expected"
        for s, label in enumerate(_labels(saved.variables))
        if s not in taken
        for kind in saved.beside[s]
    ]


def of_one(label: str, entries: dict[str, Any], kept: Beside) -> Plan:
    """A plan for what is kept beside one variable."""
    plan, variables = Plan(), kept.kept()
    for kind, variable in variables.items():
        if kind in entries:
            plan.assign(name_of(kind, label), variable, entries[kind])
        else:
            plan.problems.append(f"{name_of(kind, label)} is missing")
    for kind in entries:
        if kind not in variables:
            plan.problems.append(f"{name_of(kind, label)} is not expected")
    return plan


def _labels(variables: Sequence[Identity]) -> list[str]:
    return unique(variable.path for variable in variables)


def _differences(
    saved: Saved, here: Sequence[Identity], beside: Sequence[Beside]
) -> list[str]:
    match = matching.what_fits(saved.variables, here)
    parts = _parts(saved, here, beside, match)
    problems = [problem for part in parts for problem in part.problems]
    problems += _left(saved, match)
    return problems or [
        "the variables stand in another order, and their paths do not tell which is "
        f"which: saved {', '.join(v.path for v in saved.variables)}; here "
        f"{', '.join(v.path for v in here)}"
    ]


def misfit(name: str, variable: keras.Variable, entry: Any) -> str | None:
    """Why `entry` cannot be assigned to `variable`; `None` if it can.

    A float needs the width of the variable; an integer may have another, if its values
    fit, since backends count steps in different ones.
    """
    shape, dtype = tuple(variable.shape), variable.dtype
    if entry.shape != shape:
        return f"{name} is of shape {entry.shape}, not {shape}"
    if entry.dtype in (dtype, held_dtype(variable)):
        return None
    if keras.backend.is_int_dtype(dtype) and "int" in entry.dtype:
        value, limits = entry.read(), np.iinfo(dtype)
        if np.all((value >= limits.min) & (value <= limits.max)):
            return None
        return f"{name} is {value}, which {dtype} cannot hold"
    return f"{name} is of dtype {entry.dtype}, not {dtype}"


@final
class Widened:
    """An entry of 16 bits for a variable of 32, as the built-ins have slots."""

    def __init__(self, entry: Any):
        self.shape, self.dtype, self._entry = entry.shape, "float32", entry

    def read(self) -> Any:
        return self._entry.read().astype("float32")


def _widened(entry: Any, variable: keras.Variable) -> Any:
    narrow = entry.dtype in ("float16", "bfloat16")
    return Widened(entry) if narrow and variable.dtype == "float32" else entry


def refuse(problems: list[str]) -> NoReturn:
    """Raise the error that names every problem."""
    raise ValueError(
        "Expected the saved state of an optimizer like this one, built on variables "
        f"like these. Received one in which:\n{_listed(problems)}\n"
        "Nothing was assigned. Load it into the model that it was saved with, or call "
        "`load_weights(..., skip_mismatch=True)`: what fits is then taken, and the "
        "rest starts afresh. `load_model(..., compile=False)` loads a model without "
        "its optimizer; tell that of the model's new list, with `add_variables`, "
        "before you save a model with other variables."
    )


def _listed(problems: list[str]) -> str:
    return "\n".join(f"- {problem}" for problem in problems)
