"""The state of an optimizer, variable by variable."""

import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import keras
from keras import ops

from keras_textbook_opt import backends, patterns
from keras_textbook_opt.gradients import Dense, Rows, rows_of
from keras_textbook_opt.variables import compute_dtype, dtype_of, is_narrow, path_of

AVERAGE, ACCUMULATOR, CARRY = "average", "gradient_accumulator", "carry"
SLOT = "slot."  # in front of the name that the optimizer gave to a slot


@final
@dataclass(eq=False)
class VariableState:
    """All that an optimizer keeps for one variable, in float32 or wider."""

    variable: Any
    # In the order in which `apply_dense` receives them.
    slots: dict[str, keras.Variable] = field(default_factory=dict)
    initializers: dict[str, Any] = field(default_factory=dict)  # of the slots
    average: keras.Variable | None = None  # with `use_ema`
    accumulator: Any = None  # the sum of the gradients since the last update
    carry: keras.Variable | None = None  # what 16 bits have no room for (Kahan 1965)
    factor: float = 1.0  # of the learning rate
    decays: bool = True  # whether weight decay acts on the variable
    is_sparse: bool = False  # whether a gradient of it has been sparse

    def __post_init__(self) -> None:
        self.path = path_of(self.variable)
        self.dtype = compute_dtype(self.variable)
        self.is_narrow = is_narrow(self.variable)
        flag = getattr(self.variable, "overwrite_with_gradient", False)
        self.is_overwritten = bool(flag)

    @property
    def group(self) -> tuple[float, bool, str, bool]:
        """Variables of one group share the scalars of a step."""
        return self.factor, self.decays, self.dtype, self.is_narrow

    def by_kind(self) -> dict[str, keras.Variable]:
        """Each variable of this state by its kind: `slot.m`, `average` and so on."""
        slots = {SLOT + name: slot for name, slot in self.slots.items()}
        others = {
            AVERAGE: self.average,
            ACCUMULATOR: self.accumulator,
            CARRY: self.carry,
        }
        return slots | {kind: v for kind, v in others.items() if v is not None}

    def add(self, name: str, initializer: Any = "zeros") -> keras.Variable:
        """Create a variable beside this one."""
        return backends.active.new_variable(
            name, self.variable, initializer, self.dtype
        )

    def add_slot(self, name: str, initializer: Any) -> keras.Variable:
        """Create the slot of this name, if it is not there."""
        if name not in self.slots:
            initializer = keras.initializers.get(initializer)
            self.initializers[SLOT + name] = initializer
            self.slots[name] = self.add(name, initializer)
        return self.slots[name]

    def slot(self, name: str) -> keras.Variable:
        """The slot of this name; a `ValueError` if there is none."""
        if name not in self.slots:
            names = ", ".join(map(repr, self.slots)) or "none"
            raise ValueError(f"'{self.path}' has no slot {name!r}. Its slots: {names}")
        return self.slots[name]

    def mean(self, n: int, lazy: bool) -> Dense | Rows:
        """The mean of the accumulated gradients of `n` micro-batches."""
        total = ops.convert_to_tensor(self.accumulator)
        if self.is_sparse and lazy:
            return rows_of(total) * (1 / n)
        return Dense(total, 1 / n)

    def clear_accumulator(self) -> None:
        zeros = ops.zeros(tuple(self.accumulator.shape), self.accumulator.dtype)
        backends.active.assign(self.accumulator, zeros)

    def reset(self) -> None:
        """Slots as their initializers make them, the average at `θ`, else zeros."""
        for kind, variable in self.by_kind().items():
            initializer = self.initializers.get(kind, keras.initializers.Zeros())
            value = initializer(tuple(variable.shape), dtype=variable.dtype)
            variable.assign(value)
        self.start_average()

    def start_average(self) -> None:
        """`average ← θ`."""
        if self.average is not None:
            self.average.assign(ops.copy(self.read(self.variable)))

    # The variable with its carry. Below, `θ` is `variable`, or the copy of it on one
    # replica.

    def read(self, θ: Any, rows: Any = None) -> Any:
        """`θ` in its compute dtype, with its carry; only these rows of it if given.

        The carry counts only while `θ` holds what the optimizer left there, and not
        after an assignment from outside.
        """
        held = ops.convert_to_tensor(θ) if rows is None else rows.take(θ)
        if not is_narrow(held):
            return held
        wide = ops.cast(held, "float32")
        if self.carry is None:
            return wide
        carry = self.carry if rows is None else rows.take(self.carry)
        exact = wide + carry
        is_ours = ops.equal(backends.active.rounded(exact, dtype_of(θ)), wide)
        return ops.where(is_ours, exact, wide)

    def write(self, θ: Any, value: Any, rows: Any = None) -> None:
        """`θ ← value`, with the rounding error in the carry."""
        if self.carry is not None:
            held = backends.active.rounded(value, dtype_of(θ))
            rest = ops.where(ops.isfinite(held), value - held, 0.0)
            assign(self.carry, rest, rows)
            value = held
        assign(θ, value, rows)


def assign(place: Any, value: Any, rows: Any = None) -> None:
    """`place ← value`, or these rows of it."""
    if rows is not None:
        value = rows.with_values(value).assignable()
    backends.active.assign(place, value)


@final
class States:
    """The states of all variables, in the optimizer's order."""

    def __init__(self) -> None:
        self._of: dict[Any, VariableState] = {}
        self.variables: list = []

    def __iter__(self) -> Iterator[VariableState]:
        return iter(self._of.values())

    def __len__(self) -> int:
        return len(self._of)

    def of(self, key: Any, variable: Any) -> VariableState:
        """The state of `variable`, known by its `key`; a `ValueError` if unknown."""
        if not self._of:
            raise ValueError("Call `build(variables)` first: there is no state yet.")
        if key not in self._of:
            raise ValueError(
                f"Unknown variable '{path_of(variable)}'. If you unfroze a layer or "
                "enabled LoRA, call `optimizer.set_variables("
                "model.trainable_variables)` and compile the model again. An optimizer "
                "serves one model: make a new one for another model."
            )
        return self._of[key]

    def are_of(self, variables: list) -> bool:
        """Whether these are all variables, in their order."""
        is_as_long = len(variables) == len(self.variables)
        return is_as_long and all(map(operator.is_, variables, self.variables))

    @cached_property
    def all_variables(self) -> list[keras.Variable]:
        """All variables of all states: kind by kind, in the order of the variables."""
        each = [state.by_kind() for state in self]
        slots = [kind for of_one in each for kind in of_one if kind.startswith(SLOT)]
        order = [AVERAGE, ACCUMULATOR, *dict.fromkeys(slots), CARRY]
        return [of_one[k] for k in order for of_one in each if k in of_one]

    def following(self, variables: dict[Any, Any]) -> "States":
        """The states of these variables: known ones stay, the others are new."""
        states = States()
        states._of = {
            key: self._of.get(key) or VariableState(variable)
            for key, variable in variables.items()
        }
        states.variables = [state.variable for state in states]
        return states

    def create(self, averages: bool, carries: bool, accumulators: bool) -> None:
        """Create the averages, carries and accumulators that are missing."""
        for state in self:
            steps = not state.is_overwritten
            if averages and steps and state.average is None:
                state.average = state.add(AVERAGE)
                if backends.active.is_initialized(state.variable):
                    state.start_average()
            if carries and steps and state.carry is None and state.is_narrow:
                state.carry = state.add(CARRY)
            if accumulators and state.accumulator is None:
                state.accumulator = state.add(ACCUMULATOR)

    def apply_patterns(self, states: Any, rules: dict[str, Any]) -> None:
        """Set the factor of the variables of `states`, and whether they decay."""
        factors = dict(rules["learning_rate_multipliers"] or {})
        undecayed = rules["exclude_from_weight_decay"] or ()
        patterns.warn_if_unused(factors, [state.path for state in self])
        for state in states:
            state.factor = patterns.factor_of(state.path, factors)
            state.decays = not any(patterns.found(p, state.path) for p in undecayed)
