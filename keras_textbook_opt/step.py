"""The order of one step, and all that is overridden of Keras's for it.

    gradients → check → drop None → unscale → sum over replicas → merge repeated rows
              → accumulate → clip → decay weights → apply_dense | apply_sparse
              → EMA → constraint → iterations + 1

Keras checks for `None`, unscales, constrains and counts, in `apply`; what is between is
here.
"""

from __future__ import annotations

import abc
import itertools
from typing import Any, NamedTuple

from keras import ops

from keras_textbook_opt import (
    backends,
    checks,
    clip,
    gradients,
    hyperparameters,
    monitoring,
    rows,
)
from keras_textbook_opt.gradients import Dense
from keras_textbook_opt.rows import Rows
from keras_textbook_opt.stateful import StatefulOptimizer
from keras_textbook_opt.variables import (
    compute_dtype,
    has_value,
    is_narrow,
    path_of,
)


class Step(NamedTuple):
    """What one step computes once for all of its variables.

    Args:
        rate: The learning rate, in the widest compute dtype.
        scalars: For each compute dtype and each factor of a learning rate, `η` times
            the factor and what `step_size` returns for it.
    """

    rate: Any
    scalars: dict[tuple[str, float], tuple[Any, Any]]


class SteppingOptimizer(StatefulOptimizer, abc.ABC):
    """An optimizer that knows the order of a step, and no equation."""

    sparse_update = "exact"

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
        checks.check_are_variables(variables)
        if self.built:
            self._check_are_known(variables)
            self._follow_order(variables)
        failing: list = []
        if self.built or trainable_variables is not None:
            grads = self._checked_gradients(grads, variables, failing)
        with rows.after(failing):
            super().apply(grads, trainable_variables)

    def _check_are_known(self, variables):
        if self._are_its_own(variables):
            return
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

    def _checked_gradients(self, grads, variables, failing):
        if grads and len(grads) != len(variables):
            raise ValueError(
                f"Expected {len(variables)} gradients, one for each variable. "
                f"Received: {len(grads)}"
            )
        overwritten = list(map(self._overwrite_variable_with_gradient, variables))
        if not any(overwritten):
            return checks.checked_all(grads, variables, failing)
        return [
            g if is_overwritten else checks.checked_all([g], [v], failing)[0]
            for g, v, is_overwritten in zip(grads, variables, overwritten)
        ]

    def _backend_apply_gradients(self, grads, trainable_variables):
        """Keras clips before it sums over replicas, and branches within a replica."""
        variables = list(trainable_variables)
        grads = [gradients.structured(g) for g in grads]
        grads = backends.active.summed(self, grads)
        branches = self.gradient_accumulation_steps or self.ema_overwrite_frequency
        backends.active.take(
            self, lambda grads: self._take_step(grads, variables), grads, bool(branches)
        )

    def _take_step(self, grads, variables):
        """All of a step, on gradients that are sums over the replicas."""
        steps = self.gradient_accumulation_steps
        if steps:
            totals = [self._beside(θ).accumulator for θ in variables]
            backends.active.accumulate(self, totals, grads)
            self._once_in(
                steps,
                self._iterations,
                lambda: self._update_with_means(grads, totals, variables),
            )
        else:
            self._update_all(grads, variables)
        if self.use_ema:
            with backends.active.on_the_host():
                # average ← average + (1 − μ)·(θ − average), with μ = 0 at first
                taken = self.iterations
                first = ops.equal(taken, 0)
                rest = ops.where(first, 1.0, 1 - self.ema_momentum)
            everything = self._trainable_variables
            backends.active.average(self, self._averaged(everything), rest)
            if self.ema_overwrite_frequency:
                self._once_in(
                    self.ema_overwrite_frequency,
                    taken,
                    lambda: self._overwrite_with_averages(everything),
                )

    def _once_in(self, steps: int, taken, assign):
        """Call `assign` in each step whose number is a multiple of `steps`."""
        with backends.active.on_the_host():
            is_due = ops.equal((taken + 1) % steps, 0)
        variables = [*self._trainable_variables, *self.variables]
        backends.active.either(is_due, assign, lambda: None, variables)

    def _update_with_means(self, grads, totals, variables):
        steps = self.gradient_accumulation_steps
        means = [type(g).mean(total, steps) for g, total in zip(grads, totals)]
        self._update_all(means, variables)
        for total in self._accumulated_gradients:
            zeros = ops.zeros(total.shape, total.dtype)
            total.assign(backends.active.placed(zeros, total))

    def _update_all(self, grads, variables):
        step = self._of_this_step()
        pairs = list(zip(self._clip_gradients(grads), variables))
        if self._state.multipliers:  # 0 leaves a variable as it is
            pairs = [(g, θ) for g, θ in pairs if self._factor(θ)]
        with monitoring.noting(self, step.rate, grads, variables):
            backends.active.run(self, pairs, step)

    def _of_this_step(self) -> Step:
        dtypes = self._state.compute_dtypes
        groups = itertools.product(dtypes, self._state.factors)
        with backends.active.on_the_host():
            η = ops.cast(self.learning_rate, max(dtypes))
            return Step(η, {(d, f): self._scalars(_times(η, f), d) for d, f in groups})

    def _clip_gradients(self, grads):
        """Keras takes the repeats of a row for rows, and a clip densifies."""
        clips = [
            (clip.by_norm, self.clipnorm),
            (clip.by_global_norm, self.global_clipnorm),
            (clip.by_value, self.clipvalue),
        ]
        norms = monitoring.norms(self, grads)
        for clipped, c in clips:
            if c is not None:
                of = iter(clipped(norms, c))
                grads = [g if g is None else gradients.like(g, next(of)) for g in grads]
        return grads

    def _scalars(self, learning_rate, dtype: str):
        η = ops.cast(hyperparameters.scalar("learning_rate", learning_rate), dtype)
        t = ops.cast(self.iterations + 1, dtype)
        return η, self.step_size(η, t)

    # The step of one variable.

    def _update(self, g: Dense | Rows, θ, step: Step) -> None:
        """Update `θ` as `update_step` says, which a subclass may override."""
        factor = self._factor(θ)
        if self._has_its_own_update_step:
            rate = _times(step.rate, factor)
            self.update_step(gradients.plain(g.merged()), θ, rate)
        else:
            self._step_one(g, θ, *step.scalars[compute_dtype(θ), factor])

    def update_step(self, gradient, variable, learning_rate) -> None:
        """Decay `variable`, then update it and its slots: one variable's step.

        A subclass with a learning rate for each variable passes it on:
        `super().update_step(gradient, variable, learning_rate * 0.1)`.

        Args:
            gradient: The variable's gradient, clipped: a tensor or `tf.IndexedSlices`.
            variable: The variable, a `keras.Variable` or what the backend has under it.
            learning_rate: `η`, times the factor of the variable: a scalar tensor.
        """
        scalars = self._scalars(learning_rate, compute_dtype(variable))
        self._step_one(gradients.structured(gradient), variable, *scalars)

    def _step_one(self, g: Dense | Rows, θ, η, step_size) -> None:
        if rows.are_merged_for(self):
            g = g.merged()
        if self.weight_decay and self._use_weight_decay(θ):
            self._decay(θ, g, η * self.weight_decay)
        slots = self._beside(θ).slots.values()
        if isinstance(g, Rows):
            new = self.apply_sparse(g, θ, step_size, *slots)
            new = _as_tuple(new, 1 + len(slots))
        else:
            new = self.dense_step(g, θ, step_size, *slots)
        for place, value in zip((θ, *slots), new, strict=True):
            if value is not place:
                self._write(place, value)

    @property
    def _has_its_own_update_step(self) -> bool:
        return type(self).update_step is not SteppingOptimizer.update_step

    @property
    def _equation(self) -> str | None:
        """The name of the equation of `apply_dense`; `None` for one of a user's own."""
        return getattr(type(self).apply_dense, "equation", None)

    def dense_step(self, g: Dense, θ, η, *slots) -> tuple:
        """The equation on every element of `θ` and its slots.

        Returns the new values, or the places themselves where a kernel has filled them.
        """
        kernel = backends.active.kernel(self._equation, self, θ, slots)
        if kernel is not None:
            kernel(self, g, θ, η, *slots)
            return θ, *slots
        new = self.apply_dense(g.values, self._read(θ), η, *slots)
        return _as_tuple(new, 1 + len(slots))

    def row_step(self, g: Rows, θ, η, *slots) -> tuple:
        """The equation on the rows that `g` touches; the others stay as they are."""
        kernel = backends.active.row_kernel(self._equation, self, θ, slots)
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
        elif is_narrow(θ):
            old = self._read(θ)
            self._write(θ, old - ηλ * old)
        else:
            self.assign_sub(θ, ηλ * θ)

    # Averages.

    def finalize_variable_values(self, var_list) -> None:
        """End a training: with `use_ema`, the averages replace the variables.

        Raises:
            ValueError: The training was not on the variables that it seemed to be on.
        """
        var_list = list(var_list)
        if all(map(has_value, var_list)):
            self._check_training_ends(var_list)
            self._overwrite_with_averages(var_list)

    def _overwrite_with_averages(self, variables) -> None:
        for θ, average in self._averaged(variables):
            self._write(θ, ops.copy(average))

    def _averaged(self, variables) -> list[tuple]:
        """The variables that have an average, each with it."""
        pairs = [(θ, self._beside(θ).average) for θ in variables]
        return [(θ, average) for θ, average in pairs if average is not None]


def _times(η, factor: float):
    return η if factor == 1 else η * factor


def _as_tuple(values, count: int) -> tuple:
    is_one = isinstance(values, Rows) or not isinstance(values, (tuple, list))
    new = (values,) if is_one else tuple(values)
    missing = sum(value is None for value in new)
    if len(new) != count or missing:
        received = f"{len(new)}{f', of which {missing} is None' if missing else ''}"
        raise ValueError(
            "Expected the equation to return the new variable and then its new slots: "
            f"{count} in all. Received: {None if values is None else received}"
        )
    return new
