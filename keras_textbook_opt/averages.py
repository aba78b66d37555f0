"""Moving averages of the variables (`use_ema`).

An average starts at its variable's value: when it is created, and again in the first
update of all, since weights may be loaded in between. Before that, it replaces nothing.
"""

from typing import Any

from keras import ops

from keras_textbook_opt import backends
from keras_textbook_opt.state.slots import States, VariableState


def update(states: list[VariableState], is_first: Any, μ: float) -> None:
    """`average ← μ·average + (1 − μ)·θ`, and `average ← θ` in the first update."""
    # average ← average + (1 − μ)·(θ − average)
    rest = ops.where(is_first, 1.0, 1 - μ)
    averaged = [state for state in states if state.average is not None]
    backends.active.average(averaged, rest)


def overwrite(states: list[VariableState]) -> None:
    """`θ ← average`."""
    for state in states:
        if state.average is not None:
            state.write(state.variable, ops.copy(state.average))


def swappable(states: States, have_begun: bool) -> list:
    """The averages, for Keras's callback, which swaps them with the variables.

    Raises:
        ValueError: A variable has 16 bits, of which some would be lost, or is frozen.
    """
    if any(state.is_narrow for state in states):
        raise ValueError("Variables of 16 bits cannot be swapped with their averages.")
    frozen = [s.path for s in states if not getattr(s.variable, "trainable", True)]
    if frozen:
        raise ValueError(
            f"Variables were frozen, and the optimizer still averages them: {frozen}. "
            "Call `optimizer.set_variables(model.trainable_variables)`."
        )
    if not have_begun:
        for state in states:
            state.start_average()
    return [state.average for state in states]
