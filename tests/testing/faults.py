"""Optimizers that are each wrong in one way, and one that is right otherwise.

They are classes of a module, so that another process can import them.
"""

from __future__ import annotations

import contextlib
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_textbook_opt import TextbookOptimizer
from keras_textbook_opt.gradients import Dense
from keras_textbook_opt.rows import Rows


class Right(TextbookOptimizer):
    """`m ← β·m + (1 − β)·g`, `v ← β·v + (1 − β)·g²`, `θ ← θ − η·m/(√v + 0.01)`."""

    def __init__(
        self, learning_rate=0.01, beta=0.75, sparse_update="exact", **settings
    ):
        super().__init__(learning_rate, **settings)
        if not 0 <= beta < 1:
            raise ValueError(f"`beta` must be in [0, 1). Received: beta={beta}")
        self.beta, self.sparse_update = beta, sparse_update

    def create_slots(self, variables):
        for variable in variables:
            self.add_slot(variable, "m")
            self.add_slot(variable, "v")

    def apply_dense(self, g, θ, η, m, v):
        m = self.beta * m + (1 - self.beta) * g
        v = self.beta * v + (1 - self.beta) * ops.square(g)
        return θ - η * m / (ops.sqrt(v) + 0.01), m, v

    def apply_sparse(self, g, θ, η, m, v):
        if self.sparse_update == "lazy":
            return self.row_step(g, θ, η, m, v)
        return super().apply_sparse(g, θ, η, m, v)

    def get_config(self):
        own = {"beta": self.beta, "sparse_update": self.sparse_update}
        return super().get_config() | own


class Lazy(Right):
    def __init__(self, learning_rate=0.01, sparse_update="lazy", **settings):
        super().__init__(learning_rate, sparse_update=sparse_update, **settings)


FAULTS: dict[str, list[type]] = {}


def caught_by(*checks: str, also: tuple[str, ...] = ()):
    """Say which checks the fault is for: the first is the one meant for it.

    Beside them, of the checks in their files, it cannot but fail those of `also`.
    """

    def planted(fault: type) -> type:
        FAULTS[checks[0]] = [*FAULTS.get(checks[0], []), fault]
        fault.caught_by, fault.also = checks, also  # type: ignore[attr-defined]
        return fault

    return planted


# The contract of `apply`.


@caught_by("check_a_rate_moves_the_variables")
class NeverMoves(Right):
    def apply_dense(self, g, θ, η, m, v):
        return θ, m, v


@caught_by("check_fifty_steps_descend")
class Uphill(Right):
    def apply_dense(self, g, θ, η, m, v):
        θ_new, m, v = super().apply_dense(g, θ, η, m, v)
        return 2 * θ - θ_new, m, v


@caught_by(
    "check_two_instances_step_alike",
    also=(
        "check_all_state_is_in_variables",
        "check_another_instance_changes_nothing",
        "check_apply_gradients_is_apply",
        "check_the_first_step_builds",
        "check_the_variables_may_be_left_out",
    ),
)
class CountsOnTheClass(Right):
    made = 0

    def __init__(self, learning_rate=0.01, **settings):
        super().__init__(learning_rate, **settings)
        type(self).made += 1
        self.number = type(self).made

    def apply_dense(self, g, θ, η, m, v):
        return super().apply_dense(g, θ, η * (1 + 0.1 * (self.number % 2)), m, v)


@caught_by(
    "check_another_instance_changes_nothing",
    also=(
        "check_all_state_is_in_variables",
        "check_gradients_belong_to_their_variables",
        "check_none_leaves_its_variable_alone",
        "check_the_first_step_builds",
        "check_the_rate_can_be_read_and_set",
        "check_the_variables_may_be_left_out",
    ),
)
class LooksUpSlotsOnTheClass(Right):
    """Those of the optimizer that was built last, by the place of the variable."""

    latest: Any = None

    def build(self, variables):
        super().build(variables)
        type(self).latest = self

    def _beside(self, variable):
        latest, keys = type(self).latest, list(map(self._var_key, self._built_with))
        key = self._var_key(variable)
        if latest is self or key not in keys or len(keys) != len(latest._built_with):
            return super()._beside(variable)
        return Right._beside(latest, latest._built_with[keys.index(key)])

    @property
    def _built_with(self):
        return self._trainable_variables


@caught_by("check_another_instance_changes_nothing")
class HasTheBetaOfTheLastMade(Right):
    def __init__(self, learning_rate=0.01, beta=0.75, **settings):
        super().__init__(learning_rate, beta, **settings)
        type(self).shared_beta = beta

    def apply_dense(self, g, θ, η, m, v):
        own, self.beta = self.beta, type(self).shared_beta
        new = super().apply_dense(g, θ, η, m, v)
        self.beta = own
        return new


@caught_by("check_all_state_is_in_variables")
class RemembersInPython(Right):
    """How large the last gradient of a variable was; a graph has none of it."""

    def __init__(self, learning_rate=0.01, **settings):
        super().__init__(learning_rate, **settings)
        self.last_sizes = {}

    def apply_dense(self, g, θ, η, m, v):
        place = tuple(θ.shape)
        new = super().apply_dense(g, θ, η * (1 + self.last_sizes.get(place, 0)), m, v)
        if not hasattr(g, "graph") and 0 not in place:
            self.last_sizes[place] = float(ops.convert_to_numpy(ops.max(ops.abs(g))))
        return new


@caught_by("check_gradients_belong_to_their_variables")
class TakesTheOrderOfBuild(Right):
    """A call in another order is taken for another step."""

    def apply(self, grads, trainable_variables=None):
        if self.built and trainable_variables is not None:
            given = [self._var_key(v) for v in trainable_variables]
            built = [self._var_key(v) for v in self._trainable_variables]
            if set(given) == set(built) and given != built:
                grads = [g * (1 + 0.1 * k) for k, g in enumerate(grads)]
        super().apply(grads, trainable_variables)


@caught_by("check_none_leaves_its_variable_alone")
class NoneIsZeros(Right):
    def apply(self, grads, trainable_variables=None):
        variables = trainable_variables or self._trainable_variables
        grads = [
            ops.zeros(θ.shape, θ.dtype) if g is None else g
            for g, θ in zip(grads, variables)
        ]
        super().apply(grads, trainable_variables)


@caught_by("check_variables_of_any_shape")
class WantsAxes(Right):
    def apply_dense(self, g, θ, η, m, v):
        g = ops.reshape(g, (θ.shape[0], *θ.shape[1:]))
        return super().apply_dense(g, θ, η, m, v)


@caught_by("check_a_variable_without_elements")
class AveragesOverAll(Right):
    def apply(self, grads, trainable_variables=None):
        if all(isinstance(g, type(grads[0])) and hasattr(g, "shape") for g in grads):
            means = [ops.mean(ops.cast(g, "float32")) for g in grads]
            if any(0 in g.shape for g in grads):
                grads = [g + ops.cast(sum(means), g.dtype) for g in grads]
        super().apply(grads, trainable_variables)


@caught_by("check_zero_gradients_are_harmless")
class DividesByNothing(Right):
    def apply_dense(self, g, θ, η, m, v):
        _, m, v = super().apply_dense(g, θ, η, m, v)
        return θ - η * m / ops.sqrt(v), m, v


@caught_by("check_iterations_count_the_steps")
class CountsTwice(Right):
    def apply(self, grads, trainable_variables=None):
        super().apply(grads, trainable_variables)
        self._iterations.assign_add(1)


@caught_by("check_a_rate_of_zero_stays")
class DividesByTheRate(Right):
    def apply_dense(self, g, θ, η, m, v):
        θ_new, m, v = super().apply_dense(g, θ, η, m, v)
        return θ + η * ((θ_new - θ) / η), m, v


@caught_by("check_gradients_are_left_as_they_are")
class ReplacesTheList(Right):
    def apply(self, grads, trainable_variables=None):
        if isinstance(grads, list):
            grads[:] = [g if g is None else g * 1.0 for g in grads]
        super().apply(grads, trainable_variables)


@caught_by("check_gradients_are_left_as_they_are")
class DecaysInTheGradients(Right):
    """NumPy's arrays alone can be written into here, and only where weights decay."""

    def apply(self, grads, trainable_variables=None):
        if self.weight_decay:
            for g in grads:
                if isinstance(g, np.ndarray):
                    g *= 1.01
        super().apply(grads, trainable_variables)


@caught_by("check_the_variables_may_be_left_out")
class ForgetsWhichVariables(Right):
    def apply(self, grads, trainable_variables=None):
        if trainable_variables is None:
            grads = [grads[0], *(0.5 * g for g in grads[1:])]
        super().apply(grads, trainable_variables)


@caught_by("check_the_first_step_builds")
class SkipsTheStepThatBuilds(Right):
    def apply(self, grads, trainable_variables=None):
        if not self.built:
            self.build(list(trainable_variables))
            return
        super().apply(grads, trainable_variables)


@caught_by("check_apply_gradients_is_apply")
class DoublesPairs(Right):
    def apply_gradients(self, grads_and_vars):
        return super().apply_gradients([(2 * g, v) for g, v in grads_and_vars])


@caught_by("check_float64_has_its_digits")
class GoesThroughFloat32(Right):
    def apply_dense(self, g, θ, η, m, v):
        θ_new, m, v = super().apply_dense(g, θ, η, m, v)
        return ops.cast(ops.cast(θ_new, "float32"), θ_new.dtype), m, v


@caught_by("check_the_rate_can_be_read_and_set")
class KeepsTheRate(Right):
    def __init__(self, learning_rate=0.01, **settings):
        super().__init__(learning_rate, **settings)
        self.kept = None if callable(learning_rate) else learning_rate

    def apply_dense(self, g, θ, η, m, v):
        kept = η if self.kept is None else self.kept
        return super().apply_dense(g, θ, kept, m, v)


# The clips.


@caught_by("check_clipnorm", also=("check_huge_gradients_keep_their_direction",))
class IgnoresClipnorm(Right):
    def _clip_gradients(self, grads):
        return grads if self.clipnorm else super()._clip_gradients(grads)


@caught_by("check_clipvalue")
class ClipsFromAbove(Right):
    def _clip_gradients(self, grads):
        if not self.clipvalue:
            return super()._clip_gradients(grads)
        return [Dense(ops.minimum(_array(g), self.clipvalue)) for g in grads]


@caught_by("check_global_clipnorm", also=("check_huge_gradients_keep_their_direction",))
class OneNormForEach(Right):
    def _clip_gradients(self, grads):
        if not self.global_clipnorm:
            return super()._clip_gradients(grads)
        return [Dense(_clipped(_array(g), self.global_clipnorm)) for g in grads]


@caught_by("check_huge_gradients_keep_their_direction")
class SquaresOverflow(Right):
    def _clip_gradients(self, grads):
        if not self.clipnorm:
            return super()._clip_gradients(grads)
        return [Dense(_clipped(_array(g), self.clipnorm)) for g in grads]


def _array(g):
    if isinstance(g, Rows):
        g = g.merged()
        import tensorflow as tf

        return tf.convert_to_tensor(tf.IndexedSlices(g.values, g.indices, (6, 2)))
    return g.values if isinstance(g, Dense) else ops.convert_to_tensor(g)


def _clipped(g, c):
    return g * (c / ops.maximum(ops.sqrt(ops.sum(ops.square(g))), c))


# What Keras does beside the equation.


@caught_by(
    "check_the_loss_scale_is_undone",
    also=("check_the_loss_scale_is_undone_before_the_clip",),
)
class UnscalesTwice(Right):
    def apply_dense(self, g, θ, η, m, v):
        return super().apply_dense(g / (self.loss_scale_factor or 1), θ, η, m, v)


@caught_by("check_the_loss_scale_is_undone_before_the_clip")
class ClipsBeforeItUnscales(Right):
    """The clip of a scaled gradient, divided, is that of a smaller `c`."""

    clipnorm: Any

    def _clip_gradients(self, grads):
        scale = self.loss_scale_factor
        if not scale or not self.clipnorm:
            return super()._clip_gradients(grads)
        kept, self.clipnorm = self.clipnorm, self.clipnorm / scale
        try:
            return super()._clip_gradients(grads)
        finally:
            self.clipnorm = kept


@caught_by(
    "check_accumulated_steps_are_steps_on_the_mean",
    also=("check_an_accumulated_mean_is_clipped_once",),
)
class AccumulatesTheSum(Right):
    def apply_dense(self, g, θ, η, m, v):
        steps = self.gradient_accumulation_steps or 1
        return super().apply_dense(steps * g, θ, η, m, v)


@caught_by("check_an_accumulated_mean_is_clipped_once")
class ClipsWhatItAccumulates(Right):
    def apply(self, grads, trainable_variables=None):
        if self.gradient_accumulation_steps and self.clipvalue:
            c = self.clipvalue
            grads = [g if g is None else ops.clip(g, -c, c) for g in grads]
        super().apply(grads, trainable_variables)


@caught_by("check_averages_end_the_training")
class KeepsTheLastWeights(Right):
    def finalize_variable_values(self, var_list):
        pass


@caught_by("check_averages_overwrite_the_variables")
class OverwritesOneStepLate(Right):
    def __init__(self, learning_rate=0.01, **settings):
        super().__init__(learning_rate, **settings)
        if self.ema_overwrite_frequency:
            self.ema_overwrite_frequency += 1

    def get_config(self):
        config = super().get_config()
        if self.ema_overwrite_frequency:
            config["ema_overwrite_frequency"] = self.ema_overwrite_frequency - 1
        return config


@caught_by("check_weights_decay_once")
class DecaysTwice(Right):
    def _decay(self, θ, g, ηλ):
        super()._decay(θ, g, ηλ)
        super()._decay(θ, g, ηλ)


@caught_by("check_weights_decay_once")
class NeverDecays(Right):
    def _decay(self, θ, g, ηλ):
        pass


@caught_by("check_what_is_excluded_does_not_decay")
class DecaysWhatIsExcluded(Right):
    def _use_weight_decay(self, variable):
        return True


@caught_by("check_constraints_hold_after_a_step")
class StepsBehindTheConstraint(Right):
    def apply(self, grads, trainable_variables=None):
        variables = list(trainable_variables or self._trainable_variables)
        kept = [variable.constraint for variable in variables]
        for variable in variables:
            variable.constraint = None
        super().apply(grads, trainable_variables)
        for variable, constraint in zip(variables, kept):
            variable.constraint = constraint


@caught_by("check_a_variable_may_be_its_gradient")
class NeverOverwrites(Right):
    def _overwrite_variable_with_gradient(self, variable):
        return False


# Variables of 16 bits.


@caught_by("check_bfloat16_follows_float32", "check_float16_follows_float32")
class CarriesNothing(Right):
    def __init__(self, learning_rate=0.01, **settings):
        super().__init__(learning_rate, **{**settings, "compensate": False})


@caught_by("check_bfloat16_follows_float32", "check_float16_follows_float32")
class DropsTheSmallIn16Bits(Right):
    def build(self, variables):
        super().build(variables)
        self.is_narrow = any("16" in v.dtype for v in variables)

    def apply_dense(self, g, θ, η, m, v):
        if self.is_narrow:
            g = ops.where(ops.abs(g) < 0.4 * ops.max(ops.abs(g)), 0 * g, g)
        return super().apply_dense(g, θ, η, m, v)


@caught_by("check_float16_follows_float32", "check_small_gradients_of_float16")
class IsNaNInFloat16(Right):
    def build(self, variables):
        super().build(variables)
        self.factor = np.nan if any(v.dtype == "float16" for v in variables) else 1.0

    def apply_dense(self, g, θ, η, m, v):
        return super().apply_dense(self.factor * g, θ, η, m, v)


@caught_by("check_small_gradients_of_float16")
class SquaresInFloat16(Right):
    def build(self, variables):
        super().build(variables)
        self.is_narrow = any(v.dtype == "float16" for v in variables)

    def apply_dense(self, g, θ, η, m, v):
        if not self.is_narrow:
            return super().apply_dense(g, θ, η, m, v)
        squared = ops.cast(ops.square(ops.cast(g, "float16")), g.dtype)
        m = self.beta * m + (1 - self.beta) * g
        v = self.beta * v + (1 - self.beta) * squared
        return θ - η * m / (ops.sqrt(v) + 1e-7), m, v


# Bad input.


@caught_by("check_a_rate_out_of_range_is_refused")
class TakesAnyRate(Right):
    def __init__(self, learning_rate=0.01, **settings):
        if not callable(learning_rate) and not 0 <= learning_rate < np.inf:
            learning_rate = 0.01
        super().__init__(learning_rate, **settings)


@caught_by("check_settings_out_of_range_are_refused")
class TakesAnyClip(Right):
    def __init__(self, learning_rate=0.01, clipnorm=None, **settings):
        if clipnorm is not None and not clipnorm > 0:
            clipnorm = None
        super().__init__(learning_rate, clipnorm=clipnorm, **settings)


@caught_by("check_arguments_of_its_own_are_checked")
class TakesAnyBeta(Right):
    def __init__(self, learning_rate=0.01, beta=0.75, **settings):
        super().__init__(learning_rate, **settings)
        self.beta = beta


@caught_by("check_unknown_arguments_are_refused")
class TakesAnyArgument(Right):
    def __init__(self, learning_rate=0.01, no_such_argument=None, **settings):
        super().__init__(learning_rate, **settings)


@caught_by("check_gradients_that_do_not_fit_are_refused")
class Broadcasts(Right):
    def apply(self, grads, trainable_variables=None):
        variables = list(trainable_variables or self._trainable_variables)
        fitting = [
            ops.broadcast_to(g, θ.shape)
            if hasattr(g, "shape") and tuple(g.shape) == θ.shape[1:]
            else g
            for g, θ in zip(grads, variables)
        ]
        rest = list(grads)[len(fitting) :]
        super().apply([*fitting, *rest], trainable_variables)


@caught_by("check_too_few_gradients_are_refused")
class ZipsThePairs(Right):
    def apply(self, grads, trainable_variables=None):
        variables = list(trainable_variables or self._trainable_variables)
        super().apply(grads, variables[: len(list(grads))])


@caught_by("check_unknown_variables_are_refused")
class BuildsAgain(Right):
    def apply(self, grads, trainable_variables=None):
        variables = trainable_variables
        if self.built and variables is not None:
            known = {self._var_key(v) for v in self._trainable_variables}
            if any(self._var_key(v) not in known for v in variables):
                return
        super().apply(grads, trainable_variables)


# The config.


class Forgets(Right):
    """A config without one of its entries."""

    forgotten = ""

    def get_config(self):
        config = super().get_config()
        return {k: v for k, v in config.items() if k != self.forgotten}


@caught_by("check_every_argument_is_in_the_config")
class ForgetsBeta(Forgets):
    forgotten = "beta"


@caught_by("check_every_argument_is_in_the_config")
class RoundsBeta(Right):
    def get_config(self):
        return super().get_config() | {"beta": round(self.beta, 2)}


@caught_by("check_every_argument_is_in_the_config")
class ForgetsSparseUpdate(Right):
    """It can be seen on rows alone, and its choices from a `Literal` alone."""

    def __init__(self, learning_rate=0.01, is_lazy=False, **settings):
        sparse_update = "lazy" if is_lazy else "exact"
        super().__init__(learning_rate, **{**settings, "sparse_update": sparse_update})

    def get_config(self):
        config = super().get_config()
        return {
            k: v for k, v in config.items() if k not in ("sparse_update", "is_lazy")
        }


@caught_by("check_every_argument_is_in_the_config")
class ForgetsCompensate(Forgets):
    forgotten = "compensate"


@caught_by("check_every_argument_is_in_the_config")
class ForgetsMultipliers(Forgets):
    forgotten = "learning_rate_multipliers"


@caught_by("check_every_argument_is_in_the_config")
class ForgetsClipvalue(Forgets):
    forgotten = "clipvalue"


@caught_by("check_a_schedule_is_in_the_config")
class FreezesTheSchedule(Right):
    def get_config(self):
        config = super().get_config()
        if isinstance(config["learning_rate"], dict):
            config["learning_rate"] = 0.01
        return config


@caught_by("check_exclusions_are_in_the_config")
class ForgetsExclusions(Forgets):
    forgotten = "exclude_from_weight_decay"


@caught_by("check_the_config_is_plain")
class HasAnArrayInItsConfig(Right):
    def get_config(self):
        return super().get_config() | {"beta": {"a set": {self.beta}}}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        [config["beta"]] = config["beta"]["a set"]
        return super().from_config(config, custom_objects)


# State.


@caught_by(
    "check_own_variables_go_on",
    "check_a_keras_file_goes_on",
    "check_a_weights_file_goes_on",
    also=("check_the_state_goes_where_the_weights_go",),
)
class LosesASlotOnLoad(Right):
    """`v` is zero after a load, however it comes about."""

    def load_own_variables(self, store):
        super().load_own_variables(store)
        self.v_is_lost = True

    def apply(self, grads, trainable_variables=None):
        if getattr(self, "v_is_lost", False):
            for variable in self.variables:
                if variable.path.endswith(("/v", "_v")):
                    variable.assign(ops.zeros(variable.shape))
            self.v_is_lost = False
        super().apply(grads, trainable_variables)


@caught_by("check_pickle_goes_on")
class PicklesItsConfig(Right):
    def __reduce__(self):
        return _from_config, (type(self), self.get_config())

    def __deepcopy__(self, memo):
        return _copy_by_keras(self, memo)


@caught_by("check_deepcopy_goes_on")
class CopiesItsConfig(Right):
    def __deepcopy__(self, memo):
        return _from_config(type(self), self.get_config())


def _from_config(kind, config):
    return kind.from_config(config)


def _copy_by_keras(optimizer, memo):
    function, arguments, *_ = super(PicklesItsConfig, optimizer).__reduce__()
    return function(*arguments)


@caught_by("check_a_state_that_does_not_fit_is_refused")
class TakesAnyState(Right):
    def load_own_variables(self, store):
        with contextlib.suppress(ValueError):
            super().load_own_variables(store)


@caught_by(
    "check_a_weights_file_into_a_new_model_goes_on",
    also=(
        "check_deepcopy_goes_on",
        "check_pickle_goes_on",
    ),
)
class SkipsAStateThatWaits(Right):
    def load_own_variables(self, store):
        if self._trainable_variables:
            super().load_own_variables(store)

    def build(self, variables):
        if not self.built or not self._trainable_variables:
            super().build(variables)


# Rows.


@caught_by(
    "check_repeated_rows_are_summed",
    also=(
        "check_clipnorm_on_repeated_rows",
        "check_clipvalue_on_repeated_rows",
        "check_global_clipnorm_on_repeated_rows",
        "check_rows_accumulate",
    ),
)
class TakesTheLastRepeat(Right):
    def apply(self, grads, trainable_variables=None):
        super().apply([_without_repeats(g) for g in grads], trainable_variables)


def _without_repeats(g):
    if not hasattr(g, "indices"):
        return g
    import tensorflow as tf

    last = tf.reduce_max(
        tf.where(
            g.indices[:, None] == g.indices[None, :], tf.range(tf.size(g.indices)), -1
        ),
        axis=1,
    )
    is_last = tf.equal(last, tf.range(tf.size(g.indices)))
    values = tf.where(is_last[:, None], g.values, tf.zeros_like(g.values))
    return tf.IndexedSlices(values, g.indices, g.dense_shape)


@caught_by(
    "check_rows_in_any_order",
    also=(
        "check_a_lazy_step_costs_the_rows_named",
        "check_absent_rows_have_one_meaning",
        "check_clipnorm_on_repeated_rows",
        "check_clipvalue_on_repeated_rows",
        "check_global_clipnorm_on_repeated_rows",
        "check_repeated_rows_are_summed",
        "check_rows_accumulate",
        "check_rows_are_taken",
        "check_rows_decay",
    ),
)
class SortsTheIndicesAlone(Right):
    def apply(self, grads, trainable_variables=None):
        super().apply([_sorted(g) for g in grads], trainable_variables)


def _sorted(g):
    if not hasattr(g, "indices"):
        return g
    import tensorflow as tf

    return tf.IndexedSlices(g.values, tf.sort(g.indices), g.dense_shape)


@caught_by("check_rows_named_in_int64")
class TakesNarrowIdsAlone(Right):
    def apply(self, grads, trainable_variables=None):
        super().apply([_with_narrow_ids(g) for g in grads], trainable_variables)


def _with_narrow_ids(g):
    if not hasattr(g, "indices") or g.indices.dtype != "int64":
        return g
    import tensorflow as tf

    return tf.IndexedSlices(g.values, g.indices % 4, g.dense_shape)


@caught_by("check_rows_decay")
class DecaysTheRowsNamed(Right):
    """All the rest of a step is on all rows."""

    def _decay(self, θ, g, ηλ):
        kept, self.sparse_update = self.sparse_update, "lazy"
        super()._decay(θ, g, ηλ)
        self.sparse_update = kept


@caught_by(
    "check_absent_rows_have_one_meaning",
    also=(
        "check_a_lazy_step_costs_the_rows_named",
        "check_rows_decay",
    ),
)
class MovesOnAndKeepsTheMoments(Lazy):
    """Absent rows move by a hundredth of the rate, and their slots stay."""

    def apply_sparse(self, g, θ, η, m, v):
        values, new_m, new_v = super().apply_sparse(g, θ, η, m, v)
        drifted = ops.convert_to_tensor(θ) - 0.05 * η * ops.sign(
            ops.convert_to_tensor(m)
        )
        import tensorflow as tf

        dense = tf.tensor_scatter_nd_update(
            drifted, values.indices[:, None], values.values
        )
        return dense, new_m, new_v


@caught_by("check_a_lazy_step_costs_the_rows_named")
class LazyOnTheWholeTable(Lazy):
    def apply_sparse(self, g, θ, η, m, v):
        g = g.merged()
        dense = g.to_dense(θ.shape)
        is_named = g.with_values(ops.ones_like(g.values)).to_dense(θ.shape) > 0
        old = [ops.convert_to_tensor(place) for place in (θ, m, v)]
        new = self.apply_dense(dense, old[0], η, *old[1:])
        return tuple(ops.where(is_named, a, b) for a, b in zip(new, old))


@caught_by("check_a_step_without_rows")
class DividesByTheRows(Right):
    def apply(self, grads, trainable_variables=None):
        import tensorflow as tf

        rows = [g for g in grads if hasattr(g, "indices")]
        for g in rows:
            count = tf.cast(tf.size(g.indices), g.values.dtype)
            grads = [
                other if other is g else other * (count / count) for other in grads
            ]
        super().apply(grads, trainable_variables)


@caught_by("check_clipnorm_on_repeated_rows")
class NormOfTheRepeats(Right):
    def apply(self, grads, trainable_variables=None):
        if self.clipnorm:
            grads = [_clipped_rows(g, self.clipnorm) for g in grads]
        super().apply(grads, trainable_variables)


def _clipped_rows(g, c):
    if not hasattr(g, "indices"):
        return g
    import tensorflow as tf

    return tf.IndexedSlices(_clipped(g.values, c), g.indices, g.dense_shape)


@caught_by("check_the_loss_scale_of_rows_is_undone")
class ScalesDenseGradientsAlone(Right):
    def apply(self, grads, trainable_variables=None):
        if self.loss_scale_factor:
            grads = [_scaled(g, self.loss_scale_factor) for g in grads]
        super().apply(grads, trainable_variables)


def _scaled(g, factor):
    if not hasattr(g, "indices"):
        return g
    import tensorflow as tf

    return tf.IndexedSlices(g.values * factor, g.indices, g.dense_shape)


# Compiled steps.


@caught_by(
    "check_compiled_steps_are_eager_steps",
    also=(
        "check_a_compiled_step_follows_a_new_rate",
        "check_a_layer_frozen_after_averaging_stays",
        "check_a_schedule_is_followed",
        "check_compiled_accumulation_is_eager",
        "check_compiled_averages_are_eager_averages",
        "check_compiled_clips_are_eager_clips",
        "check_compiled_rows_are_eager_rows",
        "check_fit_accumulates",
        "check_fit_is_a_loop_of_steps",
        "check_fit_twice_with_averages",
        "check_steps_compiled_by_xla_are_eager_steps",
    ),
)
class CountsInPython(Right):
    """The bias correction of the step in which the graph was made, forever."""

    def apply_dense(self, g, θ, η, m, v):
        traced = hasattr(g, "graph") or type(g).__module__.startswith("jax._src.interp")
        return super().apply_dense(g, θ, η * 1.1 if traced else η, m, v)


@caught_by("check_compiled_rows_are_eager_rows")
class DropsRowsInAGraph(Right):
    def apply(self, grads, trainable_variables=None):
        import tensorflow as tf

        if not tf.executing_eagerly():
            grads = [_without_repeats(g) for g in grads]
        super().apply(grads, trainable_variables)


@caught_by("check_a_schedule_is_followed")
class AsksTheScheduleForTheNextStep(Right):
    @property
    def learning_rate(self):
        if isinstance(
            self._learning_rate, keras.optimizers.schedules.LearningRateSchedule
        ):
            return self._learning_rate(self._iterations + 1)
        return super().learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        keras.optimizers.Optimizer.learning_rate.fset(self, value)


# Other processes.

REMEMBERED: dict[str, float] = {}


@caught_by("check_a_file_goes_on_in_a_fresh_process")
class RemembersInItsModule(Right):
    """The factor of a rate is made up when it is first seen, in this process."""

    def __init__(self, learning_rate=0.01, **settings):
        super().__init__(learning_rate, **settings)
        self.factor = REMEMBERED.setdefault(
            "factor", 1 + np.random.default_rng().random()
        )

    def apply_dense(self, g, θ, η, m, v):
        return super().apply_dense(g, θ, η * self.factor, m, v)
