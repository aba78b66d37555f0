"""The abstract optimizer: the hooks that a subclass writes, and the order of one step.

    gradients → check → drop None → unscale → sum over replicas → merge repeated rows
              → accumulate → clip → decay weights → apply_dense | apply_sparse → average
              → constraint → iterations + 1

`apply` is the first line and the last; `_step`, `_update` and `_take` are in between.
"""

from __future__ import annotations

import abc
import inspect
import warnings
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from keras_textbook_opt import backends, clip, gradients, moving, patterns, settings
from keras_textbook_opt import learning_rate as rates
from keras_textbook_opt.backends import Update
from keras_textbook_opt.gradients import Dense, Rows
from keras_textbook_opt.monitor import Statistics
from keras_textbook_opt.settings import (
    Boolean,
    Choice,
    Clip,
    Integer,
    LearningRate,
    Optional,
    Real,
    Settings,
    Text,
)
from keras_textbook_opt.state import archive, restore
from keras_textbook_opt.state.loading import LoadedState, written_list
from keras_textbook_opt.state.slots import (
    ACCUMULATOR,
    AVERAGE,
    CARRY,
    SLOT,
    States,
    VariableState,
    assign,
)
from keras_textbook_opt.variables import has_value, is_narrow, path_of

if TYPE_CHECKING:
    from typing_extensions import Unpack


class TextbookOptimizer(keras.optimizers.Optimizer, abc.ABC):
    """An optimizer is its slots and its equation; this class does the rest.

    A subclass writes `create_slots` (the state of each variable) and `apply_dense` (the
    equation: arrays in, new arrays out). The gradient that it receives has been
    unscaled, summed over replicas, merged and clipped, and the weights have decayed:
    `θ ← θ − η·λ·θ`, with the weight decay `λ` (Loshchilov & Hutter 2019, "Decoupled
    Weight Decay Regularization").

    Args:
        learning_rate: `η` >= 0: a float, a `LearningRateSchedule` (called with the
            number of steps taken), or a callable without arguments. `lr` is another
            name for it.
        clipnorm: `c` or `None`. Each variable's gradient becomes `g·c/max(‖g‖₂, c)`.
        global_clipnorm: `c` or `None`. The same, with one norm over all gradients.
        clipvalue: `c` or `None`. Each element of a gradient is clipped to `[−c, c]`.
            Only one of the three clips can be set, to a `c` in `[1e-18, 1e18]`.
        weight_decay: `λ` >= 0 or `None`.
        exclude_from_weight_decay: A list of patterns, such as `["bias", "norm"]`. A
            variable in whose path one of them is found does not decay. A pattern is
            text, in which `*` stands for any characters, `^` for the start and `$` for
            the end of the path.
        use_ema: Whether to keep an exponential moving average of each variable, which
            replaces the variable at the end of training. An average starts at its
            variable's value.
        ema_momentum: The decay rate of the average, in `[0, 1]`.
        ema_overwrite_frequency: The number of updates, >= 1, after which the average
            replaces the variable during training; `None` for never.
        loss_scale_factor: > 0 or `None`. The loss is multiplied by it, the gradients
            are divided by it.
        gradient_accumulation_steps: An integer `n` >= 2 or `None`. Variables are updated
            once in `n` micro-batches, with the mean of their gradients: as with one
            batch `n` times as large. Schedules count micro-batches. Those left over at
            the end of an epoch count for the first update of the next.
        learning_rate_multipliers: A dict of patterns, each with a factor of `η` >= 0,
            or a list of its pairs. The first pattern found in a variable's path counts;
            1 if none is. The weight decay is scaled as well. A factor of 0 leaves the
            variable and its slots unchanged.
        sparse_update: How to treat rows of an embedding that the batch did not use.
            `"exact"`: their gradient is zero, so that moments decay and `θ` still moves.
            `"lazy"`: they are left unchanged, and a step costs only the rows in use.
            Only TensorFlow has sparse gradients; elsewhere `"lazy"` equals `"exact"`.
        compensate: Whether a variable of 16 bits carries what it rounds off to the next
            step (Kahan 1965, "Further remarks on reducing truncation errors"), for 4
            bytes an element. Without it, small steps are lost.
        monitor: Whether to record what `OptimizerMonitor` shows.
        name: The optimizer's name.

    Raises:
        ValueError: An argument is unknown, out of its range or of another type. So does
            an assignment to the attribute of the same name.

    Example:
        Sign descent, `θ ← θ − η·sign(g)`:

        >>> import keras
        >>> from keras_textbook_opt import TextbookOptimizer
        >>> class SignDescent(TextbookOptimizer):
        ...     def apply_dense(self, g, θ, η):
        ...         return θ - η * keras.ops.sign(g)
        >>> θ = keras.Variable([1.0, 2.0])
        >>> SignDescent(0.5).apply([[3.0, -4.0]], [θ])
        >>> θ.numpy().tolist()
        [0.5, 2.5]
    """

    clipnorm = Clip()
    global_clipnorm = Clip()
    clipvalue = Clip()
    weight_decay = Optional(Real(at_least=0))
    undecayed_patterns = patterns.Patterns(fixed=True)
    use_ema = Boolean(fixed=True)
    ema_momentum = Real(at_least=0, at_most=1)
    ema_overwrite_frequency = Optional(Integer(at_least=1))
    loss_scale_factor = Optional(Real(above=0))
    gradient_accumulation_steps = Optional(Integer(at_least=2, fixed=True))
    learning_rate_multipliers = patterns.Factors()
    sparse_update = Choice("exact", "lazy")
    compensate = Boolean(fixed=True)
    monitor = Boolean(fixed=True)
    name = Text()

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls.__signature__ = settings.signature(cls)

    def __init__(self, learning_rate: LearningRate, **more: Unpack[Settings]):
        rate = rates.given(type(self), learning_rate, more.pop("lr", None))
        own, of_keras = settings.split(type(self), more)
        with backends.active.on_the_host():
            super().__init__(learning_rate=lambda: 0.0, **of_keras)
        self.undecayed_patterns = own.pop("exclude_from_weight_decay")
        for name, value in own.items():
            setattr(self, name, value)
        self._states = States()
        self._loaded = LoadedState()
        self._undecayed: dict[Any, Any] = {}  # variables excluded themselves, by key
        self._is_stateless = False
        self._changed_at: int | None = None  # the step of a change that a graph misses
        self._retired_rate: keras.Variable | None = None  # replaced by a schedule
        self._statistics = Statistics() if self.monitor else None
        self._learning_rate = rate if callable(rate) else self._new_rate(rate)
        if self.use_ema:
            self._states.average_count = self.add_variable(
                (), "zeros", "int32", "only_first_replica", name="average_count"
            )

    def _new_rate(self, rate: float) -> keras.Variable:
        initializer = keras.initializers.Constant(rate)
        dtype, aggregation = rates.kept_dtype(), "only_first_replica"
        with backends.active.on_the_host():
            return self.add_variable(
                (), initializer, dtype, aggregation, name="learning_rate"
            )

    # The hooks. Each reads its arguments and assigns nothing.

    def create_slots(self, variables: list) -> None:
        """Call `add_slot(variable, name)` for each slot of each variable."""

    @abc.abstractmethod
    def apply_dense(self, g, θ, η, *slots: Any, **_: Any) -> Any:
        """The equation: from the gradient and the old values to the new values.

        Args:
            g: The gradient, a tensor of the shape of `θ`, float32 or float64.
            θ: The variable's value.
            η: What `step_size` returned for this step, a scalar.
            slots: The variable's slots, in the order of their creation.

        Returns:
            The new `θ`, followed by the new slots in their order.
        """

    def apply_sparse(self, g: Rows, θ, η, *slots: Any, **_: Any) -> Any:
        """The equation for a gradient that is zero outside the rows that it lists.

        It runs on the dense gradient (`sparse_update="exact"`) or only on the rows
        (`"lazy"`).
        """
        if self.sparse_update == "lazy":
            return self.on_rows(g, θ, η, *slots)
        return self.apply_dense(g.to_dense(θ.shape), θ, η, *slots)

    def step_size(self, η, t):
        """What `apply_dense` receives as `η` in step `t = 1, 2, …`; computed once."""
        return η

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, from the attributes of the same names.

        Raises:
            ValueError: An argument has no such attribute.
        """
        of_keras = super().get_config()
        factors = self.learning_rate_multipliers
        known = of_keras | {
            "lr": of_keras["learning_rate"],
            "exclude_from_weight_decay": self.undecayed_patterns,
            # Pairs: JSON may sort the keys of a dict, and the first pattern counts.
            "learning_rate_multipliers": factors and [*map(list, factors.items())],
        }
        names = inspect.signature(type(self)).parameters
        return {n: known[n] if n in known else self._argument(n) for n in names}

    def _argument(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise ValueError(
                f"`{type(self).__name__}` takes the argument `{name}` and has no "
                f"attribute `{name}`: set it in the constructor, or override "
                "`get_config`."
            ) from None

    # Settings.

    @property
    def learning_rate(self):
        """`η` of the next step. A float can be assigned to a float, a schedule always."""
        return rates.scalar(super().learning_rate)

    @learning_rate.setter
    def learning_rate(self, learning_rate):
        rate = rates.checked(learning_rate)
        if callable(rate):
            self._note_change()
            if not callable(self._learning_rate):
                self._retired_rate = self._learning_rate
            self._learning_rate = rate
        elif callable(self._learning_rate):
            raise TypeError(
                "`learning_rate` is a schedule or a callable, which a number does not "
                "replace. Use a float rate, such as `Adam(1e-3)`, to assign the rate "
                f"later or to use `ReduceLROnPlateau`. Received: {rate!r}"
            )
        else:
            with backends.active.on_the_host():
                self._learning_rate.assign(rate)

    @property
    def lr(self):
        """Another name for `learning_rate`."""
        return self.learning_rate

    @lr.setter
    def lr(self, learning_rate):
        self.learning_rate = learning_rate

    def exclude_from_weight_decay(self, var_list=None, var_names=None) -> None:
        """Exclude variables from weight decay, before the optimizer is built.

        Each replica may call this; repeating the same call has no effect.

        Args:
            var_list: A list of variables. They are kept in the state, not in the config.
            var_names: A list of patterns, as `exclude_from_weight_decay` of the
                constructor takes them.

        Raises:
            ValueError: The optimizer is built, and would decay other variables.
        """
        listed = {self._var_key(variable): variable for variable in var_list or ()}
        names = patterns.Patterns().checked("var_names", list(var_names or ())) or None
        if self.built and listed.keys() != self._undecayed.keys():
            raise ValueError(
                "Call `exclude_from_weight_decay` before the optimizer is built."
            )
        self.undecayed_patterns = names
        self._undecayed = listed

    def setting_changes(self, setting: settings.Setting) -> None:
        """Raise a `ValueError` if `setting` cannot change any more."""
        if getattr(self, "built", False) and setting.fixed:
            raise ValueError(
                f"`{setting.name}` cannot change after the optimizer is built, since "
                "the state depends on it. Make a new optimizer."
            )
        self._note_change()

    def _note_change(self) -> None:
        """Remember when what a compiled step knows has changed."""
        if getattr(self, "built", False):
            self._changed_at = self._steps_taken()

    def _steps_taken(self) -> int:
        return int(ops.convert_to_numpy(ops.convert_to_tensor(self._iterations)))

    # State.

    def build(self, variables) -> None:
        """Create the state of `variables`; one that is listed twice has one state.

        Raises:
            ValueError: A variable is not of a floating-point dtype.
        """
        if not self.built and variables:
            backends.active.outside_the_step(lambda: self._follow(variables))
            self.built = True

    def set_variables(self, variables) -> None:
        """Follow a model whose trainable variables have changed.

        Call `set_variables(model.trainable_variables)` after a layer was frozen or
        unfrozen, after `enable_lora` or `quantize`, and then compile the model again.
        Known variables keep their state, new ones start with a fresh state, and the
        state of variables that are not in the list is dropped.

        Args:
            variables: The whole list, in the order of the model.

        Raises:
            ValueError: The optimizer is not built, or a variable is not of a
                floating-point dtype, or a function is being traced. Nothing has changed.
        """
        if not self.built:
            raise ValueError("Call `build(variables)` before `set_variables`.")
        if backends.active.is_traced():
            raise ValueError(
                "Call `set_variables` outside of `tf.function`, and trace the step again."
            )
        self._resolve()
        self._follow(variables)
        self._note_change()

    def add_variables(self, variables) -> None:
        """Deprecated: the former name of `set_variables`."""
        warnings.warn(
            "`add_variables` is now `set_variables`, with the whole list of variables.",
            DeprecationWarning,
            stacklevel=2,
        )
        self.set_variables(variables)

    def _follow(self, variables) -> None:
        """Have the state of these variables: that which is there, else a fresh one."""
        gradients.check_variables(variables)
        old, given = self._states, {self._var_key(v): v for v in variables}
        self._states = old.following(given)
        new = [state for key, state in self._states.items() if key not in old]
        try:
            self._create(self._states, new)
        except BaseException:
            self._states = old
            raise
        # Past Keras's tracker, which would take the variables for the optimizer's own.
        vars(self)["_trainable_variables"] = self._states.variables
        self.patterns_change()
        states = self._states  # not `self`, which would be a reference cycle
        self._checkpointed = backends.active.checkpointed(
            states.kept(), lambda: written_list(states), self._loaded.read_list
        )

    def _create(self, states: States, new: list[VariableState]) -> None:
        stepping = [state for state in new if not state.is_overwritten]
        for state in stepping:
            if self.use_ema:
                state.average = state.add(AVERAGE)
            if self.compensate and is_narrow(state.variable):
                state.carry = state.add(CARRY)
        if self.gradient_accumulation_steps:
            for state in new:
                state.accumulator = state.add(ACCUMULATOR)
        self.create_slots([s.variable for s in states if not s.is_overwritten])
        for state in stepping:
            state.start_average()

    def patterns_change(self) -> None:
        """Set the factor of each variable anew, and whether it decays."""
        states = list(getattr(self, "_states", ()))
        if states:
            factors = self.learning_rate_multipliers
            patterns.warn_if_unused(factors, [state.path for state in states])
            undecayed = set(self._undecayed)
            self._states.apply_patterns(factors, self.undecayed_patterns, undecayed)

    def add_slot(self, variable, name: str, initializer="zeros"):
        """Create the slot `name` of `variable`, with its shape and compute dtype.

        Raises:
            ValueError: `variable` is not one of those that `create_slots` received.
        """
        state, kind = self._state_of(variable), SLOT + name
        if name not in state.slots:
            state.initializers[kind] = keras.initializers.get(initializer)
            state.slots[name] = state.add(kind, state.initializers[kind])
        return state.slots[name]

    def get_slot(self, variable, name: str):
        """The slot `name` of `variable`, a `keras.Variable`.

        Raises:
            ValueError: The optimizer is not built, or has no such slot or variable.
        """
        if not self.built:
            raise ValueError("Call `build(variables)`, or take a step, before `get_slot`.")
        self._resolve()
        slots = self._state_of(variable).slots
        if name not in slots:
            raise ValueError(
                f"'{path_of(variable)}' has no slot {name!r}. Its slots are: "
                f"{', '.join(map(repr, slots)) or 'none'}"
            )
        return slots[name]

    def _state_of(self, variable) -> VariableState:
        gradients.check_variables([variable])
        key = self._var_key(variable)
        if key not in self._states:
            raise ValueError(
                f"Unknown variable '{path_of(variable)}'. If you unfroze a layer or "
                "enabled LoRA, call `optimizer.set_variables(model.trainable_variables)`"
                " and compile the model again. An optimizer serves one model: make a "
                "new one for another model."
            )
        return self._states[key]

    @property
    def variables(self) -> list:
        """The state: what belongs to no variable first, then kind by kind.

        While a loaded state is not assigned for good, this assigns what is known.
        """
        if not hasattr(self, "_states"):  # Keras's own constructor asks
            return super().variables
        self._resolve()
        return self._everything()

    def _everything(self) -> list:
        statistics = [self._statistics.variable] if self._statistics else []
        return [*self._own().values(), *self._states.kept(), *statistics]

    def _own(self) -> dict[str, Any]:
        """What belongs to no variable, such as the count of steps, by its name."""
        variables = [v for v in super().variables if v is not self._retired_rate]
        names = [variable.name for variable in variables]
        return {
            name if names.count(name) == 1 else f"{name}.{k}": variable
            for k, (name, variable) in enumerate(zip(names, variables))
        }

    def reset_state(self) -> None:
        """Set the count of steps to 0, and every slot to its initial value."""
        self._loaded.drop()
        self._iterations.assign(0)
        if self._states.average_count is not None:
            self._states.average_count.assign(0)
        for state in self._states:
            state.reset()

    # Saving and loading.

    def save_own_variables(self, store) -> None:
        """Write the state; one that was loaded and never used is written unchanged."""
        self._resolve()
        own = self._own()
        if not self.built and self._undecayed:
            warnings.warn(
                "Variables that `exclude_from_weight_decay(var_list=…)` lists are saved "
                "with the state, which is not built: call `build(variables)` first, or "
                "exclude them with patterns.",
                stacklevel=2,
            )
        now = archive.saved_of(self._class_name(), own, self._rules(), self._states)
        archive.write(now if self.built else self._loaded.to_write(now), store)

    def load_own_variables(self, store) -> None:
        """Read the state.

        The count of steps and the learning rate are assigned at once. The state of a
        variable is assigned to the variable that received its weights: now, if the
        weights are here and tell; else when it is first used.

        Raises:
            ValueError: The file is corrupted or of a newer format. Nothing has changed.
        """
        saved = archive.read(store)
        if saved is None:
            warnings.warn(
                f"The file has no state for the optimizer '{self.name}', which keeps its "
                "own. Save the model with its optimizer to resume training.",
                stacklevel=2,
            )
        elif not saved.class_name:
            warnings.warn(restore.FROM_KERAS, stacklevel=2)
        else:
            self._load(saved)

    def set_weights(self, weights) -> None:
        """Set the values of `variables`, a list in their order.

        Raises:
            ValueError: A value is missing or of another shape. Nothing has changed.
        """
        if self.built:
            restore.assign_all(self._everything(), weights)
            self._loaded = LoadedState()
        else:
            self._load(restore.numbered(weights, self._class_name(), self._own()))

    def _load(self, saved: archive.Saved) -> None:
        own, rules = self._own(), self._rules()
        self._loaded.load(saved, self._class_name(), own, self._states, rules)

    def _resolve(self, for_good: bool = False) -> None:
        """Assign a loaded state as far as the variables tell whose it is."""
        loaded, states = self._loaded, self._states
        is_due = loaded.saved is not None or (for_good and loaded.listed is not None)
        if not (is_due and self.built):
            return
        rules = self._rules()
        backends.active.outside_the_step(lambda: loaded.assign(states, rules, for_good))
        if for_good:
            loaded.drop()

    def _class_name(self) -> str:
        return keras.saving.get_registered_name(type(self))

    def _rules(self) -> dict[str, Any]:
        """The patterns, as a file has them."""
        factors = self.learning_rate_multipliers or {}
        return {
            "learning_rate_multipliers": [[p, f] for p, f in factors.items()],
            "exclude_from_weight_decay": list(self.undecayed_patterns or ()),
        }

    @classmethod
    def from_keras(cls, optimizer):
        """Make one of a built-in: its hyperparameters, its step count and its slots.

        The next step is the one that `optimizer` would take, to the rounding of float32.

        Args:
            optimizer: An instance of `keras.optimizers.SGD` for `SGD` and `Momentum`, of
                `Adam` or `AdamW` for `Adam`.

        Raises:
            ValueError: It is of another class, or a hyperparameter has no counterpart.
        """
        return moving.from_keras(optimizer, cls)

    def to_keras(self):
        """The built-in optimizer that takes the next step that this one would take.

        Raises:
            ValueError: A hyperparameter has no counterpart there.
        """
        self._resolve()
        return moving.to_keras(self)

    # The step.

    def apply(self, grads, trainable_variables=None) -> None:
        """Take one step: update each variable with its gradient.

        Args:
            grads: One gradient for each variable: a tensor, an array, a list of numbers,
                `tf.IndexedSlices` or `None`, of the variable's shape and of a
                floating-point dtype.
            trainable_variables: The variables, in the order of their gradients; those
                that the optimizer was built with if `None`.

        Raises:
            ValueError: A gradient does not fit its variable. Nothing has changed.
        """
        grads = list(grads)
        if not grads:
            return
        given = self._given(trainable_variables)
        grads, variables = gradients.present(grads, given)
        grads = gradients.checked(grads, variables)
        self.build(given)
        states = self._states_of(variables)
        self._resolve(for_good=True)
        self._changed_at = None
        if self.loss_scale_factor is not None:
            grads = [g * (1 / self.loss_scale_factor) for g in grads]
        grads, states = self._overwrite(grads, states)
        grads = backends.active.sum_over_replicas(grads)
        if self.gradient_accumulation_steps or self.ema_overwrite_frequency:
            backends.active.once_for_all_replicas(lambda g: self._step(g, states), grads)
        else:
            self._step(grads, states)
        for θ in variables:
            if getattr(θ, "constraint", None) is not None:
                θ.assign(θ.constraint(θ))
        with backends.active.on_the_host():
            self._iterations.assign_add(1)

    def stateless_apply(self, optimizer_variables, grads, trainable_variables):
        """Take a step on values: of the variables, and of `variables`, in their order.

        Raises:
            ValueError: The values are not those of this optimizer's variables.
        """
        values = list(trainable_variables)
        here = [(tuple(v.shape), v.dtype) for v in self._states.variables]
        if self.built and [_kind(value) for value in values] != here:
            raise ValueError(
                f"Expected values of the variables {self._states.paths()}, of shapes and "
                f"dtypes {here}. Received: {[*map(_kind, values)]}. If the model has "
                "other trainable variables now, call `optimizer.set_variables(model."
                "trainable_variables)` and compile it again. An optimizer serves one "
                "model: make a new one for another model."
            )
        self._loaded.drop()  # whoever has the values has read `variables`
        self._is_stateless = True  # the variables themselves must not be touched
        try:
            return super().stateless_apply(optimizer_variables, grads, values)
        finally:
            self._is_stateless = False

    def _given(self, variables) -> list:
        if variables is not None:
            return list(variables)
        if not self.built:
            raise ValueError(
                "Pass the variables as well, or call `build(variables)` before `apply`."
            )
        return self._states.variables

    def _states_of(self, variables: list) -> list[VariableState]:
        states = list(self._states)
        if [*map(id, variables)] == [id(state.variable) for state in states]:
            return states
        return [self._state_of(variable) for variable in variables]

    def _overwrite(self, grads: list, states: list) -> tuple[list, list]:
        """Handle variables whose gradient is their new value (scales of float8)."""
        if not any(state.is_overwritten for state in states):
            return grads, states
        n, others = self.gradient_accumulation_steps, []
        for g, state in zip(grads, states):
            if not state.is_overwritten:
                others.append((g, state))
            elif n is None:
                state.variable.assign(g.values)
            else:
                # The largest of n micro-batches, as in Keras.
                last = ops.equal((self._iterations + 1) % n, 0)
                largest = ops.maximum(g.values, state.accumulator)
                state.variable.assign(ops.where(last, largest, state.variable))
                state.accumulator.assign(ops.where(last, 0.0, largest))
        return [g for g, _ in others], [state for _, state in others]

    def _step(self, grads: list, states: list[VariableState]) -> None:
        n = self.gradient_accumulation_steps
        if n is None:
            self._update(grads, states)
            return
        for g, state in zip(grads, states):
            state.is_sparse = state.is_sparse or isinstance(g, Rows)
        backends.active.add_to([state.accumulator for state in states], grads)
        due = ops.equal((self._iterations + 1) % n, 0)
        self._branch(due, lambda: self._update_with_means(n, states))

    def _update_with_means(self, n: int, received: list[VariableState]) -> None:
        """Update every variable for which a gradient arrived in `n` micro-batches.

        One without a gradient in the last of them is updated if its sum is not zero.
        """
        states = [state for state in self._states if not state.is_overwritten]
        lazy = self.sparse_update == "lazy"
        grads = [state.mean(n, lazy) for state in states]
        self._update(grads, states, uncertain=set(states) - set(received))
        for state in states:
            state.clear_accumulator()

    def _update(self, grads: list, states: list, uncertain: Any = frozenset()) -> None:
        with backends.active.on_the_host():
            rate = ops.cast(self.learning_rate, self._states.widest_dtype())
            scalars = self._scalars(rate, states)
        grads = self._clipped(grads, rate)
        updates = [
            Update(state.variable, self._in_form(g, state), state, *scalars[state.group])
            for g, state in zip(grads, states)
            if state.factor  # 0 leaves a variable and its slots unchanged
        ]
        self._run([update for update in updates if update.state not in uncertain])
        for update in updates:
            if update.state in uncertain:
                arrived = ops.any(ops.not_equal(update.state.accumulator, 0))
                self._branch(arrived, lambda update=update: self._run([update]))
        if self.use_ema:
            self._average()

    def _scalars(self, rate: Any, states: list[VariableState]) -> dict:
        """`η`, `η·λ` and the step size, for each factor and dtype of the variables."""
        scalars = {}
        λ = self.weight_decay
        for group in dict.fromkeys(state.group for state in states):
            factor, decays, dtype = group
            η = ops.cast(rate, dtype) * factor if factor != 1 else ops.cast(rate, dtype)
            t = ops.cast(self.iterations + 1, dtype)
            decay = η * λ if λ and decays else None
            scalars[group] = (η, decay, self.step_size(η, t))
        return scalars

    def _clipped(self, grads: list, rate: Any) -> list:
        clipnorm, global_clipnorm = self.clipnorm, self.global_clipnorm
        by_norm = clipnorm is not None or global_clipnorm is not None
        squares: list = []
        if by_norm or self._statistics:
            squares = backends.active.squares(grads)
        if self._statistics:
            part = clip.fraction(grads, squares, self)
            self._statistics.record(backends.active.total(squares), part, rate)
        if clipnorm is not None:
            return clip.by_norm(grads, squares, clipnorm)
        if global_clipnorm is not None:
            return clip.by_global_norm(grads, squares, global_clipnorm)
        if self.clipvalue is not None:
            return clip.by_value(grads, self.clipvalue)
        return grads

    def _in_form(self, g: Dense | Rows, state: VariableState) -> Dense | Rows:
        """Rows as a dense gradient, if that is all that `apply_sparse` would make."""
        is_default = type(self).apply_sparse is TextbookOptimizer.apply_sparse
        if isinstance(g, Rows) and is_default and self.sparse_update == "exact":
            return Dense(g.to_dense(state.variable.shape))
        return g

    def _run(self, updates: list[Update]) -> None:
        """Update with a kernel of the backend, if it has one of this equation."""
        if type(self).update_step is not TextbookOptimizer.update_step:
            backends.active.run(None, {}, updates, self._take_by_update_step)
            return
        equation = None if self._is_stateless else type(self).apply_dense
        backends.active.run(equation, vars(self), updates, self._take)

    def _take(self, update: Update) -> None:
        """One variable's update in plain `keras.ops`."""
        θ, g, state = update.θ, update.g, update.state
        if isinstance(g, Rows):
            self._take_rows(update)
            return
        old = state.read(θ)
        if update.decay is not None:
            # θ ← θ − η·λ·θ
            old = old - update.decay * old
        slots = [ops.convert_to_tensor(slot) for slot in state.slots.values()]
        new = self.apply_dense(g.values, old, update.step_size, *slots)
        self._write(update, new)

    def _take_rows(self, update: Update) -> None:
        θ, g, state = update.θ, update.g, update.state
        if update.decay is not None:
            rows = g if self.sparse_update == "lazy" else None
            old = state.read(θ, rows)
            state.write(θ, old - update.decay * old, rows)
        slots = state.slots.values()
        self._write(update, self.apply_sparse(g, θ, update.step_size, *slots))

    def _write(self, update: Update, new: Any) -> None:
        slots = update.state.slots.values()
        first, *others = as_tuple(new, 1 + len(slots))
        update.state.write(update.θ, first)
        for slot, value in zip(slots, others):
            assign(slot, value)

    def on_rows(self, g: Rows, θ, η, *slots) -> tuple:
        """The equation on the rows that `g` lists; the others stay unchanged."""
        old = [self._state_of(θ).read(θ, g), *(g.take(slot) for slot in slots)]
        new = self.apply_dense(g.values, old[0], η, *old[1:])
        return tuple(g.with_values(value) for value in as_tuple(new, len(old)))

    def update_step(self, gradient, variable, learning_rate) -> None:
        """Decay `variable`, then update it and its slots.

        A subclass may override this hook of Keras, for example to pass another rate:
        `super().update_step(gradient, variable, learning_rate * 0.1)`.

        Args:
            gradient: The variable's gradient, clipped: a tensor or `tf.IndexedSlices`.
            variable: The variable, a `keras.Variable` or what the backend has under it.
            learning_rate: `η`, times the factor of the variable: a scalar tensor.
        """
        state, g = self._state_of(variable), gradients.structured(gradient)
        η = ops.cast(learning_rate, state.dtype)
        t = ops.cast(self.iterations + 1, state.dtype)
        decay = η * self.weight_decay if self.weight_decay and state.decays else None
        g = self._in_form(g, state)
        self._take(Update(variable, g, state, η, decay, self.step_size(η, t)))

    def _take_by_update_step(self, update: Update) -> None:
        gradient = update.g.merged().assignable()
        self.update_step(gradient, update.θ, update.rate)

    def _branch(self, condition: Any, then: Any) -> None:
        places = [*self._states.variables, *self._everything()]
        backends.active.branch(condition, then, places)

    # Averages.

    def _average(self) -> None:
        count = self._states.average_count
        # average ← average + (1 − μ)·(θ − average); at first, average ← θ
        rest = ops.where(ops.equal(count, 0), 1.0, 1 - self.ema_momentum)
        averaged = [state for state in self._states if state.average is not None]
        backends.active.average(averaged, rest)
        count.assign_add(1)
        if self.ema_overwrite_frequency:
            due = ops.equal((self.iterations + 1) % self.ema_overwrite_frequency, 0)
            self._branch(due, lambda: self._overwrite_with_averages(averaged))

    def _overwrite_with_averages(self, states: list[VariableState]) -> None:
        for state in states:
            if state.average is not None:
                state.write(state.variable, ops.copy(state.average))

    def finalize_variable_values(self, var_list) -> None:
        """End a training: with `use_ema`, the averages replace the variables.

        Raises:
            ValueError: A compiled step did not know of a change.
        """
        variables = list(var_list)
        if not all(map(has_value, variables)):
            return  # `fit` has failed on JAX
        if self._changed_at is not None and self._steps_taken() > self._changed_at:
            raise ValueError(
                "A setting or the list of variables was changed after the training "
                "step was compiled, which did not follow. Call `model.compile` with "
                "this optimizer again, and train again."
            )
        count = self._states.average_count
        if count is not None and int(ops.convert_to_numpy(count)):
            known = [v for v in variables if self._var_key(v) in self._states]
            self._overwrite_with_averages(self._states_of(known))

    @property
    def _model_variables_moving_average(self) -> list:
        """The averages, which `keras.callbacks.SwapEMAWeights` swaps with variables."""
        if not (self.use_ema and self.built):
            raise AttributeError("The averages are there after `build`, with `use_ema`.")
        self._resolve()
        if any(is_narrow(v) or not v.trainable for v in self._states.variables):
            raise ValueError(
                "`SwapEMAWeights` cannot swap variables of 16 bits, nor variables that "
                "were frozen without `set_variables`, with their averages."
            )
        if not int(ops.convert_to_numpy(self._states.average_count)):
            for state in self._states:
                state.start_average()
        return [state.average for state in self._states]

    # What a monitor shows.

    def statistics(self) -> dict[str, float]:
        """What the steps recorded since `reset_statistics`: see `OptimizerMonitor`.

        Raises:
            ValueError: The optimizer was made without `monitor=True`.
        """
        clips = (self.clipnorm, self.global_clipnorm, self.clipvalue)
        return self._recorded().result(any(c is not None for c in clips))

    def reset_statistics(self) -> None:
        """Start the statistics anew."""
        self._recorded().reset()

    def _recorded(self) -> Statistics:
        if self._statistics is None:
            raise ValueError("Make the optimizer with `monitor=True`.")
        return self._statistics


TextbookOptimizer.__signature__ = settings.signature(TextbookOptimizer)


def _kind(value: Any) -> tuple:
    return tuple(value.shape), keras.backend.standardize_dtype(value.dtype)


def as_tuple(new: Any, count: int) -> tuple:
    """What an equation returned, as a tuple of `count` values."""
    values = tuple(new) if isinstance(new, (tuple, list)) else (new,)
    missing = sum(value is None for value in values)
    if len(values) != count or missing:
        received = f"{len(values)} values, of which {missing} are None"
        raise ValueError(
            "`apply_dense` must return the new variable and then its new slots, "
            f"{count} in all. Received: {received}"
        )
    return values
