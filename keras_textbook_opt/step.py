"""Parts of a step that need no optimizer: data in, data out."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_textbook_opt import backends
from keras_textbook_opt.backends import Update
from keras_textbook_opt.gradients import Rows
from keras_textbook_opt.state.slots import VariableState, assign


def number(count: Any) -> int:
    """The value of a variable that counts."""
    return int(ops.convert_to_numpy(ops.convert_to_tensor(count)))


def check_compiled(changed_at: int | None, count: Any) -> None:
    """Raise a `ValueError` if steps were taken that did not follow a change.

    `changed_at` is the count of steps at a change, if no step was traced since.
    """
    if changed_at is not None and number(count) > changed_at:
        raise ValueError(
            "A setting or the list of variables was changed after the training step "
            "was compiled. Call `model.compile` again, and train again."
        )


def overwritten(
    grads: list, states: list[VariableState], n: int | None, count: Any
) -> tuple[list, list]:
    """Assign the gradients that are new values (scales of float8); return the others.

    With accumulation over `n` micro-batches, of which `count` have passed, the new
    value is the largest of them, as in Keras.
    """
    if not any([state.is_overwritten for state in states]):
        return grads, states
    others = []
    for g, state in zip(grads, states):
        if not state.is_overwritten:
            others.append((g, state))
        elif n is None:
            state.variable.assign(g.values)
        else:
            is_last = ops.equal((count + 1) % n, 0)
            largest = ops.maximum(g.values, state.accumulator)
            old = ops.convert_to_tensor(state.variable)
            state.variable.assign(ops.where(is_last, largest, old))
            state.accumulator.assign(ops.where(is_last, 0.0, largest))
    return [g for g, _ in others], [state for _, state in others]


def accumulate(grads: list, states: list[VariableState]) -> None:
    """`Σg ← Σg + g` for each variable."""
    for g, state in zip(grads, states):
        state.is_sparse = state.is_sparse or isinstance(g, Rows)
    backends.active.add_to([state.accumulator for state in states], grads)


def grouped(
    grads: list, states: list[VariableState], uncertain: Any
) -> list[tuple[list, list[VariableState]]]:
    """The gradients and states of each group; an uncertain state is a group alone.

    A factor of 0 leaves a variable and its slots unchanged.
    """
    groups: dict[Any, tuple[list, list]] = {}
    for g, state in zip(grads, states):
        key = state if state in uncertain else state.group
        of_group = groups.setdefault(key, ([], []))
        of_group[0].append(g)
        of_group[1].append(state)
    return [group for group in groups.values() if group[1][0].factor]


def update_dense(update: Update, apply_dense: Callable) -> None:
    """The equation on a dense gradient."""
    state = update.state
    old = state.read(update.θ)
    if update.decay is not None:
        # θ ← θ − η·λ·θ
        old = old - update.decay * old
    slots = [ops.convert_to_tensor(slot) for slot in state.slots.values()]
    write(update, apply_dense(update.g.values, old, update.step_size, *slots))


def update_rows(update: Update, apply_sparse: Callable, is_lazy: bool) -> None:
    """The equation on a sparse gradient; `is_lazy` if only its rows decay."""
    θ, g, state = update.θ, update.g, update.state
    if update.decay is not None:
        rows = g if is_lazy else None
        old = state.read(θ, rows)
        # θ ← θ − η·λ·θ
        state.write(θ, old - update.decay * old, rows)
    write(update, apply_sparse(g, θ, update.step_size, *state.slots.values()))


def write(update: Update, new: Any) -> None:
    """Assign what an equation returned: the variable, then its slots."""
    slots = update.state.slots.values()
    first, *others = as_tuple(new, 1 + len(slots))
    update.state.write(update.θ, *_values_and_rows(first))
    for slot, value in zip(slots, others):
        assign(slot, *_values_and_rows(value))


def _values_and_rows(value: Any) -> tuple[Any, Rows | None]:
    return (value.values, value) if isinstance(value, Rows) else (value, None)


def as_tuple(new: Any, count: int) -> tuple:
    """The values that an equation returned, as a tuple of `count`."""
    values = tuple(new) if isinstance(new, (tuple, list)) else (new,)
    missing = sum(value is None for value in values)
    if len(values) != count or missing:
        received = f"{len(values)} values, of which {missing} are None"
        raise ValueError(
            "`apply_dense` must return the new variable and then its new slots, "
            f"{count} in all. Received: {received}"
        )
    return values
