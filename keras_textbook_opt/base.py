"""The abstract optimizer: slots, dispatch, and the order of one step.

    gradients → merge repeated rows → unscale → sum over replicas, merge again
              → clip → decay weights → apply_dense | apply_sparse
              → EMA → constraint → iterations + 1

All that is overridden of Keras's private methods is overridden here.
"""

from __future__ import annotations

import abc
import functools
import re
from typing import Any

import keras
from keras import ops

from keras_textbook_opt import (
    clip,
    fused,
    gradients,
    hyperparameters,
    replicas,
    rows,
)
from keras_textbook_opt.gradients import Scaled, compute_dtype, path_of
from keras_textbook_opt.rows import Rows
from keras_textbook_opt.state.exclusions import Exclusions
from keras_textbook_opt.stateful import StatefulOptimizer
from keras_textbook_opt.step import Steps


def accepts_lr(init, then: tuple[str, ...] = ()):
    """Let `lr=` stand for `learning_rate=` in a constructor.

    What a built-in takes by position after the learning rate may be named in `then`,
    for the constructor to refuse it by name.
    """

    @functools.wraps(init)
    def accepting(self, *args, **kwargs):
        if then:
            kwargs = dict(zip(then, args[1:])) | kwargs
            args = args[:1] + args[1 + len(then) :]
        if "lr" in kwargs:
            if args or "learning_rate" in kwargs:
                raise ValueError(
                    "`lr` is another name for `learning_rate`: expected one of the "
                    f"two. Received: lr={kwargs['lr']!r} and learning_rate="
                    f"{kwargs.get('learning_rate', args[0] if args else None)!r}"
                )
            kwargs["learning_rate"] = kwargs.pop("lr")
        init(self, *args, **kwargs)

    return accepting


class TextbookOptimizer(StatefulOptimizer, abc.ABC):
    """An optimizer is its slots and its equation; this class is all the rest.

    A subclass writes `create_slots` (the state beside each variable) and `apply_dense`
    (the equation: arrays in, new arrays out). The gradient that arrives there is
    merged, unscaled, summed over the replicas and clipped, and the weights have
    decayed: `θ ← θ − η·λ·θ`, with the weight decay `λ` (Loshchilov & Hutter 2019,
    "Decoupled Weight Decay Regularization").

    Args:
        learning_rate: `η`, a float >= 0 (or an array or a tensor of one element), a
            `keras.optimizers.schedules.LearningRateSchedule` (called with the number
            of steps taken), or a callable without arguments that returns `η`. `lr` is
            accepted as another name.
        clipnorm: `c` > 0 or `None`. Each variable's gradient becomes
            `g·c/max(‖g‖₂, c)`.
        global_clipnorm: `c` > 0 or `None`. The same, with one norm over the gradients
            of all variables.
        clipvalue: `c` > 0 or `None`. Each element of a gradient is clipped to
            `[−c, c]`. At most one of the three clips may be given.
        weight_decay: `λ` >= 0 or `None`. `exclude_from_weight_decay` names the
            variables that do not decay.
        use_ema: Whether to keep an exponential moving average of each variable, which
            replaces the variable at the end of training.
        ema_momentum: The decay of that average, in `[0, 1]`.
        ema_overwrite_frequency: Steps, an integer >= 1, after which the average
            replaces the variable during training; `None` for never.
        loss_scale_factor: > 0 or `None`. The loss is multiplied by it, the gradients
            are divided by it.
        gradient_accumulation_steps: An integer >= 2 or `None`. Variables are updated
            once in that many steps, with the mean of the gradients.
        compensate: Whether what a variable of 16 bits rounds off is carried to the next
            step (Kahan 1965, "Further remarks on reducing truncation errors"). It costs
            4 bytes for each of its elements, and wider variables nothing. Without it,
            a step of less than half a unit in the last place of `θ` is lost.
        name: The optimizer's name, a string; made from the class's name if `None`.

    Raises:
        ValueError: An argument is unknown, out of its range or of another type, or two
            clips are given.

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

    sparse_update = "exact"

    @accepts_lr
    def __init__(
        self,
        learning_rate: Any,
        *,
        clipnorm: float | None = None,
        global_clipnorm: float | None = None,
        clipvalue: float | None = None,
        weight_decay: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        compensate: bool = True,
        name: str | None = None,
        **unknown: Any,
    ):
        if unknown:
            known = hyperparameters.arguments(type(self), TextbookOptimizer)
            raise ValueError(hyperparameters.unknown(type(self), unknown, known))
        optional, real = hyperparameters.optional, hyperparameters.real
        integer = hyperparameters.integer
        super().__init__(
            learning_rate=_checked_learning_rate(learning_rate),
            clipnorm=optional(real, "clipnorm", clipnorm, above=0),
            global_clipnorm=optional(real, "global_clipnorm", global_clipnorm, above=0),
            clipvalue=optional(real, "clipvalue", clipvalue, above=0),
            weight_decay=optional(real, "weight_decay", weight_decay, at_least=0),
            use_ema=hyperparameters.boolean("use_ema", use_ema),
            ema_momentum=real("ema_momentum", ema_momentum, at_least=0, at_most=1),
            ema_overwrite_frequency=optional(
                integer, "ema_overwrite_frequency", ema_overwrite_frequency, at_least=1
            ),
            loss_scale_factor=optional(
                real, "loss_scale_factor", loss_scale_factor, above=0
            ),
            gradient_accumulation_steps=optional(
                integer,
                "gradient_accumulation_steps",
                gradient_accumulation_steps,
                at_least=2,
            ),
            compensate=hyperparameters.boolean("compensate", compensate),
            name=optional(hyperparameters.text, "name", name),
        )
        self._steps = Steps()

    # The four hooks.

    @abc.abstractmethod
    def apply_dense(self, g, θ, η, *slots):
        """The equation: from the gradient and the old values to the new values.

        Args:
            g: The gradient, a tensor of the shape of `θ`, float32 or float64.
            θ: The variable. It is read here, never assigned.
            η: What `step_size` returned for this step, a scalar.
            slots: The variable's slots. They are read here, never assigned.

        Returns:
            The new `θ`, followed by the new slots in their order.
        """

    @rows.linear
    def apply_sparse(self, g: Rows, θ, η, *slots):
        """The equation for a gradient that names the rows where it is not zero.

        Here every absent row has `gᵢ = 0` and the equation runs on it all the same.
        A class that overrides this gets each row once, in any order.
        """
        return self.dense_step(Scaled(g.to_dense(θ.shape)), θ, η, *slots)

    def get_config(self) -> dict[str, Any]:
        """All arguments of the constructor, such that `from_config` makes a twin."""
        config = super().get_config() | {"compensate": self.compensate}
        if self._excluded:
            written = self._excluded.to_config(self._trainable_variables)
            config["exclude_from_weight_decay"] = written
        if self._state.appended:
            config["variables"] = [path_of(v) for v in self._trainable_variables]
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        excluded = config.pop("exclude_from_weight_decay", None)
        variables = config.pop("variables", ())
        optimizer = super().from_config(config, custom_objects=custom_objects)
        if excluded:
            optimizer._excluded = Exclusions.from_config(excluded)
            optimizer._exclude()
        optimizer._state.order_of_file = tuple(variables)
        return optimizer

    def step_size(self, η, t):
        """What the equation multiplies by in step `t`, computed once for all variables.

        Args:
            η: The learning rate, a scalar of the compute dtype.
            t: The number of the step, starting at 1, of the same dtype.
        """
        return η

    # The order of one step.

    def apply(self, grads, trainable_variables=None) -> None:
        """Take one step: update each variable with its gradient.

        Args:
            grads: A list with one gradient for each variable: a tensor, an array, a
                list of numbers, `tf.IndexedSlices` or `None`, of the variable's shape
                and of a floating-point dtype.
            trainable_variables: The variables, in the order of their gradients; those
                that the optimizer was built with if `None`.

        Raises:
            ValueError: A gradient does not fit its variable. Nothing has changed then.
        """
        grads = list(grads)
        self._settle()
        self._state.changed_at = None
        variables = trainable_variables
        if variables is None:
            variables = self._trainable_variables
        else:
            trainable_variables = variables = list(variables)
        gradients.check_are_variables(variables)
        if self.built:
            self._check_are_known(variables)
            self._follow_order(variables)
        checks: list = []
        if self.built or trainable_variables is not None:
            grads = self._checked_gradients(grads, variables, checks)
        with rows.after(checks):
            super().apply(grads, trainable_variables)

    def _check_are_known(self, variables):
        known = self._trainable_variables_indices
        unknown = [path_of(v) for v in variables if self._var_key(v) not in known]
        if unknown:
            raise ValueError(
                "Expected variables that the optimizer was built with. Received: "
                f"unknown variable {', '.join(map(repr, unknown))}. If a layer was "
                "frozen when the optimizer was built, or LoRA was enabled since, call "
                "`optimizer.add_variables(model.trainable_variables)`, and compile the "
                "model again with this optimizer: a step that was compiled before goes "
                "on with the variables of then"
            )

    def _checked_gradients(self, grads, variables, checks):
        if grads and len(grads) != len(variables):
            raise ValueError(
                f"Expected {len(variables)} gradients, one for each variable. "
                f"Received: {len(grads)}"
            )
        return [
            g
            if g is None or self._overwrite_variable_with_gradient(v)
            else gradients.checked(g, v, checks)
            for g, v in zip(grads, variables)
        ]

    def _backend_apply_gradients(self, grads, trainable_variables):
        """Keras clips, then sums over the replicas. The clip of a sum wants the sum."""
        keras_step = super()._backend_apply_gradients
        grads = self._summed_over_replicas(grads, trainable_variables)

        def step(grads):
            grads = [gradients.structured(g) for g in grads]
            if self.gradient_accumulation_steps:
                grads = [g if isinstance(g, Rows) else g.values for g in grads]
            keras_step(grads, trainable_variables)

        branches = self.gradient_accumulation_steps or self.ema_overwrite_frequency
        if branches and replicas.forbid_a_branch():
            replicas.leave(step, grads)
        else:
            step(grads)

    def _summed_over_replicas(self, grads, variables):
        strategy = getattr(self, "_distribution_strategy", None)
        if strategy is None or strategy.num_replicas_in_sync == 1:
            return grads
        grads_and_vars = list(zip(map(rows.assignable, grads), variables))
        return [g for g, _ in super()._all_reduce_sum_gradients(grads_and_vars)]

    def _all_reduce_sum_gradients(self, grads_and_vars):
        """Keras sums here, after the clip; `_backend_apply_gradients` has summed."""
        return grads_and_vars

    def _backend_increment_gradient_accumulators(self, grads, acc_grads):
        """Keras adds a sparse gradient to its accumulator as a dense one."""
        for gradient, accumulator in zip(grads, acc_grads):
            self.assign_add(accumulator, rows.assignable(gradient))

    def _clip_gradients(self, grads):
        """Keras takes the repeats of a row for rows, and a clip densifies."""
        clips = [
            (clip.by_norm, self.clipnorm),
            (clip.by_global_norm, self.global_clipnorm),
            (clip.by_value, self.clipvalue),
        ]
        for clipped, c in clips:
            if c is not None:
                present = [g for g in grads if g is not None]
                merged = [gradients.structured(g).merged() for g in present]
                of = iter(clipped(merged, c))
                grads = [g if g is None else gradients.like(g, next(of)) for g in grads]
        return grads

    def _apply_weight_decay(self, variables):
        """Keras decays every row; `update_step` knows which rows are to decay."""

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        """Keras computes for each variable what is the same for all of them."""
        dtypes = {compute_dtype(v) for v in trainable_variables}
        if type(self).update_step is not TextbookOptimizer.update_step:
            merged = [gradients.structured(g).merged() for g in grads]
            grads = [gradients.plain(g) for g in merged]
        widest = "float64" if "float64" in dtypes else "float32"
        η = ops.cast(learning_rate, widest)
        scalars = {dtype: self._scalars(η, dtype) for dtype in dtypes}
        with self._steps.taking(η, scalars):
            if replicas.are_left():
                pairs = [(g, v.value) for g, v in zip(grads, trainable_variables)]
                strategy = self._distribution_strategy
                self._distributed_tf_update_step(strategy, pairs, η)
            else:
                super()._backend_update_step(grads, trainable_variables, η)

    def _scalars(self, learning_rate, dtype):
        η = ops.cast(hyperparameters.scalar("learning_rate", learning_rate), dtype)
        t = ops.cast(self.iterations + 1, dtype)
        return η, self.step_size(η, t)

    def update_step(self, gradient, variable, learning_rate) -> None:
        """Decay `variable`, then update it and its slots: one variable's step.

        A subclass with a learning rate for each variable passes it on:
        `super().update_step(gradient, variable, learning_rate * 0.1)`.

        Args:
            gradient: The variable's gradient, clipped: a tensor or `tf.IndexedSlices`.
            variable: The variable, a `keras.Variable` or what the backend has under it.
            learning_rate: `η`, a scalar tensor.
        """
        dtype = compute_dtype(variable)
        η, step_size = self._steps.scalars(learning_rate, dtype, self._scalars)
        g = gradients.structured(gradient)
        if rows.are_merged_for(self):
            g = g.merged()
        if self.weight_decay and self._use_weight_decay(variable):
            self._decay(variable, g, η * self.weight_decay)
        slots = self._state.of(self._var_key(variable)).slots.values()
        if isinstance(g, Rows):
            new = self.apply_sparse(g, variable, step_size, *slots)
            new = _as_tuple(new, 1 + len(slots))
        else:
            new = self.dense_step(g, variable, step_size, *slots)
        for place, value in zip((variable, *slots), new, strict=True):
            if value is not place:
                self._write(place, value)

    def dense_step(self, g: Scaled, θ, η, *slots) -> tuple:
        """The equation on every element of `θ` and its slots.

        Returns the new values, or the places themselves where a kernel has filled them.
        """
        kernel = fused.kernel(self, θ, slots)
        if kernel is not None:
            kernel(self, g, θ, η, *slots)
            return θ, *slots
        new = self.apply_dense(g.values, self._read(θ), η, *slots)
        return _as_tuple(new, 1 + len(slots))

    def row_step(self, g: Rows, θ, η, *slots) -> tuple:
        """The equation on the rows that `g` touches; the others stay as they are."""
        kernel = fused.row_kernel(self, θ, slots)
        if kernel is not None:
            kernel(self, g, θ, η, *slots)
            return θ, *slots
        g = g.merged()
        old = [self._read(place, g) for place in (θ, *slots)]
        new = _as_tuple(self.apply_dense(g.values, old[0], η, *old[1:]), len(old))
        return tuple(g.with_values(value) for value in new)

    def _decay(self, θ, g, ηλ) -> None:
        """`θ ← θ − η·λ·θ`, on the touched rows alone where the update is lazy."""
        if isinstance(g, Rows) and self.sparse_update == "lazy":
            old = self._read(θ, g)
            self._write(θ, g.with_values(old - ηλ * old))
        elif gradients.is_narrow(θ):
            old = self._read(θ)
            self._write(θ, old - ηλ * old)
        else:
            self.assign_sub(θ, ηλ * θ)

    def _update_model_variables_moving_average(self, trainable_variables):
        """Keras averages in the dtype of the variable, where 16 bits lose the steps."""
        # average ← average + (1 − μ)·(θ − average), with μ = 0 at first
        rest = ops.where(ops.equal(self.iterations, 0), 1.0, 1 - self.ema_momentum)
        for θ, average in self._averaged(trainable_variables):
            difference = self._read(θ) - average
            average.assign_add(ops.cast(rest, average.dtype) * difference)

    def _overwrite_model_variables_with_average_value(self, trainable_variables):
        """Keras pairs by position, and assigns averages wider than 16 bits as is."""
        for θ, average in self._averaged(trainable_variables):
            self._write(θ, ops.copy(average))

    def _averaged(self, variables) -> list[tuple]:
        """The variables that have an average, each with it."""
        pairs = [(θ, self._state.of(self._var_key(θ)).average) for θ in variables]
        return [(θ, average) for θ, average in pairs if average is not None]

    # Keras's public settings.

    @property
    def learning_rate(self):
        """`η` of the next step; a float, a schedule or a callable may be assigned."""
        return hyperparameters.scalar("learning_rate", super().learning_rate)

    @learning_rate.setter
    def learning_rate(self, learning_rate):
        learning_rate = _concrete(learning_rate)
        if not ops.is_tensor(learning_rate):
            learning_rate = _checked_learning_rate(learning_rate)
        if callable(self._learning_rate) and not callable(learning_rate):
            raise TypeError(
                "`learning_rate` is a schedule or a callable: expected another "
                f"schedule or callable in its place. Received: {learning_rate!r}"
            )
        keras.optimizers.Optimizer.learning_rate.fset(self, learning_rate)

    @property
    def lr(self):
        """Another name for `learning_rate`."""
        return self.learning_rate

    @lr.setter
    def lr(self, learning_rate):
        self.learning_rate = learning_rate

    def __repr__(self) -> str:
        """The class and what it was constructed with, but for what is the default."""
        arguments = hyperparameters.arguments(type(self), TextbookOptimizer)
        settings = {name: self._setting(name) for name in arguments}
        shown = [
            f"{name}={text}"
            for name, text in settings.items()
            if text not in (None, hyperparameters.shown(arguments[name]))
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _setting(self, name: str) -> str | None:
        """A setting as text; `None` where there is none, or where nobody gave it."""
        value = getattr(self, {"learning_rate": "_learning_rate"}.get(name, name), None)
        if name == "name" and value is not None:
            made = re.sub("_", "", re.sub(r"_\d+$", "", str(value)))
            if made == re.sub("_", "", type(self).__name__).lower():
                return None
        return None if value is None else hyperparameters.shown(value)

    def exclude_from_weight_decay(self, var_list=None, var_names=None) -> None:
        """Name the variables that do not decay. `get_config` keeps them.

        Args:
            var_list: A list of variables.
            var_names: A list of strings: a variable with one of them in its name does
                not decay.

        Each replica may call this, and who says the same again changes nothing.

        Raises:
            ValueError: The optimizer is built, and would decay other variables.
        """
        var_list, var_names = list(var_list or ()), var_names or ()
        if isinstance(var_names, str) or not all(isinstance(n, str) for n in var_names):
            raise ValueError(
                "`var_names` must be a list of strings. Received: "
                f"var_names={var_names!r}"
            )
        if not all(hasattr(v, "assign") for v in var_list):
            raise ValueError(
                "`var_list` must be a list of variables. Received: "
                f"var_list={var_list!r}"
            )
        if self.built:
            if not self._excludes(var_list, var_names):
                raise ValueError(
                    "`exclude_from_weight_decay()` must be called before the optimizer "
                    "is built. Received: a call on an optimizer that is built, with "
                    f"var_list={var_list!r} and var_names={var_names!r}, which are not "
                    "what it was built with"
                )
            return
        self._excluded = Exclusions(var_list, tuple(var_names))
        super().exclude_from_weight_decay(var_list, var_names)

    def _excludes(self, var_list, var_names) -> bool:
        """Whether just these are what does not decay."""
        excluded: set = getattr(self, "_exclude_from_weight_decay", set())
        same_variables = {self._var_key(v) for v in var_list} == excluded
        return same_variables and set(var_names) == set(self._excluded.names)


def _concrete(learning_rate):
    """An array or a tensor as its value; a tensor of a graph as a scalar."""
    if ops.is_tensor(learning_rate) or hasattr(learning_rate, "__array__"):
        learning_rate = hyperparameters.scalar("learning_rate", learning_rate)
        try:
            return ops.convert_to_numpy(learning_rate)[()]
        except (NotImplementedError, TypeError):
            pass
    return learning_rate


def _checked_learning_rate(learning_rate):
    if callable(learning_rate):
        return learning_rate
    if not hasattr(learning_rate, "assign"):
        learning_rate = _concrete(learning_rate)
    return hyperparameters.real("learning_rate", learning_rate, at_least=0)


def _as_tuple(values, count: int) -> tuple:
    is_one = isinstance(values, Rows) or not isinstance(values, tuple)
    values = (values,) if is_one else values
    if len(values) != count:
        raise ValueError(
            "Expected the equation to return the new variable and then its new slots: "
            f"{count} in all. Received: {len(values)}"
        )
    return values
