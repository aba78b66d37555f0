"""A saved state comes back: checked whole, assigned, and settled by the weights."""

from __future__ import annotations

import json
from collections.abc import Sequence

import keras

from keras_textbook_opt.state import keras_loaders, lifecycle, loading
from keras_textbook_opt.state.archive import Saved
from keras_textbook_opt.state.identity import Identity, identity
from keras_textbook_opt.state.lifecycle import State
from keras_textbook_opt.state.matching import Match
from keras_textbook_opt.variables import path_of


def load(
    state: State, saved: Saved, own: dict[str, keras.Variable], built: bool
) -> None:
    """Assign what was saved; what is beside variables waits where none are there yet.

    Args:
        state: Where it goes.
        saved: All of it.
        own: What is beside no variable, by name.
        built: Whether the variables are there.

    Raises:
        ValueError: It does not fit. Nothing was assigned then.
    """
    plan, rest = loading.of_own(saved, own), saved.without_own(len(own))
    state.skipped = keras_loaders.skipped()
    if not built:
        _execute(state, plan)
        state.waiting = rest.held() if rest else None
        return
    here = _identities(state)
    plan = plan.followed_by(_planned(state, rest, here, len(own)))
    _execute(state, plan)
    _note(state, saved, plan.match, here)


def load_what_waits(state: State, own: int) -> None:
    """Assign what has waited for the variables, and say whether it can be theirs.

    Args:
        state: Whose variables are there now.
        own: How many values are beside no variable.

    Raises:
        ValueError: It does not fit. Nothing was assigned then.
    """
    waiting = state.waiting
    if waiting is not None:
        here = _identities(state)
        plan = _planned(state, waiting, here, own)
        _execute(state, plan)
        _note(state, waiting, plan.match, here)
        state.waiting = None
    _check_count(state)


def settle(state: State) -> None:
    """Let what the variables hold decide, once their weights are there."""
    if state.unsettled is None:
        return
    (saved, match), state.unsettled = state.unsettled, None
    here = _identities(state)
    match = lifecycle.settle(state, saved, match, here)
    beside = [*state.beside.values()]
    _execute(state, loading.of_doubts(saved, here, beside, match, _doubted(state)))
    state.skipped = None
    _follow(state, saved, match)


def listed(state: State) -> str:
    """Who the variables are, as a checkpoint keeps it.

    `null` where a state waits for them, which is not in the checkpoint then. This is
    no place to refuse: TensorFlow asks as well where a model is exported.
    """
    if state.waiting is not None:
        return json.dumps(None)
    return json.dumps([variable.to_json() for variable in _identities(state)])


def check_list(state: State, listed: str) -> None:
    """A checkpoint has restored by position: was it of as many variables?

    One of an optimizer that was not built has no state beside variables.

    Raises:
        ValueError: It was not, and the optimizer is built; or a state is missing.
    """
    content = json.loads(listed)
    if content is None:
        raise ValueError(
            "Expected a checkpoint of an optimizer that was built. Received: one "
            "whose loaded state waited for its variables, and is not in the "
            "checkpoint. Call `build(variables)` before it is written."
        )
    saved = tuple(map(Identity.from_json, content))
    if not saved:
        loading.afresh([*state.beside.values()]).execute()
    else:
        state.unsettled = saved, {k: k for k in range(len(saved))}
        if state.beside:
            _check_count(state)


def _check_count(state: State) -> None:
    if state.unsettled is None or state.skipped is not None:
        return
    saved, match = state.unsettled
    if len(match) != len(state.variables):
        state.unsettled = None
        here = ", ".join(map(path_of, state.variables))
        there = ", ".join(variable.path for variable in saved)
        raise ValueError(
            "Expected a checkpoint of an optimizer with as many variables, since a "
            f"checkpoint restores them by position. Received: one of {there}, for an "
            f"optimizer of {here}. Build the optimizer on those variables before the "
            "restore; `add_variables` then takes it to others."
        )


def _execute(state: State, plan: loading.Plan) -> None:
    lenient = state.skipped is not None
    plan.execute_what_fits() if lenient else plan.execute()


def _note(state: State, saved: Saved, match: Match, here: list[Identity]) -> None:
    lifecycle.note(state, saved, match, here)
    _follow(state, saved.variables, match)


def _follow(state: State, saved: Sequence[Identity], match: Match) -> None:
    """What is said of variables goes where their state goes."""
    state.excluded.move(state.variables, saved, match)
    state.multiply(state.multipliers.moved(saved, match) or {})


def _planned(
    state: State, saved: Saved, here: list[Identity], own: int
) -> loading.Plan:
    """What to do with what was saved beside the variables."""
    beside = [*state.beside.values()]
    if not saved:  # of an optimizer that was not built
        return loading.afresh(beside)
    if saved.numbered:
        plan = loading.by_number(saved, lifecycle.named(state, here), own)
        if plan.problems and state.skipped is not None:
            plan.assignments = loading.afresh(beside).assignments
        return plan
    if state.skipped is None:
        return loading.of_all(saved, here, beside)
    return loading.of_what_fits(saved, here, beside, _doubted(state))


def _doubted(state: State) -> set[int]:
    """The places of variables whose layers could not be loaded."""
    ids = keras_loaders.variables_of(state.skipped)
    return {h for h, variable in enumerate(state.variables) if id(variable) in ids}


def _identities(state: State) -> list[Identity]:
    return [identity(variable) for variable in state.variables]
