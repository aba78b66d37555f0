"""The abstract optimizer: the hooks that a subclass writes, and the order of one step.

    gradients → check → drop None → unscale → sum over replicas → merge repeated rows
              → accumulate → clip → decay weights → apply_dense | apply_sparse → average
              → constraint → iterations + 1

`apply` is the first line and the last; `_step` and `_update` are in between.
"""

from __future__ import annotations

import abc
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from keras_textbook_opt import averages, backends, clip, gradients, moving, patterns
from keras_textbook_opt import learning_rate as rates
from keras_textbook_opt import settings as s
from keras_textbook_opt import step as steps
from keras_textbook_opt.backends import Group, Update
from keras_textbook_opt.gradients import Dense, Rows
from keras_textbook_opt.monitor import Statistics
from keras_textbook_opt.settings import LearningRate, Settings
from keras_textbook_opt.state import archive
from keras_textbook_opt.state.loading import Facts, LoadedState, identities_of
from keras_textbook_opt.state.slots import States, VariableState
from keras_textbook_opt.variables import has_value, path_of

if TYPE_CHECKING:
    from typing_extensions import Unpack


class TextbookOptimizer(keras.optimizers.Optimizer, abc.ABC):
    """An optimizer is its slots and its equation; this class does the rest.

    A subclass writes `create_slots` (the state of each variable) and `apply_dense` (the
    equation: arrays in, new arrays out). The gradient that it receives has been
    unscaled, summed over replicas, merged and clipped, and the weights have decayed.

    Args:
        learning_rate: `η` >= 0: a float, a `LearningRateSchedule` (called with the
            number of steps taken), or a callable without arguments.
        **settings: The settings of every optimizer; see `settings.Settings`. A value
            out of its range is a `ValueError`, also when it is assigned later.

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

    built = False  # Keras's own constructor sets it after the first settings
    clipnorm = s.Clip()
    global_clipnorm = s.Clip()
    clipvalue = s.Clip()
    weight_decay = s.Optional(s.Real(at_least=0))
    excluded_from_weight_decay = patterns.Patterns(fixed=True)
    use_ema = s.Boolean(fixed=True)
    ema_momentum = s.Real(at_least=0, at_most=1)
    ema_overwrite_frequency = s.Optional(s.Integer(at_least=1))
    loss_scale_factor = s.Optional(s.Real(above=0))
    gradient_accumulation_steps = s.Optional(s.Integer(at_least=2, fixed=True))
    learning_rate_multipliers = patterns.Factors()
    sparse_update = s.Choice("exact", "lazy")
    compensate = s.Boolean(fixed=True)
    monitor = s.Boolean(fixed=True)
    name = s.Text()

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "update_step" in vars(cls):
            raise TypeError(
                f"`{cls.__name__}` must override `apply_dense` instead of "
                "`update_step`, which this class does not call."
            )
        cls.__signature__ = s.signature(cls)

    def __init__(
        self, learning_rate: LearningRate | None = None, **settings: Unpack[Settings]
    ):
        rate = rates.given(type(self), learning_rate, settings.pop("lr", None))
        own, of_keras = s.split(type(self), dict(settings))
        with backends.active.on_the_host():
            super().__init__(learning_rate=lambda: 0.0, **of_keras)
        self.excluded_from_weight_decay = own.pop("exclude_from_weight_decay")
        for name, value in own.items():
            setattr(self, name, value)
        gradients.warn_of_lazy(self.sparse_update)
        self._states = States()
        self._loaded = LoadedState()
        self._changed_at: int | None = None  # the step at a change after compilation
        self._lists_variables = False  # among the exclusions from weight decay
        self._retired_rate: keras.Variable | None = None  # replaced by a schedule
        self._learning_rate = rates.stored(self, rate)
        self.statistics: Any = Statistics() if self.monitor else None

    # The hooks. Each reads its arguments and assigns nothing.

    def create_slots(self, variables: list) -> None:
        """Call `add_slot(variable, name)` for each slot of each variable."""

    @abc.abstractmethod
    def apply_dense(self, g, θ, η, *slots: Any, **_: Any) -> Any:
        """The equation: from the gradient and the old values to the new values.

        `g`, the gradient, `θ` and the slots are tensors of one shape, in float32 or
        float64; `η` is the scalar that `step_size` returned. Return the new `θ`,
        followed by the new slots in the order of their creation.
        """

    def apply_sparse(self, g: Rows, θ, η, *slots: Any, **_: Any) -> Any:
        """The equation for a gradient that is zero outside the rows that it lists.

        With `sparse_update="exact"`, it runs on all rows; with `"lazy"`, on these.
        """
        if self.sparse_update == "lazy":
            return self.on_rows(g, θ, η, *slots)
        old = self._state_of(θ).read(θ)
        return self.apply_dense(g.to_dense(θ.shape), old, η, *slots)

    def step_size(self, η, t):
        """The `η` that `apply_dense` receives in step `t = 1, 2, …`; computed once."""
        return η

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, from the attributes of the same names.

        Raises:
            ValueError: An argument has no such attribute.
        """
        of_keras = super().get_config()
        known = of_keras | patterns.rules(self) | {"lr": of_keras["learning_rate"]}
        return s.config(self, known)

    # Settings.

    @property
    def learning_rate(self):
        """`η` of the next step. A schedule can be assigned, and a float to a float."""
        return rates.scalar(super().learning_rate)

    @learning_rate.setter
    def learning_rate(self, learning_rate):
        old, new = self._learning_rate, rates.checked(learning_rate)
        if callable(new):
            self._note_change()
            self._retired_rate = self._retired_rate if callable(old) else old
            self._learning_rate = new
        else:
            rates.assign(old, new)

    lr = learning_rate

    def exclude_from_weight_decay(self, var_list=None, var_names=None) -> None:
        """Exclude variables from weight decay: by their paths, or by patterns of paths.

        Call this before `build`.
        """
        paths = [f"^{path_of(v)}$" for v in gradients.check_variables(var_list or ())]
        names = patterns.Patterns().checked("var_names", var_names) or []
        self.excluded_from_weight_decay = [*paths, *names] or None
        self._lists_variables = bool(paths)

    def _setting_changes(self, setting: s.Setting) -> None:
        """Raise a `ValueError` if `setting` cannot change any more."""
        if self.built and setting.fixed:
            raise ValueError(s.FIXED.format(setting.name))
        self._note_change()

    def _patterns_change(self) -> None:
        """Set the factor of each variable anew, and whether it decays."""
        if self.built:
            self._states.apply_patterns(self._states, patterns.rules(self))

    def _note_change(self) -> None:
        """Remember when something changed that a compiled step does not follow."""
        if self.built:
            self._changed_at = steps.number(self._iterations)

    # State.

    def build(self, variables) -> None:
        """Create the state of `variables`; one that is listed twice has one state."""
        if not variables:
            self._loaded.loader_built_nothing = True
        elif not self.built:
            backends.active.outside_the_step(lambda: self._follow(variables))
            self._loaded.warn_if_lost(self._states)

    def set_variables(self, variables) -> None:
        """Follow a model whose trainable variables have changed.

        Call `set_variables(model.trainable_variables)` after freezing, unfreezing,
        `enable_lora` or `quantize`, and then compile the model again. Known variables
        keep their state, new ones start fresh, and all other state is dropped.
        """
        if not self.built or backends.active.is_traced():
            raise ValueError("Use `set_variables` after `build`, not in `tf.function`.")
        self._resolve()
        self._follow(variables)
        self._note_change()

    def add_variables(self, variables) -> None:
        """Deprecated: the former name of `set_variables`."""
        text = "Use `set_variables`, with the whole list of variables."
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        self.set_variables(variables)

    def _follow(self, variables) -> None:
        """Keep the state of known variables, and create that of new ones."""
        found = {self._var_key(v): v for v in gradients.check_variables(variables)}
        old = self._states
        self._states = states = old.following(found)
        try:
            accumulates = self.gradient_accumulation_steps is not None
            states.create(self.use_ema, self.compensate, accumulates)
            self.create_slots([x.variable for x in states if not x.is_overwritten])
        except BaseException:
            self._states = old
            raise
        # Keras's tracker would add the variables to the optimizer's own.
        self.__dict__["_trainable_variables"] = states.variables
        write, read = partial(identities_of, states), self._loaded.read_identities
        everything = states.all_variables
        self._checkpointed = backends.active.checkpointed(everything, write, read)
        self.built = True
        states.apply_patterns(set(states) - set(old), patterns.rules(self))

    def add_slot(self, variable, name: str, initializer="zeros"):
        """Create the slot `name` of `variable`, with its shape and compute dtype."""
        vars(self._states).pop("all_variables", None)  # it is cached
        return self._state_of(variable).add_slot(name, initializer)

    def get_slot(self, variable, name: str):
        """The slot `name` of `variable`; a `ValueError` if there is none."""
        self._resolve()
        return self._state_of(variable).slot(name)

    def _state_of(self, variable) -> VariableState:
        gradients.check_variables([variable])
        return self._states.of(self._var_key(variable), variable)

    def _states_of(self, variables: list) -> list[VariableState]:
        is_everything = self._states.are_of(variables)
        return list(self._states if is_everything else map(self._state_of, variables))

    @property
    def variables(self) -> list:
        """The state: the optimizer's own variables first, then kind by kind.

        Before the first step after a load, this assigns the entries that match by now.
        """
        if not hasattr(self, "_states"):  # Keras's own constructor asks
            return super().variables
        self._resolve()
        return self._everything()

    def _everything(self) -> list:
        statistics = [self.statistics.variable] if self.statistics else []
        return [*self._own(), *self._states.all_variables, *statistics]

    def _own(self) -> list:
        """The optimizer's own variables, such as the count of steps."""
        return [v for v in super().variables if v is not self._retired_rate]

    def reset_state(self) -> None:
        """Set the count of steps to 0, and every slot to its initial value."""
        self._loaded = LoadedState()
        self._iterations.assign(0)
        for state in self._states:
            state.reset()

    # Saving and loading.

    def save_own_variables(self, store) -> None:
        """Write the state; one that was loaded and never used is written unchanged."""
        self._resolve()
        now = archive.saved_of(*self._facts(), self._states)
        if not self.built:
            now = self._loaded.to_save(now, self._lists_variables)
        archive.write(now, store)

    def load_own_variables(self, store) -> None:
        """Read the state: that of a variable goes to the one that received its weights.

        A corrupted file is a `ValueError`, and nothing has changed.
        """
        self._loaded.load(archive.read(store), self._states, self._facts())

    def set_weights(self, weights) -> None:
        """Set the values of `variables`, a list in their order."""
        variables = self._everything() if self.built else []
        self._loaded.set_weights(weights, variables, self._states, self._facts())

    def _facts(self) -> Facts:
        class_name = keras.saving.get_registered_name(type(self))
        own = archive.by_name(self._own())
        return Facts(class_name, own, patterns.rules(self))

    def _resolve(self, for_good: bool = False) -> None:
        """Assign the entries of a loaded state that match the variables by now."""
        loaded, states = self._loaded, self._states
        if not (self.built and loaded.is_due(for_good)):
            return
        if all(map(has_value, states.variables)):
            facts = self._facts()
            backends.active.outside_the_step(
                lambda: loaded.assign(states, facts, for_good)
            )
        if for_good:
            loaded.drop()

    from_keras = classmethod(moving.from_keras)
    to_keras = moving.to_keras

    # The step.

    @backends.active.without_autograph
    def apply(self, grads, trainable_variables=None) -> None:
        """Take one step: update each variable with its gradient.

        A gradient is a tensor, an array, a list of numbers, `tf.IndexedSlices` or
        `None`, of its variable's shape and of a floating-point dtype: else a
        `ValueError` is raised, and nothing has changed.
        """
        grads, given = list(grads), trainable_variables
        if not grads:
            return
        given = self._states.variables if given is None else list(given)
        if not self.built:
            gradients.check_variables(given)
        grads, variables = gradients.present(grads, given)
        states = self._states_of(variables) if self.built else []
        grads = gradients.checked(grads, variables)
        if not self.built:
            self.build(given)
            states = self._states_of(variables)
        self._resolve(for_good=True)
        self._changed_at = None
        if self.loss_scale_factor is not None:
            grads = [g * (1 / self.loss_scale_factor) for g in grads]
        n, count = self.gradient_accumulation_steps, self._iterations
        grads, states = steps.overwritten(grads, states, n, count)
        grads = backends.active.sum_over_replicas(grads)
        if n or self.ema_overwrite_frequency:
            backends.active.across_replicas(lambda g: self._step(g, states), grads)
        else:
            self._step(grads, states)
        for θ in variables:
            if getattr(θ, "constraint", None) is not None:
                θ.assign(θ.constraint(θ))
        backends.active.assign_add(self._iterations, 1)

    def stateless_apply(self, optimizer_variables, grads, trainable_variables):
        """Take a step on values of the variables and of `variables`, in order."""
        if self.built:
            gradients.check_values(list(trainable_variables), self._states.variables)
        self._loaded.drop()  # `optimizer_variables` were read from `variables`
        # Without a copy, a backend could update these tensors in place.
        own, θ = (map(ops.copy, x) for x in (optimizer_variables, trainable_variables))
        return super().stateless_apply(list(own), grads, list(θ))

    def _step(self, grads: list, states: list[VariableState]) -> None:
        n = self.gradient_accumulation_steps
        if n is None:
            self._update(grads, states)
        else:
            steps.accumulate(grads, states)
            is_due = ops.equal((self._iterations + 1) % n, 0)
            self._branch(is_due, lambda: self._update_with_means(n, states))

    def _update_with_means(self, n: int, received: list[VariableState]) -> None:
        """Update each variable that received a gradient in one of `n` micro-batches."""
        states = [state for state in self._states if not state.is_overwritten]
        grads = [state.mean(n, self.sparse_update == "lazy") for state in states]
        self._update(grads, states, uncertain=set(states) - set(received))
        for state in states:
            state.clear_accumulator()

    def _update(self, grads: list, states: list, uncertain: Any = frozenset()) -> None:
        with backends.active.on_the_host():
            η = self.learning_rate
        clips = clip.Clips(self.clipnorm, self.global_clipnorm, self.clipvalue)
        grads = clip.clipped(grads, clips, self.statistics, η)
        if backends.active.has_rows:
            grads = list(map(self._densified, grads, states))
        for g, group in steps.grouped(grads, states, uncertain):
            run = partial(self._run, g, group, η)
            if group[0] in uncertain:
                self._branch(ops.any(ops.not_equal(group[0].accumulator, 0)), run)
            else:
                run()
        if self.use_ema:
            self._average()

    def _run(self, grads: list, states: list[VariableState], η: Any) -> None:
        """Update a group: with a kernel, if the backend has one of this equation."""
        group = Group(grads, states, *self._scalars(η, states[0]))
        equation, fallback = type(self).apply_dense, self._update_one
        backends.active.run(equation, vars(self), group, fallback)

    def _scalars(self, η: Any, state: VariableState) -> tuple:
        """`η·λ` and the step size, for the group of `state`, with its factor."""
        with backends.active.on_the_host():
            η = ops.cast(η, state.dtype)
            η = η if state.factor == 1 else η * state.factor
            λ = self.weight_decay if state.decays else None
            decay = η * λ if λ else None
            if type(self).step_size is TextbookOptimizer.step_size:
                return decay, η
            t = ops.cast(ops.convert_to_tensor(self.iterations) + 1, state.dtype)
            return decay, self.step_size(η, t)

    def _densified(self, g: Dense | Rows, state: VariableState) -> Dense | Rows:
        """Rows as a dense gradient, if `apply_sparse` would only densify them."""
        if isinstance(g, Dense) or self.sparse_update == "lazy":
            return g
        if type(self).apply_sparse is not TextbookOptimizer.apply_sparse:
            return g
        return Dense(g.to_dense(state.variable.shape))

    def _update_one(self, update: Update) -> None:
        """One variable's update in plain `keras.ops`."""
        if isinstance(update.g, Rows):
            steps.update_rows(update, self.apply_sparse, self.sparse_update == "lazy")
        else:
            steps.update_dense(update, self.apply_dense)

    def on_rows(self, g: Rows, θ, η, *slots) -> tuple:
        """The equation on the rows that `g` lists; the others stay unchanged."""
        old = [self._state_of(θ).read(θ, g), *(g.take(slot) for slot in slots)]
        new = self.apply_dense(g.values, old[0], η, *old[1:])
        return tuple(g.with_values(value) for value in steps.as_tuple(new, len(old)))

    def _branch(self, condition: Any, then: Callable[[], None]) -> None:
        places = [*self._states.variables, *self._everything()]
        backends.active.branch(condition, then, places)

    # Averages.

    def _average(self) -> None:
        states, n = list(self._states), self.ema_overwrite_frequency
        averages.update(states, ops.equal(self.iterations, 0), self.ema_momentum)
        if n is not None:
            is_due = ops.equal((self.iterations + 1) % n, 0)
            self._branch(is_due, lambda: averages.overwrite(states))

    def finalize_variable_values(self, var_list) -> None:
        """End a training: with `use_ema`, the averages replace the variables."""
        variables = list(var_list)
        if not all(map(has_value, variables)):
            return  # `fit` has failed on JAX
        steps.check_compiled(self._changed_at, self._iterations)
        states = self._states_of(variables) if self.built else []
        self._resolve()
        if self._has_averages():
            averages.overwrite(states)

    def _has_averages(self) -> bool:
        """Whether the averages have seen an update."""
        return self.use_ema and steps.number(self.iterations) > 0

    @property
    def _model_variables_moving_average(self) -> list:
        """The averages, which `keras.callbacks.SwapEMAWeights` swaps with variables."""
        self._resolve()
        return averages.swappable(self._states, self._has_averages())


TextbookOptimizer.__signature__ = s.signature(TextbookOptimizer)
