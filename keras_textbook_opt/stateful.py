"""An optimizer's state: created, grown, reset, saved, loaded and moved.

A variable of 16 bits has all of its state in float32, and a carry that holds what the
variable has no bits for.
"""

from __future__ import annotations

import abc
import functools
import itertools
import re
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src.utils.tracking import no_automatic_dependency_tracking

from keras_textbook_opt import backends, checks, moving, rows
from keras_textbook_opt.rows import Rows
from keras_textbook_opt.state import (
    archive,
    carries,
    keras_loaders,
    lifecycle,
    restoring,
)
from keras_textbook_opt.state.archive import Saved
from keras_textbook_opt.state.identity import identity, unique
from keras_textbook_opt.state.lifecycle import State
from keras_textbook_opt.state.multipliers import Multipliers
from keras_textbook_opt.state.slots import ACCUMULATOR, AVERAGE, CARRY, SLOT, Beside
from keras_textbook_opt.swapping import SwappableAverage
from keras_textbook_opt.variables import compute_dtype, dtype_of, is_narrow, path_of


class StatefulOptimizer(keras.optimizers.Optimizer, abc.ABC):
    """What `TextbookOptimizer` is built on: the variables beside the variables."""

    built: bool
    _accumulated_gradients: list
    _learning_rate: Any
    _trainable_variables: list
    _variables: list

    def __init__(
        self,
        *,
        learning_rate: Any,
        compensate: bool,
        learning_rate_multipliers: dict[str, float] | None,
        **kwargs: Any,
    ):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.compensate = compensate
        self._state = State()
        self._state.multipliers = Multipliers(learning_rate_multipliers or {})
        self._in_a_checkpoint = backends.active.in_a_checkpoint(
            self._list_of_variables,
            functools.partial(restoring.check_list, self._state),
        )
        self._keep_in_32_bits(learning_rate)
        for scalar in (self._iterations, self._learning_rate):
            if isinstance(scalar, keras.Variable):
                backends.active.keep_on_the_host(scalar)

    def _keep_in_32_bits(self, learning_rate) -> None:
        """Keras keeps a rate in `floatx`, where 16 bits take 1e-8 for zero."""
        kept = self._learning_rate
        if isinstance(kept, keras.Variable) and is_narrow(kept):
            self._untrack_variable(kept)
            self._learning_rate = self.add_variable(
                (),
                keras.initializers.Constant(learning_rate),
                dtype="float32",
                aggregation="only_first_replica",
                name="learning_rate",
            )
            self._set_state(self._variables[:])

    def create_slots(self, variables: list) -> None:
        """Call `add_slot(variable, name)` for each slot of each variable.

        Slots reach `apply_dense` and `apply_sparse` in the order of their creation.
        """

    def add_slot(self, variable, name: str, initializer="zeros"):
        """Create the slot `name` beside `variable`, of its shape and compute dtype.

        Raises:
            ValueError: It is not one of the variables of `create_slots`, or the name is
                no string.
        """
        initializer = keras.initializers.get(initializer)
        beside = None
        if hasattr(variable, "assign") and isinstance(name, str):
            beside = self._state.beside.get(self._var_key(variable))
        if beside is None:
            raise ValueError(
                "Expected a variable that `create_slots` was given, and the slot's "
                f"name. Received: {variable!r} and {name!r}"
            )
        slot = beside.slots.get(name)
        if slot is None:
            slot = self.add_variable_from_reference(variable, name, initializer)
            beside.slots[name] = slot
            beside.initializers[SLOT + name] = initializer
        self._state.slots_in_order.append(slot)
        return slot

    def get_slot(self, variable, name: str):
        """The slot `name` of `variable`, a `keras.Variable`.

        Raises:
            ValueError: The optimizer is not built, or has no such slot or variable.
        """
        self._settle()
        key = self._var_key(variable)
        slots = self._state.of(key).slots
        if name in slots:
            return slots[name]
        if not self.built:
            raise ValueError(
                "Expected an optimizer that is built before `get_slot`: call "
                "`build(variables)`, or take a step. Received: one that is not"
            )
        path = path_of(variable)
        if key not in self._trainable_variables_indices:
            known = ", ".join(repr(path_of(v)) for v in self._trainable_variables)
            raise ValueError(
                f"Expected a variable that the optimizer was built with: {known}. "
                f"Received: {path!r}"
            )
        names = " or ".join(map(repr, slots))
        raise ValueError(
            f"Expected the name of a slot of {path!r}: {names or 'it has none'}. "
            f"Received: {name!r}"
        )

    def add_variable_from_reference(
        self, reference_variable, name=None, initializer="zeros"
    ):
        """Create a variable like another, in float32 where that one has 16 bits."""
        variable = self._add_variable_like(reference_variable, name, initializer)
        backends.active.place(variable, reference_variable)
        return variable

    def _add_variable_like(self, reference_variable, name, initializer):
        dtype = compute_dtype(reference_variable)
        if dtype == dtype_of(reference_variable):
            return super().add_variable_from_reference(
                reference_variable, name, initializer
            )
        return self.add_variable(
            reference_variable.shape,
            initializer,
            dtype,
            layout=getattr(reference_variable, "_layout", None),
            name=re.sub("[/:]", "_", f"{path_of(reference_variable)}_{name}"),
        )

    # Built, grown, reset.

    def build(self, variables) -> None:
        """Create the state of `variables`, a list of floating-point variables.

        One that is listed twice, such as a tied weight, has one state.

        Raises:
            ValueError: A variable is not of a floating-point dtype, or a state that was
                loaded before does not fit the variables. Nothing has changed then.
        """
        variables = list({id(v): v for v in variables}.values())
        if self.built:
            return
        if not variables:
            self._load_from_legacy_file()
            return
        self._check_variables(variables)
        self._state.multipliers.check(variables)
        self._find_exclusions(variables)
        with backends.active.outside_the_step(self):
            self._build(variables)
        self._watch_anew()

    def _build(self, variables: list) -> None:
        own = self._variables[:]
        try:
            self._take(lifecycle.in_order_of_file(self._state, variables))
            self.built = True
            restoring.load_what_waits(self._state, len(own))
        except ValueError:
            self._forget(own)
            raise
        self._exclude_what_moved()
        if list(map(id, variables)) != list(map(id, self._trainable_variables)):
            self._take(variables)

    def _find_exclusions(self, variables: list) -> None:
        """Those of a config, and those of a pattern, among variables that are new."""
        excluded = self._state.excluded
        if excluded.awaited:
            excluded.find(variables)
        if excluded:
            excluded.find_by_path(variables)
            self._exclude(variables)

    def _exclude_what_moved(self) -> None:
        """Those of a config go where the state goes."""
        if self._state.excluded.written:
            self._exclude()

    def _exclude(self, variables=()) -> None:
        """Say to Keras what does not decay, of the variables and of new ones.

        Keras asks for each once. Asked now, it sees the name of the variable; in a
        step, that of TensorFlow's, which has a scope and `:0`.
        """
        excluded = self._state.excluded
        super().exclude_from_weight_decay(excluded.variables, excluded.names)
        for variable in (*self._trainable_variables, *variables):
            self._use_weight_decay(variable)

    def _take(self, variables: list) -> None:
        """Be the optimizer of these variables, in their order.

        The state of those that are known stays, the others get a fresh one.
        """
        state, own = self._state, self._own_variables()
        keys = [self._var_key(variable) for variable in variables]
        updated = [
            v for v in variables if not self._overwrite_variable_with_gradient(v)
        ]
        state.beside = lifecycle.beside(state, dict(zip(keys, variables)))
        state.compute_dtypes = set(map(compute_dtype, updated))
        self._trainable_variables_indices = {key: k for k, key in enumerate(keys)}
        if self.use_ema:
            for variable in updated:
                self._add_average(variable)
        if self.gradient_accumulation_steps:
            for variable, beside in zip(variables, state.beside.values()):
                if beside.accumulator is None:
                    beside.accumulator = self.add_variable_from_reference(
                        variable, ACCUMULATOR
                    )
        self._create_slots(updated)
        for variable in updated:
            beside = state.beside[self._var_key(variable)]
            narrow = self.compensate and is_narrow(variable)
            if narrow and beside.carry is None:
                beside.carry = self.add_variable_from_reference(variable, CARRY)
        self._set_lists(variables, [*own, *state.kept()])

    def _create_slots(self, variables: list) -> None:
        known = set(map(id, self._variables))
        self._state.slots_in_order.clear()
        self.create_slots(variables)
        known.update(map(id, self._state.slots_in_order))
        others = [v.name for v in self._variables if id(v) not in known]
        if others:
            raise ValueError(
                "Expected `create_slots` to create slots alone, with `add_slot`. "
                f"Received: {', '.join(map(repr, others))}, which would not be saved. "
                "Create what is beside no variable in `__init__`, or in `build` after "
                "`super().build(variables)`."
            )

    def _add_average(self, variable) -> None:
        """An average of a variable that comes later starts with its value."""
        beside = self._state.beside[self._var_key(variable)]
        if beside.average is None:
            beside.average = self.add_variable_from_reference(variable, AVERAGE)
            if self.built:
                beside.average.assign(ops.copy(self._read(variable)))

    @no_automatic_dependency_tracking
    def _set_lists(self, variables: list, state: list) -> None:
        """What Keras has in lists: the variables, and all state, in their order."""
        everything = [*self._state.beside.values()]
        self._trainable_variables = self._state.variables = variables[:]
        if self.gradient_accumulation_steps:
            self._accumulated_gradients = [b.accumulator for b in everything]
        if list(map(id, state)) != list(map(id, self._variables)):
            self._set_state(state)

    @no_automatic_dependency_tracking
    def _set_state(self, state: list) -> None:
        """A new list: TensorFlow lets one that a checkpoint has tracked only grow."""
        self._variables = backends.active.tracked(self, "_variables", state)
        condition, _ = self._tracker.config["variables"]
        self._tracker.config["variables"] = condition, self._variables
        self._tracker.stored_ids["variables"] = set(map(id, state))

    def _own_variables(self) -> list:
        """State that is beside no variable, such as the count of steps."""
        kept = set(map(id, self._state.kept()))
        return [v for v in self._variables if id(v) not in kept]

    def _forget(self, own: list) -> None:
        """Be as before `build`, with the state `own` alone."""
        self._state.beside.clear()
        self._state.slots_in_order.clear()
        self._trainable_variables_indices.clear()
        self._set_lists([], own)
        self.built = False

    @property
    def variables(self) -> list:
        """All state; of one that waits for its variables, also what it waits with.

        While somebody watches, what the steps leave for them is last.
        """
        if not hasattr(self, "_state"):  # Keras's own constructor asks
            return super().variables
        self._settle()
        if self.built and backends.active.pairs_by_position:
            self._check_what_is_to_step()
        waiting, watch = self._state.waiting, self._state.watch
        return [
            *super().variables,
            *(lifecycle.held(waiting) if waiting else ()),
            *(watch.variables if watch else ()),
        ]

    def add_variables(self, variables) -> None:
        """Follow a model whose list of trainable variables is another now.

        Pass `model.trainable_variables` after a layer was frozen or is no longer
        frozen, after `enable_lora`, or after `quantize`. The order of the list becomes
        the optimizer's, those that are new start with a fresh state, and those that are
        not in the list are let go with their state. Then compile the model again with
        the same optimizer: TensorFlow goes on with the old list in a graph that it
        traced before.

        A list of new variables alone is appended, and no variable is let go, unless all
        others are frozen. On JAX, where Keras hands over values by position, the new
        ones must then be the last of the model's.

        Args:
            variables: A list of variables.

        Raises:
            ValueError: The optimizer is not built, or a variable is not of a
                floating-point dtype. Nothing has changed then.
        """
        if not self.built:
            raise ValueError(
                "Expected an optimizer that is built before `add_variables`. Received: "
                "one that is not"
            )
        given = {self._var_key(v): v for v in variables}
        known = {self._var_key(v): v for v in self._trainable_variables}
        self._check_variables([v for key, v in given.items() if key not in known])
        if not given or list(given) == list(known):
            return
        self._settle()
        state, new = self._state, [key for key in given if key not in known]
        appends = new == list(given) and any(v.trainable for v in known.values())
        newcomers = [given[key] for key in new]
        self._find_exclusions(newcomers)
        self._take([*known.values(), *newcomers] if appends else [*given.values()])
        state.appended = appends
        lifecycle.unpark(state, newcomers, [state.beside[key] for key in new])
        state.changed_at = self._steps_taken()
        self._watch_anew()

    def _watch_anew(self) -> None:
        """Who watches, if anybody does, knows the variables and their order."""
        if self._state.watch is not None:
            self._state.watch.build(self)

    def _places(self, variables: list) -> list[int]:
        """Where among the optimizer's variables these are."""
        places = self._trainable_variables_indices
        return [places[self._var_key(variable)] for variable in variables]

    def _steps_taken(self) -> int:
        return int(ops.convert_to_numpy(ops.convert_to_tensor(self._iterations)))

    def _follow_order(self, variables: list) -> None:
        """Where variables were appended, the order is that of the model's list."""
        if self._stands_in_another_order(variables):
            self._take(variables)
            self._state.appended = False
            self._watch_anew()

    def _stands_in_another_order(self, variables: list) -> bool:
        if not self._state.appended:
            return False
        keys = [self._var_key(variable) for variable in variables]
        known = list(self._state.beside)
        return keys != known and set(keys) == set(known)

    def stateless_apply(self, optimizer_variables, grads, trainable_variables):
        """Take a step on values: of the variables, and of `variables`, in their order.

        Raises:
            ValueError: The lists are not those of this optimizer.
        """
        self._settle()
        if not self.built and self._state.waiting is not None:
            raise ValueError(
                "Expected an optimizer that is built before `stateless_apply`. "
                "Received: one with a loaded state that waits for its variables, as "
                "the loader of `.h5` files leaves it within a `LossScaleOptimizer`. "
                "Load the model again (a step that fails takes its weights on JAX), "
                "and compile it with `model.optimizer.inner_optimizer` before the "
                "first step; in a loop of your own, call `build(variables)`."
            )
        here, values = self._trainable_variables, list(trainable_variables)
        shapes = [tuple(variable.shape) for variable in here]
        if self.built and [tuple(value.shape) for value in values] != shapes:
            raise ValueError(
                f"Expected values of the variables {[path_of(v) for v in here]}, of "
                f"shapes {shapes}. Received: {[tuple(v.shape) for v in values]}. If "
                "the model has other trainable variables now, call `optimizer."
                "add_variables(model.trainable_variables)` and compile it again."
            )
        return super().stateless_apply(optimizer_variables, grads, values)

    def _check_training_ends(self, var_list: list) -> None:
        """Was the training on the variables that it seemed to be on?"""
        changed_at = self._state.changed_at
        if changed_at is not None and self._steps_taken() > changed_at:
            raise ValueError(
                "Expected the model to be compiled again after `add_variables`, or a "
                "change of `learning_rate_multipliers`. Received: steps of a graph "
                "that was traced before, and knows what was then alone. Call "
                "`model.compile` with this optimizer, and train again."
            )
        if self._state.by_position:
            self._check_pairs(var_list)

    def _check_what_is_to_step(self) -> None:
        to_step = keras_loaders.variables_to_step(self)
        if to_step is None:
            return
        variables, known_to_wrapper = to_step
        self._state.by_position = True
        self._check_pairs(variables)
        if known_to_wrapper < len(variables):
            raise ValueError(
                "Expected a wrapper of the optimizer that was built on the model's "
                f"{len(variables)} trainable variables. Received: one built on "
                f"{known_to_wrapper}. Compile the model with `model.optimizer."
                "inner_optimizer`: Keras wraps it anew, or do so yourself."
            )

    def _check_pairs(self, variables: list) -> None:
        """On JAX, Keras pairs the model's variables with these by position alone."""
        if not self._are_its_own(variables):
            raise ValueError(
                "Expected a model whose trainable variables are those of the optimizer,"
                " in their order, since Keras pairs the two by position on JAX. "
                f"Received: {[path_of(v) for v in variables]}, for an optimizer of "
                f"{[path_of(v) for v in self._trainable_variables]}. Call `optimizer."
                "add_variables(model.trainable_variables)`, and compile the model "
                "again with it; or compile another model with an optimizer of its own."
            )

    def _multiply(self, patterns: dict[str, float]) -> None:
        """Have the factors of these patterns from now on, or raise a `ValueError`."""
        state, multipliers = self._state, Multipliers(patterns)
        if self.built:
            self._settle()
            multipliers.check(state.variables)
            state.multiply(dict(enumerate(multipliers.of(state.variables))))
            state.changed_at = self._steps_taken()
        state.multipliers, state.let_go = multipliers, {}
        state.parked = [replace(parked, factor=None) for parked in state.parked]

    def _check_variables(self, variables) -> None:
        for variable in variables:
            if not self._overwrite_variable_with_gradient(variable):
                checks.check_variable(variable)

    def reset_state(self) -> None:
        """Start afresh: step 0, and every slot as `create_slots` made it.

        The variables and the learning rate stay as they are.
        """
        self._iterations.assign(0)
        state = self._state
        state.waiting, state.unsettled, state.parked = None, None, []
        state.skipped = None
        for beside in state.beside.values():
            beside.reset()

    # Saving and loading.

    def save_own_variables(self, store) -> None:
        """Write the state to `store`, under the names of slots and variables."""
        self._settle()
        archive.save(self._saved(), store)

    def _saved(self) -> Saved:
        variables = self._trainable_variables
        excluded = set(map(id, self._state.excluded.variables))
        decays = [id(variable) not in excluded for variable in variables]
        factors = [beside.factor for beside in self._state.beside.values()]
        here = [identity(*each) for each in zip(variables, decays, factors)]
        return lifecycle.saved(self._state, self._named_own(), here)

    def _named_own(self) -> dict[str, Any]:
        own = self._own_variables()
        return dict(zip(unique(variable.name for variable in own), own))

    def load_own_variables(self, store) -> None:
        """Read the state from `store`, as it was saved here or by a built-in.

        The state goes to the variables that got the weights. An optimizer that is not
        built yet keeps it until `build`. A `store` without a state changes nothing.

        Raises:
            ValueError: The state is damaged, or does not fit. Nothing has changed then.
        """
        self._load(archive.read(store))

    def set_weights(self, weights) -> None:
        """Set the values of `variables`, a list in their order.

        Raises:
            ValueError: A value is missing or of another shape. Nothing has changed.
        """
        values = [np.asarray(weight) for weight in weights]
        if self._state.watch is not None and len(values) == len(self.variables):
            values = values[: len(values) - len(self._state.watch.variables)]
        if self.built:
            dtypes = [variable.dtype for variable in self.variables]
            values = [
                value if dtype is None else archive.narrowed(value, dtype)
                for value, dtype in itertools.zip_longest(values, dtypes)
                if value is not None
            ]
        self._load(archive.read({str(k): value for k, value in enumerate(values)}))

    def _load(self, saved: Saved) -> None:
        if saved:
            restoring.load(self._state, saved, self._named_own(), self.built)
            self._exclude_what_moved()

    def _load_from_legacy_file(self) -> None:
        values = keras_loaders.legacy_values_behind_a_wrapper(self)
        if values is not None:
            self._load(archive.read({str(k): value for k, value in enumerate(values)}))

    def _list_of_variables(self) -> str:
        self._settle()
        return restoring.listed(self._state)

    def _settle(self) -> None:
        """Let what the variables hold decide, once their weights are there."""
        if self.built and self._state.unsettled is not None:
            with backends.active.outside_the_step(self):
                restoring.settle(self._state)
            self._exclude_what_moved()

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
        if moving.built_in_class(optimizer) not in counterparts:
            expected = " or ".join(
                f"keras.optimizers.{c.__name__}" for c in counterparts
            )
            raise ValueError(
                f"Expected {expected or 'a class with counterparts'} to make "
                f"{cls.__name__} of. Received: {optimizer!r}"
            )
        return moving.moved(optimizer, cls)

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
        if self._state.multipliers:
            raise ValueError(
                "Expected an optimizer without `learning_rate_multipliers`: Keras has "
                f"one rate for all variables. Received: {self!r}"
            )
        self._settle()
        carries = sum(
            beside.carry is not None for beside in self._state.beside.values()
        )
        if carries or self._state.waiting:
            raise ValueError(
                "Expected variables of 32 bits or more, and an optimizer that is built "
                "if a state was loaded: Keras has no place for the rest. Received: "
                f"{carries} variables of 16 bits with their carries"
            )
        return moving.moved(self, counterparts[0])

    @property
    def _model_variables_moving_average(self) -> list:
        """Keras's name for the averages, under which its callback swaps them."""
        if not (self.use_ema and self.built):
            raise AttributeError("Expected an optimizer that is built with `use_ema`")
        self._settle()
        return [
            SwappableAverage(self, variable, beside.average)
            if beside.average is not None and is_narrow(variable)
            else beside.average
            for variable, beside in zip(
                self._trainable_variables, self._state.beside.values()
            )
        ]

    # Reading and writing a variable with its carry.

    def _beside(self, variable) -> Beside:
        return self._state.of(self._var_key(variable))

    def _are_its_own(self, variables: list) -> bool:
        """Whether these are all that the optimizer was built with, in its order."""
        return list(map(id, variables)) == list(map(id, self._trainable_variables))

    def _factor(self, variable) -> float:
        """What the learning rate of `variable` is multiplied by."""
        return self._beside(variable).factor if self._state.multipliers else 1.0

    def _all_beside(self, variables: list) -> list[Beside]:
        if self._are_its_own(variables):
            return list(self._state.beside.values())
        return list(map(self._beside, variables))

    def _read(self, place, g: Rows | None = None, held=None):
        """`place` in its compute dtype, with its carry; of the rows of `g` if given.

        A carry counts while `place` is what was left there, and not after an assignment
        from outside. What `place` held before is `held`, if given.
        """
        carry = self._beside(place).carry
        if g is not None:
            place = rows.take(place, g)
            carry = None if carry is None else rows.take(carry, g)
        if not is_narrow(place):
            return place
        held = ops.cast(place if held is None else held, "float32")
        return held if carry is None else carries.exact(held, carry, dtype_of(place))

    def _write(self, place, value) -> None:
        """`place ← value`; what `place` has no bits for goes to its carry."""
        carry = self._beside(place).carry
        if carry is not None:
            exact = value.values if isinstance(value, Rows) else value
            held, rest = carries.parted(exact, dtype_of(place))
            if isinstance(value, Rows):
                held, rest = value.with_values(held), value.with_values(rest)
            self.assign(carry, rows.assignable(rest))
            value = held
        self.assign(place, rows.assignable(value))
