"""The state of an optimizer between its first build and its last save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import keras
from keras import ops

from keras_textbook_opt.state import loading, matching
from keras_textbook_opt.state.archive import Saved
from keras_textbook_opt.state.exclusions import Exclusions
from keras_textbook_opt.state.identity import (
    Identity,
    identity,
    is_trainable,
    unique,
)
from keras_textbook_opt.state.matching import Match
from keras_textbook_opt.state.multipliers import Multipliers
from keras_textbook_opt.state.slots import CARRY, Beside, name_of
from keras_textbook_opt.variables import path_of


@final
@dataclass(frozen=True)
class Parked:
    """What a file has of a variable that was frozen when it was saved.

    Args:
        variable: Who it was.
        entries: Its state, by kind.
        factor: Of its learning rate; `None` if the config is not that of the file.
    """

    variable: Identity
    entries: dict[str, Any]
    factor: float | None


@final
class State:
    """All that an optimizer keeps beside its variables, by the key of each.

    Args:
        variables: Those that are trained, in their order.
        beside: What is kept beside them, in the same order.
        excluded: Those that do not decay.
        multipliers: By what the learning rates are multiplied.
        slots_in_order: All slots, in the order in which `create_slots` named them.
        compute_dtypes: Those in which the variables are updated.
        waiting: A state that was loaded before its variables were there.
        skipped: Where what does not fit may start afresh: what could not be loaded, as
            long as a state waits or is not settled.
        let_go: The factors of variables that were let go, by their paths.
        parked: The state of variables that were frozen when it was saved, and are not
            among the variables here.
        unsettled: What was loaded by names, until what the variables hold confirms it.
        appended: Whether variables were appended, so that their order is not that of
            the model.
        order_of_file: The paths in the order of a file that says no more.
        by_position: Whether Keras's trainer on JAX steps the variables, whose values it
            hands over by position.
        changed_at: The count of steps when the list of variables last changed, until
            the next step is traced.
        watch: Where the steps leave what they did, while somebody watches. It is not
            saved.
    """

    def __init__(self) -> None:
        self.variables: list[Any] = []
        self.beside: dict[Any, Beside] = {}
        self.excluded = Exclusions()
        self.multipliers = Multipliers()
        self.slots_in_order: list[keras.Variable] = []
        self.compute_dtypes: set[str] = set()
        self.waiting: Saved | None = None
        self.skipped: dict[int, Any] | None = None
        self.let_go: dict[str, float] = {}
        self.parked: list[Parked] = []
        self.unsettled: tuple[tuple[Identity, ...], Match] | None = None
        self.appended = False
        self.order_of_file: tuple[str, ...] = ()
        self.by_position = False
        self.changed_at: int | None = None
        self.watch: Any = None

    def of(self, key: Any) -> Beside:
        return self.beside.get(key) or Beside()

    @property
    def factors(self) -> list[float]:
        """Those of the learning rates, each once, but for 0."""
        if not self.multipliers:
            return [1.0]
        return sorted({beside.factor for beside in self.beside.values()} - {0.0})

    def multiply(self, factors: Mapping[int, float]) -> None:
        """Take other factors for the variables at these places."""
        for place, beside in enumerate(self.beside.values()):
            beside.factor = factors.get(place, beside.factor)

    def kept(self) -> list[keras.Variable]:
        """All of it, in the order of the built-ins, which is by kind."""
        everything = [*self.beside.values()]
        found = [
            *(beside.average for beside in everything),
            *(beside.accumulator for beside in everything),
            *self.slots_in_order,
            *(beside.carry for beside in everything),
        ]
        return [variable for variable in found if variable is not None]


def beside(state: State, variables: dict[Any, Any]) -> dict[Any, Beside]:
    """What is beside those that are known, and a fresh one for each of the others.

    Args:
        state: Where they are known. One that was let go has the factor that it had.
        variables: Those to be trained, by the key of each, in their order.
    """
    multipliers, old = state.multipliers, zip(state.variables, state.beside.items())
    let_go = {path_of(v): b.factor for v, (key, b) in old if key not in variables}
    state.let_go |= let_go
    new = {key: v for key, v in variables.items() if key not in state.beside}
    factors = (
        [state.let_go.get(p, multipliers.first(p)) for p in map(path_of, new.values())]
        if state.beside
        else multipliers.of(list(new.values()))
    )
    fresh = {key: Beside(factor=factor) for key, factor in zip(new, factors)}
    return {key: fresh.get(key) or state.beside[key] for key in variables}


def named(state: State, here: Sequence[Identity]) -> list[tuple[str, str, Any]]:
    """Name, kind and variable of all beside variables, in the order of `kept`."""
    found = {}
    for label, beside in zip(unique(v.path for v in here), state.beside.values()):
        for kind, variable in beside.kept().items():
            found[id(variable)] = (name_of(kind, label), kind, variable)
    return [found[id(variable)] for variable in state.kept()]


def saved(state: State, own: dict[str, Any], here: Sequence[Identity]) -> Saved:
    """What a file is to have: the state, or what it waits with, and what is parked."""
    if state.waiting is not None:
        return replace(state.waiting, own=own)
    beside = [beside.kept() for beside in state.beside.values()]
    entries = (variable for kept in beside for variable in kept.values())
    places = {id(variable): place for place, variable in enumerate(entries)}
    return Saved(
        own,
        (*here, *(parked.variable for parked in state.parked)),
        (*beside, *(parked.entries for parked in state.parked)),
        appended=state.appended,
        by_kind=tuple(places[id(variable)] for variable in state.kept()),
    )


def multiplied(state: State) -> dict[str, Any]:
    """What a config says of multipliers, also those of variables that are parked."""
    here = [
        Identity(path_of(v), (), trainable=is_trainable(v), factor=beside.factor)
        for v, beside in zip(state.variables, state.beside.values())
    ]
    parked = [each.variable for each in state.parked if each.factor is not None]
    return state.multipliers.to_config([*here, *parked])


def held(waiting: Saved) -> list[keras.Variable]:
    """The variables that a state waits in."""
    return [entry.variable for entry in waiting.entries()]


def written_order(state: State) -> list[str]:
    """The paths that a config has to say, where that order is not the model's."""
    waiting = state.waiting
    if waiting is None:
        return [path_of(v) for v in state.variables] if state.appended else []
    if waiting.numbered:
        return list(state.order_of_file)
    return [v.path for v in waiting.variables] if waiting.appended else []


def in_order_of_file(state: State, variables: list) -> list:
    """The variables in the order in which a file has numbered what is beside them."""
    if state.waiting is None or not state.waiting.numbered:
        return variables
    paths = [Identity(path, ()) for path in state.order_of_file]
    here = [Identity(path_of(variable), ()) for variable in variables]
    match = matching.by_names(paths, here, appended=True)
    if match is None:
        return variables
    return [variables[h] for h in sorted(match, key=match.__getitem__)]


def note(state: State, loaded: Saved, match: Match, here: Sequence[Identity]) -> None:
    """Keep of a load what no variable here takes, and what is not certain yet."""
    taken = set(match.values())
    frozen = [
        s for s, v in enumerate(loaded.variables) if not (v.trainable or s in taken)
    ]
    parked = loaded.only(frozen).held()
    of_config = state.multipliers.moved(loaded.variables, match) is not None
    state.parked = [
        Parked(variable, entries, variable.factor if of_config else None)
        for variable, entries in zip(parked.variables, parked.beside)
    ]
    certain = all(loaded.variables[s].is_held_by(here[h]) for h, s in match.items())
    state.unsettled = None if certain else (loaded.variables, match)
    if certain:
        state.skipped = None


def settle(
    state: State, saved: tuple[Identity, ...], match: Match, here: Sequence[Identity]
) -> Match:
    """Give each variable the state that is beside the one whose weights it got.

    Returns the match that holds then.
    """
    mended = matching.by_contents(saved, here, match) or match
    kept = [beside.kept() for beside in state.beside.values()]
    places = _places(kept, saved, match)
    moves = [
        (variable, ops.convert_to_numpy(places[s][kind]))
        for h, s in mended.items()
        if s in places
        for kind, variable in kept[h].items()
        if places[s][kind] is not variable
    ]
    for variable, value in moves:
        variable.assign(value)
    return mended


def _places(
    kept: list[dict[str, Any]], saved: tuple[Identity, ...], match: Match
) -> dict[int, dict[str, Any]]:
    """Where what was beside each of the saved ones is now, by kind.

    A checkpoint restores each kind by position, and variables of 16 bits alone have a
    carry.
    """
    places = {s: dict(kept[h]) for h, s in match.items()}
    homes = [kept[h][CARRY] for h in match if CARRY in kept[h]]
    narrow = [s for s in match.values() if saved[s].dtype in ("float16", "bfloat16")]
    for s, carry in zip(narrow, homes):
        places[s][CARRY] = carry
    return places


def unpark(state: State, newcomers: Sequence[Any], beside: Sequence[Beside]) -> None:
    """Give those that were frozen when they were saved the state that they had."""
    for variable, kept in zip(newcomers, beside):
        here = identity(variable)
        for place, parked in enumerate(state.parked):
            was = parked.variable
            if was.is_held_by(here) and matching.alike(was.path, here.path):
                loading.of_one(here.path, parked.entries, kept).execute()
                if parked.factor is not None:
                    kept.factor = parked.factor
                del state.parked[place]
                break
