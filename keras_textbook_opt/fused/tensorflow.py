"""TensorFlow's training kernels: each reads and writes every element once, in place.

A kernel takes the optimizer, the gradient, the variable, the step size and the slots,
as `apply_dense` does, and assigns what `apply_dense` would return.
"""

from __future__ import annotations

import contextlib
from typing import final

import keras
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla
from tensorflow.python.distribute import distribute_lib
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext


def applies(optimizer, θ, slots) -> bool:
    """Whether the optimizer's kernel serves `θ` as well as the equation does.

    The kernels compute in the dtype of `θ`, for which 16 bits are too few. XLA has no
    kernel with three slots (AMSGrad).

    Adam's computes `m + (1 − β₁)·(g − m)`, which rounds off a part of `m`, where the
    equation rounds off the same part of `β₁·m`. After a spike of the gradient that is
    all there is: `m = 0` where `β₁ = 0` and `m` should be `g`. From `β₁ = 1/2` on, it
    is one bit at most. The same is true of `v` and `β₂`. One difference is left: where
    `g²` is beyond the dtype (`|g| > 1.8e19`), `v` is infinite, after which the equation
    leaves `θ` where it is, and the kernel makes it NaN.
    """
    betas = [getattr(optimizer, name, 1.0) for name in ("beta_1", "beta_2")]
    if min(betas) < 0.5:
        return False
    if keras.backend.standardize_dtype(θ.dtype) not in ("float32", "float64"):
        return False
    return len(slots) < 3 or not under_xla()


def sgd(optimizer, g, θ, η) -> None:
    """`θ ← θ − (η·scale)·g`."""
    tf.raw_ops.ResourceApplyGradientDescent(
        var=θ.handle, alpha=_scaled(η, g), delta=g.unscaled
    )


def sgd_on_rows(optimizer, g, θ, η) -> None:
    """`θᵢ ← θᵢ − η·gᵢ`."""
    θ.scatter_sub((g * η).to_indexed_slices())


def momentum(optimizer, g, θ, η, m) -> None:
    """`m ← β·m − (η·scale)·g`, then `θ ← θ + m` or `θ ← θ + β·m − (η·scale)·g`."""
    tf.raw_ops.ResourceApplyKerasMomentum(
        var=θ.handle,
        accum=m.handle,
        lr=_scaled(η, g),
        grad=g.unscaled,
        momentum=tf.constant(optimizer.momentum, θ.dtype),
        use_nesterov=optimizer.nesterov,
    )


def adam(optimizer, g, θ, η_hat, m, v, v_hat=None) -> None:
    """`m`, `v`, perhaps `v̂`, then `θ ← θ − η̂·m/(√v + ε)`."""
    # The kernel would correct the bias by √(1 − β₂ᵗ)/(1 − β₁ᵗ), which η̂ has in it.
    zero = tf.constant(0, θ.dtype)
    arguments = {
        "var": θ.handle,
        "m": m.handle,
        "v": v.handle,
        "beta1_power": zero,
        "beta2_power": zero,
        "lr": η_hat,
        "beta1": tf.constant(optimizer.beta_1, θ.dtype),
        "beta2": tf.constant(optimizer.beta_2, θ.dtype),
        "epsilon": tf.constant(optimizer.epsilon, θ.dtype),
        "grad": g.values,
    }
    if v_hat is None:
        tf.raw_ops.ResourceApplyAdam(**arguments)
    else:
        tf.raw_ops.ResourceApplyAdamWithAmsgrad(vhat=v_hat.handle, **arguments)


def l2_loss(x):
    """`Σx²/2`, without the tensor `x²`."""
    return tf.nn.l2_loss(x)


def rounded(x, dtype):
    """`x` as `dtype` holds it. XLA may drop a cast there and back as of no effect."""
    if under_xla():
        held = xla.reduce_precision(x, *BITS[dtype])
        if dtype == "float16":
            # It takes the subnormals of float16, multiples of 2⁻²⁴, for zero.
            held = tf.where(tf.abs(x) < 2.0**-14, tf.round(x * 2.0**24) / 2.0**24, held)
        return held
    return tf.cast(tf.cast(x, dtype), x.dtype)


def outside_the_graph():
    """TensorFlow's scope for what is done once, when a graph is traced."""
    return tf.init_scope()


@contextlib.contextmanager
def outside_the_step(optimizer):
    """That scope, across the replicas, where an assignment reaches all of them.

    In a replica's step, the scope alone would stay in the context of that replica.
    """
    strategy = optimizer._distribution_strategy
    with tf.init_scope():
        if strategy is None or tf.distribute.in_cross_replica_context():
            yield
        else:
            mode = distribute_lib._CrossReplicaThreadMode(strategy)
            distribute_lib._push_per_thread_mode(mode)
            try:
                with strategy.scope():
                    yield
            finally:
                distribute_lib._pop_per_thread_mode()


def tracked(optimizer, name, variables):
    """The list in TensorFlow's wrapper, in the place of the one that had the name."""
    wrapped = tf.__internal__.tracking.wrap(variables)
    optimizer._track_trackable(wrapped, name, overwrite=True)
    return wrapped


@final
class Text(tf.train.experimental.PythonState):
    """What `write()` returns when a checkpoint is saved goes to `read` at a restore."""

    def __init__(self, write, read):
        self._write, self._read = write, read

    def serialize(self):
        return self._write()

    def deserialize(self, text):
        self._read(tf.compat.as_text(text))


def under_xla() -> bool:
    """Whether what is traced here is compiled by XLA."""
    return not tf.executing_eagerly() and GraphOrParentsInXlaContext(
        tf.compat.v1.get_default_graph()
    )


def _scaled(η, g):
    return η if g.scale is None else η * g.scale


# Bits of exponent and mantissa.
BITS = {"float16": (5, 10), "bfloat16": (8, 7)}
KERNELS = {"sgd": sgd, "momentum": momentum, "adam": adam}
ROW_KERNELS = {"sgd": sgd_on_rows}
