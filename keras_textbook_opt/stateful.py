"""An optimizer's state: created, grown, reset, saved, loaded and moved.

A variable of 16 bits has all of its state in float32, and a carry that holds what the
variable has no bits for.
"""

from __future__ import annotations

import abc
import re
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src.utils.tracking import no_automatic_dependency_tracking

from keras_textbook_opt import fused, gradients, moving, rows, state
from keras_textbook_opt.gradients import compute_dtype, path_of
from keras_textbook_opt.rows import Rows
from keras_textbook_opt.state import State
from keras_textbook_opt.swapping import SwappableAverage


class StatefulOptimizer(keras.optimizers.Optimizer, abc.ABC):
    """What `TextbookOptimizer` is built on: the variables beside the variables."""

    def __init__(self, *, learning_rate: Any, compensate: bool, **kwargs: Any):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.compensate = compensate
        self._state = State()
        self._keep_in_32_bits(learning_rate)

    def _keep_in_32_bits(self, learning_rate) -> None:
        """Keras keeps a rate in `floatx`, where 16 bits take 1e-8 for zero."""
        kept = self._learning_rate
        if isinstance(kept, keras.Variable) and gradients.is_narrow(kept):
            self._untrack_variable(kept)
            self._learning_rate = self.add_variable(
                (),
                keras.initializers.Constant(learning_rate),
                dtype="float32",
                aggregation="only_first_replica",
                name="learning_rate",
            )

    def create_slots(self, variables: list) -> None:
        """Call `add_slot(variable, name)` for each slot of each variable.

        Slots reach `apply_dense` and `apply_sparse` in the order of their creation.
        """

    def add_slot(self, variable, name: str, initializer="zeros"):
        """Create the slot `name` beside `variable`, of its shape and compute dtype."""
        initializer = keras.initializers.get(initializer)
        key = self._var_key(variable)
        slot = self._state.slots(key).get(name)
        if slot is None:
            slot = self.add_variable_from_reference(variable, name, initializer)
        self._state.add_slot(key, name, slot, initializer)
        return slot

    def get_slot(self, variable, name: str):
        """The slot `name` of `variable`, a `keras.Variable`."""
        return self._state.slots(self._var_key(variable))[name]

    def add_variable_from_reference(
        self, reference_variable, name=None, initializer="zeros"
    ):
        """Create a variable like another, in float32 where that one has 16 bits."""
        path, dtype = path_of(reference_variable), compute_dtype(reference_variable)
        if dtype == keras.backend.standardize_dtype(reference_variable.dtype):
            variable = super().add_variable_from_reference(
                reference_variable, name, initializer
            )
        else:
            variable = self.add_variable(
                reference_variable.shape,
                initializer,
                dtype,
                name=re.sub("[/:]", "_", f"{path}_{name}"),
            )
        variable.state_name = f"{name}/{path}"
        return variable

    def build(self, variables) -> None:
        """Create the state of `variables`, a list of floating-point variables.

        An empty list builds nothing: Keras's loader of `.h5` files has no other.

        Raises:
            ValueError: A variable is not of a floating-point dtype, or a state that was
                loaded before does not fit the variables.
        """
        variables = list(variables)
        if self.built or not variables:
            return
        self._check_variables(variables)
        own = self._variables[:]
        super().build(variables)
        self._create_state()
        if self._state.awaited is not None:
            try:
                with fused.outside_the_graph():
                    self._assign_state(self._state.awaited)
            except ValueError:
                self._forget(own)
                raise
            self._state.awaited = None

    def _forget(self, own: list) -> None:
        """Be as before `build`, with the state `own` alone."""
        awaited, self._state = self._state.awaited, State()
        self._state.awaited = awaited
        self._trainable_variables_indices.clear()
        self._trainable_variables: list = []
        self._set_variables(own)
        self.built = False

    @no_automatic_dependency_tracking
    def _set_variables(self, variables: list) -> None:
        """TensorFlow lets a list that it tracks grow only: a new one for Keras's."""
        self._variables = list(variables)
        condition, _ = self._tracker.config["variables"]
        self._tracker.config["variables"] = condition, self._variables

    @property
    def variables(self) -> list:
        """All state; of one that waits for its variables, also what it waits with."""
        awaited = self._state.awaited if hasattr(self, "_state") else None
        if self.built or awaited is None:
            return super().variables
        return [
            keras.Variable(value, dtype=str(value.dtype), name=name.replace("/", "_"))
            for name, value in awaited.items()
        ]

    def add_variables(self, variables) -> None:
        """Take on more variables, such as a layer's that is no longer frozen.

        The state of the others stays, and so does the count of steps.

        Args:
            variables: A list of variables. Those that the optimizer knows may be in it.

        Raises:
            ValueError: The optimizer is not built, or a variable is not of a
                floating-point dtype. Nothing has changed then.
        """
        if not self.built:
            raise ValueError(
                "Expected an optimizer that is built before `add_variables`. Received: "
                "one that is not"
            )
        known = self._trainable_variables_indices
        variables = [v for v in variables if self._var_key(v) not in known]
        self._check_variables(variables)
        for variable in variables:
            known[self._var_key(variable)] = len(self._trainable_variables)
            self._trainable_variables.append(variable)
        if self.use_ema:
            averages = self.add_optimizer_variables(variables, "average")
            for average, variable in zip(averages, variables):
                if average is not None:
                    average.assign(ops.cast(variable, average.dtype))
            self._averages.extend(averages)
        if self.gradient_accumulation_steps:
            self._accumulated_gradients.extend(
                self.add_variable_from_reference(v, "gradient_accumulator")
                for v in variables
            )
        self._create_state()
        self._set_variables(self._in_order())

    def _in_order(self) -> list:
        """All state, in the order of an optimizer that is built at once."""
        averages = getattr(self, "_averages", [])
        beside = [
            *(average for average in averages if average is not None),
            *getattr(self, "_accumulated_gradients", []),
            *self._state.all_slots(),
            *self._state.carries.values(),
        ]
        known = {id(variable) for variable in beside}
        return [v for v in self._variables if id(v) not in known] + beside

    def _check_variables(self, variables) -> None:
        for variable in variables:
            if not self._overwrite_variable_with_gradient(variable):
                gradients.check_variable(variable)

    def _create_state(self) -> None:
        """Slots and carries of all variables, but for those that are there."""
        updated = [
            v
            for v in self._trainable_variables
            if not self._overwrite_variable_with_gradient(v)
        ]
        self._state.forget_order()
        self.create_slots(updated)
        for variable in updated:
            key = self._var_key(variable)
            narrow = self.compensate and gradients.is_narrow(variable)
            if narrow and key not in self._state.carries:
                carry = self.add_variable_from_reference(variable, "carry")
                self._state.carries[key] = carry

    def reset_state(self) -> None:
        """Start afresh: step 0, and every slot as `create_slots` made it.

        The variables and the learning rate stay as they are.
        """
        self._iterations.assign(0)
        self._state.reset_slots()
        awaited = self._state.awaited
        if awaited is not None:
            self._state.awaited = state.of_no_step(awaited, self._own_names())
        fresh = {"average", "gradient_accumulator", "carry"}
        for variable in self.variables:
            if getattr(variable, "state_name", "").split("/")[0] in fresh:
                variable.assign(ops.zeros(variable.shape, variable.dtype))

    # Saving and loading.

    def save_own_variables(self, store) -> None:
        """Write the state to `store`, under the names of slots and variables."""
        awaited = self._state.awaited
        state.save(state.named(self.variables) if awaited is None else awaited, store)

    def load_own_variables(self, store) -> None:
        """Read the state from `store`, as it was saved here or by a built-in.

        An optimizer that is not built yet keeps it until `build`.

        Raises:
            ValueError: The state is damaged, or does not fit. Nothing has changed then.
        """
        saved = state.read(store)
        if self.built or not saved:
            self._assign_state(saved)
        else:
            self._state.awaited = saved

    def set_weights(self, weights) -> None:
        """Set the values of `variables`, in their order; see `load_own_variables`."""
        self.load_own_variables({str(k): np.asarray(w) for k, w in enumerate(weights)})

    @classmethod
    def from_keras(cls, optimizer):
        """Take over a built-in optimizer: hyperparameters, steps taken and slots.

        The next step is the one that `optimizer` would have taken (on a dense gradient,
        to the rounding of float32).

        Args:
            optimizer: An instance of the class's counterpart: `keras.optimizers.SGD`
                for `SGD` and `Momentum`, `Adam` or `AdamW` for `Adam`.

        Raises:
            ValueError: It is of another class, or a hyperparameter has no counterpart
                here.
        """
        counterparts = moving.counterparts(cls)
        if type(optimizer) not in counterparts:
            expected = " or ".join(
                f"keras.optimizers.{c.__name__}" for c in counterparts
            )
            raise ValueError(
                f"Expected {expected or 'a class with counterparts'} to make "
                f"{cls.__name__} of. Received: {optimizer!r}"
            )
        return _moved(optimizer, cls)

    def to_keras(self):
        """The built-in optimizer that takes the next step that this one would take.

        Raises:
            ValueError: A hyperparameter has no counterpart there.
        """
        counterparts = moving.counterparts(type(self))
        if not counterparts:
            raise ValueError(
                "Expected an optimizer that Keras has as well. Received: "
                f"{type(self).__name__}"
            )
        if self._state.carries or self._state.awaited:
            raise ValueError(
                "Expected variables of 32 bits or more, and an optimizer that is built "
                "if a state was loaded: Keras has no place for the rest. Received: "
                f"{len(self._state.carries)} variables of 16 bits with their carries"
            )
        return _moved(self, counterparts[0])

    def _assign_state(self, saved: dict[str, np.ndarray]) -> None:
        """The state of an optimizer that was not built starts its slots afresh."""
        named = state.named(self.variables)
        own = self._own_names()
        if state.is_of_no_step(saved, own):
            state.assign({name: named[name] for name in own}, saved)
            self.reset_state()
        else:
            state.assign(named, saved)

    def _own_names(self) -> list[str]:
        """Names of the state that is beside no variable; first, the count of steps."""
        return [n for n, v in state.named(self._variables).items() if _is_own(v)]

    @property
    def _model_variables_moving_average(self) -> list:
        """Keras's name for the averages, under which its callback swaps them."""
        return [
            SwappableAverage(self, variable, average)
            if average is not None and gradients.is_narrow(variable)
            else average
            for variable, average in zip(self._trainable_variables, self._averages)
        ]

    @_model_variables_moving_average.setter
    def _model_variables_moving_average(self, averages: list) -> None:
        self._averages = averages

    # Reading and writing a variable with its carry.

    def _read(self, place, g: Rows | None = None, held=None):
        """`place` in its compute dtype, with its carry; of the rows of `g` if given.

        A carry counts while `place` is what was left there, and not after an assignment
        from outside. What `place` held before is `held`, if given.
        """
        carry = self._state.carries.get(self._var_key(place))
        if g is not None:
            place = rows.take(place, g)
            carry = None if carry is None else rows.take(carry, g)
        if not gradients.is_narrow(place):
            return place
        held = ops.cast(place if held is None else held, "float32")
        if carry is None:
            return held
        exact = held + carry
        left = fused.rounded(exact, keras.backend.standardize_dtype(place.dtype))
        return ops.where(ops.equal(left, held), exact, held)

    def _write(self, place, value) -> None:
        """`place ← value`; what `place` has no bits for goes to its carry."""
        carry = self._state.carries.get(self._var_key(place))
        if carry is not None:
            exact = value.values if isinstance(value, Rows) else value
            held = fused.rounded(exact, keras.backend.standardize_dtype(place.dtype))
            rest = ops.where(ops.isfinite(held), exact - held, 0.0)
            if isinstance(value, Rows):
                value, rest = value.with_values(held), value.with_values(rest)
            self.assign(carry, rows.assignable(rest))
        self.assign(place, rows.assignable(value))


def _is_own(variable: keras.Variable) -> bool:
    return not hasattr(variable, "state_name")


def _moved(source, target: type):
    """A `target` with the hyperparameters and the state of `source`."""
    arguments = moving.arguments(source.get_config(), type(source), target)
    rate = source._learning_rate
    if isinstance(rate, keras.Variable):
        rate = float(ops.convert_to_numpy(rate))
    optimizer = target(**arguments | {"learning_rate": rate})
    _move_exclusions(source, optimizer)
    if source.built:
        optimizer.build(source._trainable_variables)
        moving.move_state(source, optimizer)
    return optimizer


def _move_exclusions(source, target) -> None:
    undecayed: set = getattr(source, "_exclude_from_weight_decay", set())
    pattern = getattr(source, "_exclude_from_weight_decay_pattern", None)
    variables = [
        v for v in source._trainable_variables if source._var_key(v) in undecayed
    ]
    if len(variables) < len(undecayed):
        raise ValueError(
            "Expected an optimizer that is built, since single variables are excluded "
            f"from its weight decay. Received: {source!r}"
        )
    if undecayed or pattern:
        target.exclude_from_weight_decay(
            variables, [pattern.pattern] if pattern else []
        )
