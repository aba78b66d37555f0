"""TensorFlow's training kernels: each reads and writes every element once, in place.

A kernel takes the optimizer, the gradient, the variable, the step size and the slots,
as `apply_dense` does, and assigns what `apply_dense` would return.
"""

from __future__ import annotations

import keras
import tensorflow as tf
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
    θ.scatter_sub((g * η).assignable())


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


def under_xla() -> bool:
    """Whether what is traced here is compiled by XLA."""
    return not tf.executing_eagerly() and GraphOrParentsInXlaContext(
        tf.compat.v1.get_default_graph()
    )


def _scaled(η, g):
    return η if g.scale is None else η * g.scale


KERNELS = {"sgd": sgd, "momentum": momentum, "adam": adam}
ROW_KERNELS = {"sgd": sgd_on_rows}
