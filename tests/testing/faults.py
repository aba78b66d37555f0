"""Optimizers that are each wrong in one way, and the right ones they are made from.

They are classes of a module, so that another process can import them.
"""

import contextlib
import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_textbook_opt import TextbookOptimizer
from tests.testing.right import Plain, dense, is_sparse


class Lazy(Plain):
    """The same, but rows that are absent from a gradient are not touched."""

    def apply(self, grads, trainable_variables=None):
        keras.optimizers.Optimizer.apply(self, grads, trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        if not is_sparse(gradient):
            return super().update_step(gradient, variable, learning_rate)
        import tensorflow as tf

        rows, repeats = tf.unique(gradient.indices)
        g = tf.math.unsorted_segment_sum(gradient.values, repeats, tf.size(rows))
        slots = self.slots_of(variable)
        places = [x if callable(x.value) else x.value for x in (variable, *slots)]
        old = [tf.gather(place, rows) for place in places]
        new = self.formula(g, old[0], learning_rate, *old[1:])
        for place, values in zip(places, new):
            place.scatter_update(tf.IndexedSlices(values, rows))


class Ours(TextbookOptimizer):
    """The same equation on this package's base class."""

    def __init__(self, learning_rate=0.01, beta=0.75, **settings):
        super().__init__(learning_rate, **settings)
        if not 0 <= beta < 1:
            raise ValueError(f"`beta` must be in [0, 1). Received: beta={beta}")
        self.beta = beta

    def create_slots(self, variables):
        self.has_float16 = any(v.dtype == "float16" for v in variables)
        for variable in variables:
            self.add_slot(variable, "m")
            self.add_slot(variable, "v")

    def apply_dense(self, g, θ, η, m, v):
        m = self.beta * m + (1 - self.beta) * g
        v = self.beta * v + (1 - self.beta) * ops.square(g)
        return θ - η * m / (ops.sqrt(v) + 0.01), m, v

    def get_config(self):
        return super().get_config() | {"beta": self.beta}


RIGHT = (Plain, Lazy, Ours)
FAULTS: list[Any] = []


def caught_by(*checks: str, only: str = ""):
    """Name the checks that must fail, and the only backend that shows the fault."""

    def planted(fault: type) -> type:
        FAULTS.append(fault)
        fault.caught_by, fault.only = checks, only  # type: ignore[attr-defined]
        return fault

    return planted


# The contract of `apply`.


@caught_by("check_learning_rate_moves_variables")
class NeverMoves(Plain):
    def formula(self, g, θ, η, m, v):
        return θ, m, v


@caught_by("check_fifty_steps_reduce_loss")
class Uphill(Plain):
    def formula(self, g, θ, η, m, v):
        new, m, v = super().formula(g, θ, η, m, v)
        return 2 * θ - new, m, v


@caught_by("check_steps_are_reproducible")
class CountsInstances(Plain):
    made = 0

    def __init__(self, learning_rate=0.01, beta=0.75, **settings):
        super().__init__(learning_rate, beta, **settings)
        type(self).made += 1
        self.factor = 1 + 0.01 * self.made

    def formula(self, g, θ, η, m, v):
        return super().formula(g, θ, η * self.factor, m, v)


@caught_by("check_instances_are_independent")
class SharesBeta(Plain):
    def __init__(self, learning_rate=0.01, beta=0.75, **settings):
        super().__init__(learning_rate, beta, **settings)
        type(self).last_beta = beta

    def formula(self, g, θ, η, m, v):
        own, self.beta = self.beta, type(self).last_beta
        new = super().formula(g, θ, η, m, v)
        self.beta = own
        return new


@caught_by("check_state_is_in_variables")
class RemembersInPython(Plain):
    """The factor of the second step and later is kept in Python."""

    def __init__(self, learning_rate=0.01, beta=0.75, **settings):
        super().__init__(learning_rate, beta, **settings)
        self.factor = 1.0

    def apply(self, grads, trainable_variables=None):
        super().apply(grads, trainable_variables)
        self.factor *= 1.1

    def formula(self, g, θ, η, m, v):
        return super().formula(g, θ, η * self.factor, m, v)


@caught_by("check_state_is_in_variables")
class CreatesStateInAStep(Plain):
    def apply(self, grads, trainable_variables=None):
        super().apply(grads, trainable_variables)
        if not hasattr(self, "late"):
            self.late = self.add_variable((), name="late")


@caught_by("check_second_build_keeps_state")
class BuildsAgain(Plain):
    def build(self, variables):
        if self.built:
            for slot in [*self.m, *self.v]:
                slot.assign(ops.zeros(slot.shape))
        super().build(variables)


@caught_by("check_slots_are_separate")
class SharesSlotsOfAShape(Plain):
    def slots_of(self, variable):
        keys = [v.shape for v in self._trainable_variables]
        k = keys.index(keys[self._get_variable_index(variable)])
        return self.m[k], self.v[k]


@caught_by("check_slots_are_separate")
class SharesSlotsOfANameAndShape(Plain):
    def slots_of(self, variable):
        keys = [(v.name, v.shape) for v in self._trainable_variables]
        k = keys.index(keys[self._get_variable_index(variable)])
        return self.m[k], self.v[k]


@caught_by("check_slots_are_separate")
class SharesSlotsOfTransposedShapes(Plain):
    """Variables of one shape have separate slots."""

    def update_step(self, gradient, variable, learning_rate):
        slots = [*self.slots_of(variable)]
        for other in self._trainable_variables:
            if other.shape != variable.shape and other.shape == variable.shape[::-1]:
                shared = self.slots_of(other)
                for slot, value in zip(slots, shared):
                    slot.assign(ops.reshape(value, slot.shape))
                super().update_step(gradient, variable, learning_rate)
                for slot, place in zip(slots, shared):
                    place.assign(ops.reshape(slot, place.shape))
                return
        super().update_step(gradient, variable, learning_rate)


@caught_by("check_variable_order")
class UsesTheOrderOfTheCall(Plain):
    """Each variable has half of the rate of the one before it in the call."""

    def apply(self, grads, trainable_variables=None):
        if not self.built:
            self.build(trainable_variables)
        given = trainable_variables or self._trainable_variables
        self.called = [self._get_variable_index(v) for v in given]
        super().apply(grads, trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        before = self.called.index(self._get_variable_index(variable))
        super().update_step(gradient, variable, learning_rate * 0.5**before)


@caught_by("check_none_gradient")
class NoneIsZeros(Plain):
    def apply(self, grads, trainable_variables=None):
        variables = trainable_variables or self._trainable_variables
        pairs = zip(grads, variables)
        grads = [ops.zeros(v.shape, v.dtype) if g is None else g for g, v in pairs]
        super().apply(grads, trainable_variables)


@caught_by("check_variable_shapes")
class NeedsAxes(Plain):
    def formula(self, g, θ, η, m, v):
        return super().formula(ops.reshape(g, (θ.shape[0], *θ.shape[1:])), θ, η, m, v)


@caught_by("check_empty_variable")
class DividesByTheSize(Plain):
    def apply(self, grads, trainable_variables=None):
        grads = list(map(dense, grads))
        if any(g is not None and 0 in g.shape for g in grads):
            mean = sum(ops.mean(g) for g in grads)
            grads = [g + mean for g in grads]
        super().apply(grads, trainable_variables)


@caught_by("check_zero_gradients")
class DividesByZero(Plain):
    def formula(self, g, θ, η, m, v):
        _, m, v = super().formula(g, θ, η, m, v)
        return θ - η * m / ops.sqrt(v), m, v


@caught_by("check_large_gradients")
class KeepsFloat16Moments(Plain):
    def formula(self, g, θ, η, m, v):
        new, m, v = super().formula(g, θ, η, m, v)
        return new, m, ops.cast(ops.cast(v, "float16"), v.dtype)


@caught_by("check_iterations")
class CountsTwice(Plain):
    def apply(self, grads, trainable_variables=None):
        super().apply(grads, trainable_variables)
        self._iterations.assign_add(1)


@caught_by("check_zero_learning_rate")
class DividesByTheRate(Plain):
    def formula(self, g, θ, η, m, v):
        new, m, v = super().formula(g, θ, η, m, v)
        return θ + η * ((new - θ) / η), m, v


@caught_by("check_zero_learning_rate")
class LooksAheadFromZero(Plain):
    """Every ten steps the variable is the mean of itself and of a slow copy."""

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.slow = self.add_optimizer_variables(variables, "slow")

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, learning_rate)
        slow = self.slow[self._get_variable_index(variable)]
        is_time = ops.equal((self.iterations + 1) % 10, 0)
        mean = 0.5 * slow + 0.5 * variable
        variable.assign(ops.where(is_time, mean, variable))
        slow.assign(ops.where(is_time, mean, slow))


@caught_by("check_gradients_are_not_modified")
class ReplacesTheList(Plain):
    def apply(self, grads, trainable_variables=None):
        if isinstance(grads, list):
            grads[:] = [g if g is None else g * 1.0 for g in grads]
        super().apply(grads, trainable_variables)


@caught_by("check_gradients_are_not_modified", only="torch")
class KeepsTheFirstGradient(Plain):
    """It is the buffer of the momentum, to which the next step adds."""

    buffer: list

    def apply(self, grads, trainable_variables=None):
        if hasattr(self, "buffer"):
            for total, g in zip(self.buffer, grads):
                total += g
        else:
            self.buffer = [g for g in grads if g is not None]
        super().apply(grads, trainable_variables)


@caught_by("check_apply_without_build")
class SkipsTheFirstStep(Plain):
    def apply(self, grads, trainable_variables=None):
        if not self.built:
            self.build(list(trainable_variables))
            return
        super().apply(grads, trainable_variables)


@caught_by("check_apply_without_variables")
class HalvesWithoutVariables(Plain):
    def apply(self, grads, trainable_variables=None):
        if trainable_variables is None:
            grads = [grads[0], *(0.5 * g for g in grads[1:])]
        super().apply(grads, trainable_variables)


@caught_by("check_apply_gradients")
class DoublesPairs(Plain):
    def apply_gradients(self, grads_and_vars):
        return super().apply_gradients([(2 * g, v) for g, v in grads_and_vars])


@caught_by("check_learning_rate_can_be_set")
class KeepsTheRate(Plain):
    def __init__(self, learning_rate=0.01, beta=0.75, **settings):
        super().__init__(learning_rate, beta, **settings)
        self.kept = learning_rate

    def formula(self, g, θ, η, m, v):
        return super().formula(g, θ, η if callable(self.kept) else self.kept, m, v)


@caught_by("check_learning_rate_can_be_set")
class DriftsByItself(Plain):
    def apply(self, grads, trainable_variables=None):
        super().apply(grads, trainable_variables)
        self._learning_rate.assign(self._learning_rate * 0.99)


# Precision.


@caught_by("check_float32")
class ComputesInBfloat16(Plain):
    def formula(self, g, θ, η, m, v):
        return super().formula(ops.cast(ops.cast(g, "bfloat16"), θ.dtype), θ, η, m, v)


@caught_by("check_float32")
class StoresFloat16(Plain):
    def formula(self, g, θ, η, m, v):
        new, m, v = super().formula(g, θ, η, m, v)
        return ops.cast(ops.cast(new, "float16"), θ.dtype), m, v


@caught_by("check_float64")
class StoresFloat32(Plain):
    def formula(self, g, θ, η, m, v):
        new, m, v = super().formula(g, θ, η, m, v)
        return ops.cast(ops.cast(new, "float32"), θ.dtype), m, v


@caught_by("check_float64")
class ComputesInFloat32(Plain):
    def formula(self, g, θ, η, m, v):
        g, m, v = (ops.cast(ops.cast(x, "float32"), θ.dtype) for x in (g, m, v))
        return super().formula(g, θ, η, m, v)


@caught_by("check_bfloat16", "check_float16")
class CarriesNothing(Ours):
    def __init__(self, learning_rate=0.01, beta=0.75, **settings):
        super().__init__(learning_rate, beta, **{**settings, "compensate": False})


@caught_by("check_float16", "check_float16_small_gradients")
class IsNaNInFloat16(Ours):
    def apply_dense(self, g, θ, η, m, v):
        g = np.nan * g if self.has_float16 else g
        return super().apply_dense(g, θ, η, m, v)


@caught_by("check_float16_small_gradients")
class SquaresInFloat16(Ours):
    def apply_dense(self, g, θ, η, m, v):
        new, new_m, new_v = super().apply_dense(g, θ, η, m, v)
        if not self.has_float16:
            return new, new_m, new_v
        new_v = ops.cast(ops.square(ops.cast(g, "float16")), g.dtype)
        return θ - η * new_m / (ops.sqrt(new_v) + 1e-7), new_m, new_v


# Clipping.


@caught_by("check_clipnorm")
class IgnoresClipnorm(Plain):
    def _clip_gradients(self, grads):
        return grads if self.clipnorm else super()._clip_gradients(grads)


@caught_by("check_clipvalue")
class ClipsFromAbove(Plain):
    def _clip_gradients(self, grads):
        if not self.clipvalue:
            return super()._clip_gradients(grads)
        return [ops.minimum(g, self.clipvalue) for g in grads]


@caught_by("check_global_clipnorm")
class ClipsEachGlobally(Plain):
    def _clip_gradients(self, grads):
        if not self.global_clipnorm:
            return super()._clip_gradients(grads)
        return [_clipped(g, self.global_clipnorm) for g in grads]


@caught_by("check_clip_of_large_gradients")
class SumsSquaresOfSquares(Plain):
    def _clip_gradients(self, grads):
        if not self.clipnorm:
            return super()._clip_gradients(grads)
        return [_clipped(g, self.clipnorm, power=4) for g in grads]


def _clipped(g, c, power=2):
    norm = ops.sqrt(ops.sum(ops.square(g)))
    if power == 4:  # the root of a root of a sum that overflows
        norm = norm * (ops.sum(g**4) / ops.sum(g**4))
    return g * (c / ops.maximum(norm, c))


# Keras's features.


@caught_by("check_loss_scale")
class UnscalesTwice(Plain):
    def formula(self, g, θ, η, m, v):
        return super().formula(g / (self.loss_scale_factor or 1), θ, η, m, v)


@caught_by("check_loss_scale_before_clip")
class ClipsBeforeItUnscales(Plain):
    def _clip_gradients(self, grads):
        if not self.loss_scale_factor or not self.clipvalue:
            return super()._clip_gradients(grads)
        c = self.clipvalue / self.loss_scale_factor
        return [ops.clip(g, -c, c) for g in grads]


@caught_by("check_gradient_accumulation")
class AccumulatesTheSum(Plain):
    def formula(self, g, θ, η, m, v):
        steps = self.gradient_accumulation_steps or 1
        return super().formula(steps * g, θ, η, m, v)


@caught_by("check_clip_of_accumulated_gradients")
class ClipsBeforeItAccumulates(Plain):
    def apply(self, grads, trainable_variables=None):
        if self.gradient_accumulation_steps and self.clipvalue:
            c = self.clipvalue
            grads = [g if g is None else ops.clip(g, -c, c) for g in grads]
        super().apply(grads, trainable_variables)


@caught_by("check_ema")
class KeepsTheLastWeights(Plain):
    def finalize_variable_values(self, var_list):
        pass


@caught_by("check_ema_overwrite")
class OverwritesOneStepLate(Plain):
    def __init__(self, learning_rate=0.01, beta=0.75, **settings):
        super().__init__(learning_rate, beta, **settings)
        if self.ema_overwrite_frequency:
            self.ema_overwrite_frequency += 1


@caught_by("check_weight_decay")
class DecaysTwice(Plain):
    def _apply_weight_decay(self, variables):
        super()._apply_weight_decay(variables)
        super()._apply_weight_decay(variables)


@caught_by("check_weight_decay")
class NeverDecays(Plain):
    def _apply_weight_decay(self, variables):
        pass


@caught_by("check_weight_decay")
class DecaysBeforeTheClip(NeverDecays):
    """A gradient that `λ·θ` was added to is clipped; the step has no moments."""

    def apply(self, grads, trainable_variables=None):
        variables = trainable_variables or self._trainable_variables
        λ = self.weight_decay or 0.0
        pairs = zip(map(dense, grads), variables)
        grads = [g if g is None else g + λ * ops.stop_gradient(v) for g, v in pairs]
        super().apply(grads, trainable_variables)

    def formula(self, g, θ, η, m, v):
        return θ - η * g, m, v


@caught_by("check_weight_decay")
class DecaysByTheFirstRate(Plain):
    def __init__(self, learning_rate=0.01, beta=0.75, **settings):
        super().__init__(learning_rate, beta, **settings)
        self.first_rate = learning_rate

    def _apply_weight_decay(self, variables):
        for variable in variables if self.weight_decay else ():
            kept = 1 - self.first_rate * self.weight_decay
            variable.assign(variable * kept)


@caught_by("check_exclude_from_weight_decay")
class DecaysWhatIsExcluded(Plain):
    def _use_weight_decay(self, variable):
        return True


@caught_by("check_constraints")
class IgnoresConstraints(Plain):
    def apply(self, grads, trainable_variables=None):
        variables = list(trainable_variables or self._trainable_variables)
        kept = [variable.constraint for variable in variables]
        for variable in variables:
            variable.constraint = None
        super().apply(grads, trainable_variables)
        for variable, constraint in zip(variables, kept):
            variable.constraint = constraint


@caught_by("check_overwrite_with_gradient")
class NeverOverwrites(Plain):
    def _overwrite_variables_directly_with_gradients(self, grads, variables):
        return grads, variables


# Invalid input.


@caught_by("check_invalid_learning_rate")
class AcceptsAnyRate(Ours):
    def __init__(self, learning_rate=0.01, beta=0.75, **settings):
        if not callable(learning_rate) and not 0 <= learning_rate < np.inf:
            learning_rate = 0.01
        super().__init__(learning_rate, beta, **settings)


@caught_by("check_invalid_settings")
class AcceptsAnyClip(Ours):
    def __init__(self, learning_rate=0.01, beta=0.75, clipnorm=None, **settings):
        clipnorm = clipnorm if clipnorm and clipnorm > 0 else None
        super().__init__(learning_rate, beta, clipnorm=clipnorm, **settings)


@caught_by("check_invalid_hyperparameters")
class AcceptsAnyBeta(Plain):
    def __init__(self, learning_rate=0.01, beta=0.75, **settings):
        super().__init__(learning_rate, **settings)
        self.beta = beta


@caught_by("check_unknown_arguments")
class AcceptsAnyArgument(Plain):
    def __init__(self, learning_rate=0.01, beta=0.75, no_such_argument=0, **settings):
        super().__init__(learning_rate, beta, **settings)


@caught_by("check_gradient_shape_mismatch")
class Broadcasts(Ours):
    def apply(self, grads, trainable_variables=None):
        variables = list(trainable_variables or self._trainable_variables)
        fitting = [
            ops.broadcast_to(g, θ.shape)
            if hasattr(g, "shape") and tuple(g.shape) == tuple(θ.shape[1:])
            else g
            for g, θ in zip(grads, variables)
        ]
        super().apply([*fitting, *list(grads)[len(fitting) :]], trainable_variables)


@caught_by("check_missing_gradients")
class ZipsPairs(Ours):
    def apply(self, grads, trainable_variables=None):
        variables = list(trainable_variables or self._trainable_variables)
        super().apply(grads, variables[: len(list(grads))])


@caught_by("check_unknown_variables")
class IgnoresUnknownVariables(Plain):
    def apply(self, grads, trainable_variables=None):
        known = {id(v) for v in self._trainable_variables} if self.built else set()
        if known and any(id(v) not in known for v in trainable_variables or ()):
            return
        super().apply(grads, trainable_variables)


# The config.


class Forgets:
    """A config without one of its entries."""

    forgotten = ""

    def get_config(self):
        config = super().get_config()  # type: ignore[misc]
        return {k: v for k, v in config.items() if k != self.forgotten}


@caught_by("check_config_has_every_argument", "check_config_restores_arguments")
class ForgetsBeta(Forgets, Plain):
    forgotten = "beta"


@caught_by("check_config_restores_arguments")
class ForgetsCompensate(Forgets, Ours):
    forgotten = "compensate"


@caught_by("check_config_restores_arguments")
class ForgetsMultipliers(Forgets, Ours):
    forgotten = "learning_rate_multipliers"


@caught_by("check_config_restores_arguments")
class ForgetsClipvalue(Forgets, Plain):
    forgotten = "clipvalue"


@caught_by("check_config_has_every_argument")
class ForgetsATuple(Plain):
    def __init__(self, learning_rate=0.01, beta=0.75, betas=(0.9, 0.99), **settings):
        super().__init__(learning_rate, beta, **settings)
        self.betas = betas


@caught_by("check_config_has_every_argument")
class ForgetsAnUnsetArgument(Plain):
    def __init__(self, learning_rate=0.01, beta=0.75, rank=None, **settings):
        super().__init__(learning_rate, beta, **settings)
        self.rank = rank


@caught_by("check_config_restores_arguments")
class RoundsBeta(Plain):
    def get_config(self):
        return super().get_config() | {"beta": round(self.beta, 2)}


@caught_by("check_from_config")
class DoublesTheRateOfAConfig(Plain):
    @classmethod
    def from_config(cls, config, custom_objects=None):
        if isinstance(config["learning_rate"], float):
            config = config | {"learning_rate": 2 * config["learning_rate"]}
        return super().from_config(config, custom_objects)


@caught_by("check_config_restores_schedule")
class FreezesTheSchedule(Plain):
    def get_config(self):
        config = super().get_config()
        if isinstance(config["learning_rate"], dict):
            config["learning_rate"] = 0.01
        return config


@caught_by("check_config_restores_exclusions")
class ForgetsExclusions(Forgets, Ours):
    forgotten = "exclude_from_weight_decay"


@caught_by("check_config_is_json")
class HasASetInItsConfig(Plain):
    def get_config(self):
        return super().get_config() | {"beta": {"a set": {self.beta}}}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        [beta] = config["beta"]["a set"]
        return super().from_config(config | {"beta": beta}, custom_objects)


@caught_by("check_arguments_have_an_effect")
class IgnoresNesterov(Plain):
    def __init__(self, learning_rate=0.01, beta=0.75, nesterov=False, **settings):
        super().__init__(learning_rate, beta, **settings)
        self.nesterov = nesterov

    def get_config(self):
        return super().get_config() | {"nesterov": self.nesterov}


# State.


@caught_by(
    "check_own_variables_resume",
    "check_keras_file_resumes",
    "check_weights_file_resumes",
)
class LosesASlotOnLoad(Plain):
    def load_own_variables(self, store):
        super().load_own_variables(store)
        for slot in self.v:
            slot.assign(ops.zeros(slot.shape))


@caught_by("check_state_follows_weights")
class RestoresByName(Plain):
    """The state of the first of two layers goes to the second if the names say so."""

    def load_own_variables(self, store):
        super().load_own_variables(store)
        if len(self.m) == 2 and self.m[0].shape == self.m[1].shape:
            for first, second in (self.m, self.v):
                kept = ops.copy(first)
                first.assign(second)
                second.assign(kept)


@caught_by("check_pickle_resumes")
class PicklesItsConfig(Ours):
    def __reduce__(self):
        return _from_config, (type(self), self.get_config())


@caught_by("check_deepcopy_resumes")
class CopiesItsConfig(Ours):
    def __deepcopy__(self, memo):
        return _from_config(type(self), self.get_config())


def _from_config(kind, config):
    return kind.from_config(config)


@caught_by("check_state_mismatch_is_reported")
class HidesAMismatch(Plain):
    def load_own_variables(self, store):
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            super().load_own_variables(store)


@caught_by("check_weights_file_resumes_unbuilt")
class SkipsStateBeforeBuild(Ours):
    def load_own_variables(self, store):
        if self.built:
            super().load_own_variables(store)


# Sparse gradients.


class ChangesRows(Plain):
    """Sparse gradients go through `changed` first."""

    def apply(self, grads, trainable_variables=None):
        grads = [self.changed(g) if is_sparse(g) else g for g in grads]
        super().apply(grads, trainable_variables)


@caught_by("check_sparse_repeated_rows", only="tensorflow")
class KeepsTheLastRepeat(ChangesRows):
    def changed(self, g):
        return _without_repeats(g)


def _without_repeats(g):
    import tensorflow as tf

    places = tf.range(tf.size(g.indices))
    same = g.indices[:, None] == g.indices[None, :]
    is_last = tf.reduce_max(tf.where(same, places, -1), axis=1) == places
    values = tf.where(is_last[:, None], g.values, tf.zeros_like(g.values))
    return tf.IndexedSlices(values, g.indices, g.dense_shape)


@caught_by("check_sparse_row_order", "check_sparse_gradients", only="tensorflow")
class SortsTheIndicesOnly(ChangesRows):
    def changed(self, g):
        import tensorflow as tf

        return tf.IndexedSlices(g.values, tf.sort(g.indices), g.dense_shape)


@caught_by("check_sparse_int64_indices", only="tensorflow")
class WrapsWideIndices(ChangesRows):
    def changed(self, g):
        import tensorflow as tf

        wide = g.indices.dtype == "int64"
        indices = g.indices % 4 if wide else g.indices
        return tf.IndexedSlices(g.values, indices, g.dense_shape)


@caught_by("check_sparse_weight_decay", only="tensorflow")
class DecaysRowsOnly(Plain):
    """The step is on all rows."""

    def apply(self, grads, trainable_variables=None):
        self.rows = [g.indices for g in grads if is_sparse(g)]
        super().apply(grads, trainable_variables)

    def _apply_weight_decay(self, variables):
        before = 1 * variables[-1]
        super()._apply_weight_decay(variables)
        for rows in self.rows:
            present = ops.any(ops.equal(ops.arange(6)[:, None], rows), 1)[:, None]
            variables[-1].assign(ops.where(present, variables[-1], before))


@caught_by("check_sparse_absent_rows", only="tensorflow")
class MovesAbsentRows(Lazy):
    """Absent rows move a little, and their slots do not change."""

    def update_step(self, gradient, variable, learning_rate):
        m, _ = self.slots_of(variable)
        if is_sparse(gradient):
            variable.assign_sub(0.05 * learning_rate * ops.sign(m))
        super().update_step(gradient, variable, learning_rate)


@caught_by("check_sparse_lazy_cost", only="tensorflow")
class LazyOnTheWholeTable(Lazy):
    def update_step(self, gradient, variable, learning_rate):
        if not is_sparse(gradient):
            return super().update_step(gradient, variable, learning_rate)
        slots = self.slots_of(variable)
        before = [ops.convert_to_tensor(x) for x in (variable, *slots)]
        g = dense(gradient)
        new = self.formula(g, before[0], learning_rate, *before[1:])
        present = ops.not_equal(g, 0)
        for place, old, value in zip((variable, *slots), before, new):
            place.assign(ops.where(present, value, old))


@caught_by("check_sparse_empty_gradient", only="tensorflow")
class DividesByTheRows(Plain):
    def apply(self, grads, trainable_variables=None):
        for rows in [g for g in grads if is_sparse(g)]:
            count = ops.cast(ops.shape(rows.indices)[0], rows.values.dtype)
            grads = [g if g is rows else g * (count / count) for g in grads]
        super().apply(grads, trainable_variables)


@caught_by(
    "check_sparse_clipnorm",
    "check_sparse_clipvalue",
    "check_sparse_global_clipnorm",
    "check_sparse_loss_scale",
    only="tensorflow",
)
class LeavesRowsToKeras(Plain):
    def apply(self, grads, trainable_variables=None):
        keras.optimizers.Optimizer.apply(self, grads, trainable_variables)


# Compiled steps.


@caught_by(
    "check_compiled_steps",
    "check_compiled_clips",
    "check_compiled_gradient_accumulation",
    "check_compiled_ema",
    "check_compiled_learning_rate_can_be_set",
    "check_xla_steps",
    "check_fit",
    "check_fit_gradient_accumulation",
    only="tensorflow",
)
class HasAFactorInAGraph(Plain):
    def formula(self, g, θ, η, m, v):
        return super().formula(g, θ, η * 1.1 if hasattr(g, "graph") else η, m, v)


@caught_by("check_compiled_sparse_gradients", only="tensorflow")
class DropsRepeatsInAGraph(ChangesRows):
    def changed(self, g):
        return _without_repeats(g) if hasattr(g.values, "graph") else g


@caught_by("check_learning_rate_schedule")
class AsksForTheNextRate(Plain):
    def _get_current_learning_rate(self):
        schedule = keras.optimizers.schedules.LearningRateSchedule
        if isinstance(self._learning_rate, schedule):
            return self._learning_rate(self.iterations + 1)
        return super()._get_current_learning_rate()


# Other processes.

REMEMBERED: dict[str, float] = {}


@caught_by("check_keras_file_resumes_in_new_process")
class RemembersInItsModule(Plain):
    """The factor of a rate is drawn when it is first used in a process."""

    def formula(self, g, θ, η, m, v):
        factor = REMEMBERED.setdefault("factor", np.random.default_rng().random())
        return super().formula(g, θ, η * (1 + factor), m, v)
