"""A saved state goes to the variables that received the weights it was saved with."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from keras_textbook_opt.settings import Real
from keras_textbook_opt.state.archive import Entry, Saved, SavedVariable, held, identity
from keras_textbook_opt.state.slots import AVERAGE, SLOT, States, VariableState

Variables = Sequence[SavedVariable]
Match = dict[int, int]
Listed = Sequence[tuple[SavedVariable, list[str]]]  # with the kinds of their states
# For each state, the place of its source, and whether it started fresh.
Done = dict[VariableState, tuple[int | None, bool]]


def match(saved: Variables, states: States) -> tuple[Match, bool]:
    """The saved variable of each variable here; and whether contents identify them all.

    1. The one with the same contents, if they are unique among both.
    2. Else the one with the same path, if all paths here are among the saved ones.
    3. Else the one at the same position, if all paths agree in their order except for
       the numbers that Keras generates and a leading model name.

    If 2 and 3 disagree, nothing is guessed. A variable that no rule finds is missing in
    the result.
    """
    here = [identity(state.variable) for state in states]
    by_contents = _by_contents(saved, here)
    if here and len(by_contents) == len(here):
        return by_contents, True
    by_path, by_position = _by_path(saved, here), _by_position(saved, here)
    claimed = set(by_contents.values())
    found = dict(by_contents)
    for h, variable in enumerate(here):
        candidates = {m[h] for m in (by_path, by_position) if h in m}
        if h not in found and len(candidates) == 1:
            (s,) = candidates
            if s not in claimed and saved[s].shape == variable.shape:
                found[h] = s
    return found, False


def _by_contents(saved: Variables, here: Variables) -> Match:
    of_saved, of_here = (
        _places([(v.shape, v.dtype, v.checksum) for v in variables])
        for variables in (saved, here)
    )
    known = [key for key in of_saved.keys() & of_here.keys() if key[2] is not None]
    return {of_here[key]: of_saved[key] for key in known}


def _places(keys: list) -> dict[Any, int]:
    """The index of each key that occurs once."""
    count = Counter(keys)
    return {key: k for k, key in enumerate(keys) if count[key] == 1}


def _by_path(saved: Variables, here: Variables) -> Match:
    of_saved = _places([variable.path for variable in saved])
    of_here = _places([variable.path for variable in here])
    if len(of_here) < len(here) or not of_here.keys() <= of_saved.keys():
        return {}
    return {h: of_saved[path] for path, h in of_here.items()}


def _by_position(saved: Variables, here: Variables) -> Match:
    agree = len(saved) == len(here) and _bare_paths(saved) == _bare_paths(here)
    return {h: h for h in range(len(here))} if agree else {}


def _bare_paths(variables: Variables) -> list[list[str]]:
    """The parts of each path, without Keras's numbers and the name of the model.

    A name that all paths begin with is the model's, if a layer's follows.
    """
    paths = [
        [re.sub(r"_\d+$", "", part) for part in v.path.split("/")] for v in variables
    ]
    is_named = len({path[0] for path in paths}) == 1 and min(map(len, paths)) > 2
    return [path[1:] for path in paths] if is_named else paths


def assign(
    saved: Saved, states: States, found: Match, rules: Any, done: Done | None = None
) -> list[str]:
    """Assign the state of each variable; return the paths of those that start fresh.

    Every entry was verified. If the patterns (`rules`) are those that were saved, the
    factor and the exclusion of a variable follow its weights. A state in `done` is not
    assigned again, so that later assignments by others stay.
    """
    done = {} if done is None else done
    if saved.numbered is not None:
        return _assign_in_order(saved.numbered, states)
    nothing = SavedVariable("", (), "", None)
    for h, state in enumerate(states):
        place = found.get(h)
        source = nothing if place is None else saved.variables[place]
        is_fresh = place is None or _slots(source.entries) != _slots(state.by_kind())
        if is_fresh or AVERAGE not in source.entries:
            state.start_average()  # `θ` may have been loaded since the last time
        if state in done and done[state][0] == place:
            continue
        done[state] = place, is_fresh
        if is_fresh:
            state.reset()
            continue
        _assign_one(source.entries, state)
        if saved.patterns == rules:
            state.factor, state.decays = source.factor, source.decays
    return [state.path for state in states if done[state][1]]


def _slots(kinds: Any) -> set[str]:
    return {kind for kind in kinds if kind.startswith(SLOT)}


def _assign_one(entries: dict[str, Entry], state: VariableState) -> None:
    """Assign the entries; a variable without one starts as in a new state."""
    by_kind = state.by_kind()
    if not by_kind.keys() <= entries.keys():
        state.reset()
    for kind, variable in by_kind.items():
        if kind in entries:
            put(variable, entries[kind].read())


def _assign_in_order(values: list[np.ndarray], states: States) -> list[str]:
    variables = states.all_variables
    # The statistics of a monitor come last, and are not restored.
    shapes = [value.shape for value in values[: len(variables)]]
    is_longer = len(values) > len(variables) + 1
    if is_longer or shapes != [tuple(variable.shape) for variable in variables]:
        for state in states:
            state.reset()
        return [state.path for state in states]
    for variable, value in zip(variables, values):
        put(variable, value)
    return []


def check_positions(listed: Listed, states: States) -> list[str]:
    """Reset the states that position has given to another variable; return their paths.

    An empty list is that of an optimizer that was not built.
    """
    found, _ = match([variable for variable, _ in listed], states)
    kinds = [list(state.by_kind()) for state in states]
    have_moved = kinds != [kinds_then for _, kinds_then in listed]
    wrong = [s for h, s in enumerate(states) if have_moved or found.get(h) != h]
    for state in wrong:
        state.reset()
    return [state.path for state in wrong]


def put(variable: Any, value: np.ndarray) -> None:
    """Assign `value` in the dtype of `variable`."""
    variable.assign(value.astype(variable.dtype, copy=False))


def numbered(values: Sequence[Any], class_name: str, own: dict[str, Any]) -> Saved:
    """The state in a format without names: the optimizer's own variables come first."""
    arrays = [np.asarray(value) for value in values]
    first = {name: held(name, x) for name, x in zip(own, arrays)}
    return Saved(class_name, first, numbered=arrays[len(own) :])


def assign_all(variables: Sequence[Any], values: Sequence[Any]) -> None:
    """Assign `values` in their order.

    Raises:
        ValueError: A value is missing or of another shape. Nothing has changed.
    """
    arrays = [np.asarray(value) for value in values]
    here = [tuple(variable.shape) for variable in variables]
    if [array.shape for array in arrays] != here:
        raise ValueError(
            f"Expected values of the shapes of `optimizer.variables`: {here}. "
            f"Received: {[array.shape for array in arrays]}"
        )
    for variable, array in zip(variables, arrays):
        put(variable, array)


def plan_own(
    saved: Saved, own: dict[str, Any]
) -> tuple[list[Callable[[], None]], list[str]]:
    """The assignments to the optimizer's own variables, and the warnings.

    Everything is read here, so that a corrupted file changes nothing.
    """
    assignments: list[Callable[[], None]] = []
    missing = []
    for name, variable in own.items():
        value = _own_value(saved, name)
        if value is not None and value.shape == tuple(variable.shape):
            assignments.append(partial(put, variable, value))
        elif not saved.is_foreign:
            missing.append(name)
    return assignments, _problems(saved, own, missing)


def _own_value(saved: Saved, name: str) -> np.ndarray | None:
    """The saved value of this name, if it may be restored."""
    if name not in saved.own or (saved.is_foreign and name not in (COUNT, RATE)):
        return None
    value = saved.own[name].read()
    if name in (COUNT, RATE):
        limit = Real(at_least=0)
        limit.checked(f"{name} of the file", value.astype("float64"))
    return value


def _problems(saved: Saved, own: dict[str, Any], missing: list[str]) -> list[str]:
    problems = []
    if saved.is_foreign:
        problems.append(
            f"The file has the state of a {saved.class_name.split('>')[-1]}: only its "
            "step count and its learning rate are restored, and all variables start "
            "with a fresh state."
        )
    if RATE in missing or (RATE in saved.own) > (RATE in own):
        problems.append(
            "The learning rate is a number in the file and a schedule here, or the "
            "reverse. It is not restored; the rest is."
        )
    missing = [name for name in missing if name != RATE]
    if missing:
        problems.append(f"The file has no {missing}, which stay unchanged.")
    return problems


COUNT, RATE = "iteration", "learning_rate"
NO_STATE = (
    "The file has no state for the optimizer, which keeps its own. Save the model with "
    "its optimizer to resume training."
)
FROM_KERAS = (
    "The file has the state of a built-in optimizer, which is not restored. To keep "
    "it, load it into the built-in first, then move it:\n"
    "    model.compile(keras.optimizers.Adam(), …); model.load_weights(path)\n"
    "    model.compile(keras_textbook_opt.Adam.from_keras(model.optimizer), …)"
)


def fresh_message(paths: Sequence[str]) -> str:
    """The warning for variables that start with a fresh state."""
    return (
        "The loaded optimizer state has nothing for these variables, which start with "
        f"a fresh state: {', '.join(paths)}. If their weights were to be loaded as "
        "well, check that the model is the one that was saved; else this is as it "
        "should be."
    )
