"""TensorFlow: kernels in place, rows, replicas, graphs, XLA, checkpoints."""

import contextlib
import functools
from typing import final

import keras
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

from keras_textbook_opt.backends.plain import Backend, name_of
from keras_textbook_opt.variables import is_narrow

# Bits of exponent and mantissa.
BITS = {"float16": (5, 10), "bfloat16": (8, 7)}
# From so many elements on, a step of 16 bits is worth a compilation by XLA (0.1 s).
LARGE = 2**20


@final
class TensorFlow(Backend):
    """The operations of TensorFlow."""

    has_rows = True

    # A step.

    def without_autograph(self, function):
        """AutoGraph skips Keras's code, and would rewrite all of this package."""
        return tf.autograph.experimental.do_not_convert(function)

    def sum_over_replicas(self, gradients):
        """Rows are merged before, so that each is sent once."""
        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return gradients
        tensors = [g.merged().assignable() for g in gradients]
        sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, tensors)
        return [g.of(total) for g, total in zip(gradients, sums)]

    def across_replicas(self, step, grads):
        """Within a replica, a branch and a `merge_call` exclude each other.

        So the step runs in the cross-replica context. The gradients are summed, so that
        those of the first replica are all that it needs.
        """
        if not _has_replicas():
            step(grads)
            return

        def outside(strategy, grads):
            def first(x):
                return strategy.experimental_local_results(x)[0]

            step([tf.nest.map_structure(first, g) for g in grads])

        tf.distribute.get_replica_context().merge_call(outside, args=(grads,))

    def run(self, equation, hyperparameters, group, fallback):
        """Each copy of a variable is updated on its own device."""
        name = name_of(equation)

        def run_here(updates):
            for update in updates:
                kernel = _kernel(name, hyperparameters, update)
                if kernel is not None:
                    kernel(hyperparameters, update)
                elif name in KERNELS and _is_worth_a_program(update):
                    tf.function(lambda u=update: fallback(u), jit_compile=True)()
                else:
                    fallback(update)

        def run_one(θ, update):
            run_here([update._replace(θ=θ)])

        def everywhere(strategy, updates):
            for update in updates:
                strategy.extended.update(update.θ, run_one, (update,), group=False)

        updates = [u._replace(θ=_native(u.θ)) for u in group.updates()]
        if not tf.distribute.has_strategy():
            run_here(updates)
        elif _has_replicas():
            tf.distribute.get_replica_context().merge_call(everywhere, args=(updates,))
        else:
            everywhere(tf.distribute.get_strategy(), updates)

    def assign(self, place, value):
        place = _native(place)
        if isinstance(value, tf.IndexedSlices):
            place.scatter_update(tf.cast(value, place.dtype))
        else:
            place.assign(tf.cast(value, place.dtype))

    def assign_add(self, place, value):
        place = _native(place)
        if isinstance(value, tf.IndexedSlices):
            place.scatter_add(value)
        else:
            place.assign_add(value)

    # Gradients.

    def squares(self, gradients):
        """Without creating the tensor `g²`."""
        return [2 * tf.nn.l2_loss(g.values) for g in gradients]

    def rounded(self, x, dtype):
        """XLA may remove a pair of casts."""
        if not under_xla():
            return tf.cast(tf.cast(x, dtype), x.dtype)
        held = xla.reduce_precision(x, *BITS[dtype])
        if dtype == "float16":
            # It flushes the subnormals of float16, multiples of 2⁻²⁴, to zero.
            subnormal = tf.round(x * 2.0**24) / 2.0**24
            held = tf.where(tf.abs(x) < 2.0**-14, subnormal, held)
        return held

    # State.

    def new_variable(self, name, like, initializer, dtype):
        """On the devices of `like`."""
        native = _native(like)
        strategy = getattr(native, "distribute_strategy", None)
        strategy = strategy or tf.distribute.get_strategy()
        with strategy.scope(), strategy.extended.colocate_vars_with(native):
            return super().new_variable(name, like, initializer, dtype)

    def is_initialized(self, variable):
        """`False` in a model that `fit` builds while it traces the first step."""
        return bool(_native(variable).is_initialized())

    def outside_the_step(self, assign):
        """An assignment in the cross-replica context updates all replicas."""

        def eagerly(strategy=None):
            with tf.init_scope():
                if strategy is None:
                    assign()
                else:
                    with strategy.scope():
                        assign()

        if not tf.distribute.has_strategy():
            eagerly()
        elif tf.distribute.in_cross_replica_context():
            eagerly(tf.distribute.get_strategy())
        else:
            tf.distribute.get_replica_context().merge_call(eagerly)

    def is_traced(self):
        return not tf.executing_eagerly()

    def checkpointed(self, variables, write, read):
        """A module with a list of the variables, and the text."""
        module = tf.Module()
        module.state = [_native(variable) for variable in variables]
        module.text = _Text(write, read)
        return module


@final
class _Text(tf.train.experimental.PythonState):
    """Saves the text `write()` in a checkpoint, and restores it with `read`."""

    def __init__(self, write, read):
        self._write, self._read = write, read

    def serialize(self):
        return self._write()

    def deserialize(self, text):
        self._read(tf.compat.as_text(text))


def _native(variable):
    return variable.value if isinstance(variable, keras.Variable) else variable


def _has_replicas() -> bool:
    """Whether this is the step of a replica, which may be one of several."""
    inside = not tf.distribute.in_cross_replica_context()
    no_merge_call = tf.__internal__.distribute.strategy_supports_no_merge_call
    return tf.distribute.has_strategy() and inside and not no_merge_call()


def under_xla() -> bool:
    """Whether what is traced here is compiled by XLA."""
    return not tf.executing_eagerly() and GraphOrParentsInXlaContext(
        tf.compat.v1.get_default_graph()
    )


# Training kernels: each reads and writes every element once, in place.


def _kernel(name, hyperparameters, update):
    """The kernel for an update; `None` if there is none, or the equation is better.

    Kernels compute in the dtype of `θ`, for which 16 bits are too few. XLA has no
    kernel with three slots (AMSGrad). Adam's computes `m + (1 − β₁)·(g − m)`, which
    after a spike of the gradient loses what is left of `m` if `β₁ < 1/2`.
    """
    kernels = ROW_KERNELS if hasattr(update.g, "indices") else KERNELS
    betas = [hyperparameters.get(name, 1.0) for name in ("beta_1", "beta_2")]
    if name not in kernels or min(betas) < 0.5 or is_narrow(update.θ):
        return None
    if len(update.state.slots) > 2 and under_xla():
        return None
    if hasattr(update.g, "indices") and update.decay is not None:
        return None
    return kernels[name]


def _decay(update) -> None:
    if update.decay is not None:
        # θ ← θ − η·λ·θ
        update.θ.assign_sub(update.decay * update.θ)


def _handles(update) -> list:
    return [_native(slot).handle for slot in update.state.slots.values()]


def _sgd(hyperparameters, update) -> None:
    _decay(update)
    g, η = update.g, update.step_size
    # θ ← θ − (η·scale)·g
    tf.raw_ops.ResourceApplyGradientDescent(
        var=update.θ.handle, alpha=_scaled(η, g), delta=g.unscaled
    )


def _sgd_on_rows(hyperparameters, update) -> None:
    # θᵢ ← θᵢ − η·gᵢ
    update.θ.scatter_sub((update.g * update.step_size).assignable())


def _momentum(hyperparameters, update) -> None:
    _decay(update)
    g, η, (m,) = update.g, update.step_size, _handles(update)
    # m ← β·m − (η·scale)·g, then θ ← θ + m or θ ← θ + β·m − (η·scale)·g
    tf.raw_ops.ResourceApplyKerasMomentum(
        var=update.θ.handle,
        accum=m,
        lr=_scaled(η, g),
        grad=g.unscaled,
        momentum=tf.constant(hyperparameters["momentum"], update.θ.dtype),
        use_nesterov=hyperparameters["nesterov"],
    )


def _adam(hyperparameters, update) -> None:
    _decay(update)
    m, v, *v_max = _handles(update)
    dtype = update.θ.dtype
    # The kernel would correct the bias by √(1 − β₂ᵗ)/(1 − β₁ᵗ), which is part of ηₜ.
    zero = tf.constant(0, dtype)
    arguments = {
        "var": update.θ.handle,
        "m": m,
        "v": v,
        "beta1_power": zero,
        "beta2_power": zero,
        "lr": update.step_size,
        "beta1": tf.constant(hyperparameters["beta_1"], dtype),
        "beta2": tf.constant(hyperparameters["beta_2"], dtype),
        "epsilon": tf.constant(hyperparameters["epsilon"], dtype),
        "grad": update.g.values,
    }
    # m, v, perhaps v_max, then θ ← θ − ηₜ·m/(√v + ε)
    if v_max:
        tf.raw_ops.ResourceApplyAdamWithAmsgrad(vhat=v_max[0], **arguments)
    else:
        tf.raw_ops.ResourceApplyAdam(**arguments)


def _scaled(η, g):
    return η if g.scale is None else η * keras.ops.convert_to_tensor(g.scale, η.dtype)


KERNELS = {
    "keras_textbook_opt.sgd.SGD.apply_dense": _sgd,
    "keras_textbook_opt.momentum.Momentum.apply_dense": _momentum,
    "keras_textbook_opt.adam.Adam.apply_dense": _adam,
}
ROW_KERNELS = {"keras_textbook_opt.sgd.SGD.apply_dense": _sgd_on_rows}


# Variables of 16 bits in a graph on a CPU: no kernel has a carry. A program of XLA is
# 2.2 to 2.4 times faster than the single operations (20 million elements).


def _is_worth_a_program(update) -> bool:
    return (
        is_narrow(update.θ)
        and update.θ.shape.num_elements() >= LARGE
        and "CPU" in update.θ.device
        and not hasattr(update.g, "indices")
        and not (tf.executing_eagerly() or under_xla())
        and _xla_is_here()
    )


@functools.cache
def _xla_is_here() -> bool:
    """Whether this TensorFlow compiles for the CPU; it does not on every system."""
    with contextlib.suppress(tf.errors.OpError), tf.init_scope(), tf.device("CPU:0"):
        return bool(tf.function(lambda: tf.zeros(()) == 0, jit_compile=True)())
    return False
