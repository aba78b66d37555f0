"""Optimizers of many kinds that are right: no check may accuse them.

They subclass Keras's `Optimizer`, and inherit the faults of that class.
"""

import keras
from keras import ops


def is_sparse(gradient):
    """Whether it is `tf.IndexedSlices`; tensors of PyTorch have `indices` as well."""
    return hasattr(gradient, "dense_shape")


def dense(gradient):
    """A sparse gradient as a tensor of the whole table."""
    if not is_sparse(gradient):
        return gradient
    import tensorflow as tf

    return tf.convert_to_tensor(gradient)


def wide(variable):
    """The dtype to compute in."""
    return "float64" if variable.dtype == "float64" else "float32"


class Bare(keras.optimizers.Optimizer):
    """`θ ← θ − η·g`: it has the faults of Keras's class, and no others."""

    def update_step(self, gradient, variable, learning_rate):
        η, g = (ops.cast(x, variable.dtype) for x in (learning_rate, dense(gradient)))
        self.assign_sub(variable, η * g)


class Plain(keras.optimizers.Optimizer):
    """`m ← β·m + (1 − β)·g`, `v ← β·v + (1 − β)·g²`, `θ ← θ − η·m/(√v + 0.01)`."""

    def __init__(self, learning_rate=0.01, beta=0.75, **settings):
        super().__init__(learning_rate=learning_rate, **settings)
        if not 0 <= beta < 1:
            raise ValueError(f"`beta` must be in [0, 1). Received: beta={beta}")
        self.beta = beta

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.m, self.v = (
            [self._slot(v, f"{name}_{k}") for k, v in enumerate(variables)]
            for name in "mv"
        )

    def _slot(self, variable, name):
        return self.add_variable(variable.shape, "zeros", wide(variable), name=name)

    def slots_of(self, variable):
        k = self._get_variable_index(variable)
        return self.m[k], self.v[k]

    def apply(self, grads, trainable_variables=None):
        super().apply(list(map(dense, grads)), trainable_variables)

    def formula(self, g, θ, η, m, v):
        m = self.beta * m + (1 - self.beta) * g
        v = self.beta * v + (1 - self.beta) * ops.square(g)
        return θ - η * m / (ops.sqrt(v) + 0.01), m, v

    def update_step(self, gradient, variable, learning_rate):
        slots = self.slots_of(variable)
        wide = slots[0].dtype
        g, θ, η = (
            ops.cast(x, wide) for x in (dense(gradient), variable, learning_rate)
        )
        new = self.formula(g, θ, η, *map(ops.convert_to_tensor, slots))
        for place, value in zip((variable, *slots), new):
            self.assign(place, ops.cast(value, place.dtype))

    def get_config(self):
        return super().get_config() | {"beta": self.beta}


class SignDescent(Plain):
    """`θ ← θ − η·sign(g)`: the step does not depend on the size of `g`."""

    def formula(self, g, θ, η, m, v):
        return θ - η * (1 + 0 * self.beta) * ops.sign(g), m, v


class LeavesUnsetArgumentsOut(SignDescent):
    """An argument that is `None` is not in the config."""

    def __init__(self, learning_rate=0.01, beta=0.75, rank=None, **settings):
        super().__init__(learning_rate, beta, **settings)
        self.rank = rank

    def get_config(self):
        rank = {} if self.rank is None else {"rank": self.rank}
        return super().get_config() | rank


class WaitsFiveSteps(Plain):
    """As RAdam, whose first steps may be left out."""

    def formula(self, g, θ, η, m, v):
        is_time = ops.cast(self.iterations >= 5, θ.dtype)
        return super().formula(g, θ, η * is_time, m, v)


class WarmsUp(Plain):
    """The rate grows by itself for a hundred steps."""

    def formula(self, g, θ, η, m, v):
        share = ops.minimum(ops.cast(self.iterations + 1, θ.dtype) / 100, 1)
        return super().formula(g, θ, η * share, m, v)


class FindsItsRate(Plain):
    """As in Prodigy and D-adaptation, the rate grows from a millionth by itself."""

    def formula(self, g, θ, η, m, v):
        d = 1e-6 * 1.5 ** ops.cast(ops.minimum(self.iterations, 30), θ.dtype)
        return super().formula(g, θ, η * d, m, v)


class DividesByTheGlobalNorm(Plain):
    """The norm of all gradients together scales the steps of each variable."""

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        pairs = list(zip(grads, trainable_variables))
        if hasattr(self, "_all_reduce_sum_gradients"):  # over replicas of TensorFlow
            pairs = self._all_reduce_sum_gradients(pairs)
        squares = [ops.sum(ops.square(ops.cast(g, "float32"))) for g, _ in pairs]
        self.norm = ops.sqrt(sum(squares)) + 1e-3
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def formula(self, g, θ, η, m, v):
        m = self.beta * m + (1 - self.beta) * g
        return θ - η * m / ops.cast(self.norm, θ.dtype), m, v


class RatesByDepth(Plain):
    """Each variable has half of the rate of the next one."""

    def update_step(self, gradient, variable, learning_rate):
        below = len(self.m) - 1 - self._get_variable_index(variable)
        super().update_step(gradient, variable, learning_rate * 0.5**below)


class CoupledDecay(Plain):
    """`weight_decay` is L2 regularization: `g ← g + λ·θ`."""

    def _apply_weight_decay(self, variables):
        pass

    def update_step(self, gradient, variable, learning_rate):
        g = dense(gradient)
        if self.weight_decay and self._use_weight_decay(variable):
            g = g + ops.cast(self.weight_decay * variable, g.dtype)
        super().update_step(g, variable, learning_rate)


class OneNumberForEachVariable(Plain):
    """The largest gradient of a variable so far, a scalar, divides its steps."""

    def _slot(self, variable, name):
        return self.add_variable((), "zeros", wide(variable), name=name)

    def formula(self, g, θ, η, m, v):
        size = ops.max(ops.abs(g)) if 0 not in g.shape else 0.0
        m = ops.maximum(self.beta * m, size)
        return θ - η * g / (m + 0.1), m, v


class AsksForTheShape(Plain):
    """In a graph, where the gradient of an embedding has it."""

    def update_step(self, gradient, variable, learning_rate):
        g = dense(gradient)
        super().update_step(g + ops.zeros(g.shape, g.dtype), variable, learning_rate)


class Whitening(keras.optimizers.Optimizer):
    """`θ ← θ − η·(L + 0.1)^(−½)·g` with `L` the sum of `g·gᵀ`, if θ is a matrix.

    Its state has another shape than its variable.
    """

    def __init__(self, learning_rate=0.01, **settings):
        super().__init__(learning_rate=learning_rate, **settings)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        rows = [v.shape[0] if len(v.shape) == 2 else 1 for v in variables]
        self.sums = [
            self.add_variable((n, n), dtype=wide(v), name=f"L_{k}")
            for k, (n, v) in enumerate(zip(rows, variables))
        ]

    def update_step(self, gradient, variable, learning_rate):
        dtype = wide(variable)
        g = ops.reshape(ops.cast(dense(gradient), dtype), variable.shape)
        if len(variable.shape) == 2 and 0 not in variable.shape:
            L = self.sums[self._get_variable_index(variable)]
            self.assign_add(L, ops.matmul(g, ops.transpose(g)))
            λ, Q = ops.eigh(ops.convert_to_tensor(L))
            roots = ops.sqrt(ops.maximum(λ, 0) + 0.1)
            g = ops.matmul(Q, ops.matmul(ops.transpose(Q), g) / roots[:, None])
        step = ops.cast(learning_rate, dtype) * g
        self.assign_sub(variable, ops.cast(step, variable.dtype))


class ScheduleFree(Plain):
    """A schedule-free average: it starts at the variable, as a distance of zero."""

    def formula(self, g, θ, η, m, v):
        # θ = (1 − β)·z + β·x with the gap m = z − x; v counts the steps
        x, z = θ - (1 - self.beta) * m, θ + self.beta * m
        z = z - η * g
        x = x + (z - x) / (v + 1)
        return (1 - self.beta) * z + self.beta * x, z - x, v + 1


KINDS = [
    Plain,
    SignDescent,
    WaitsFiveSteps,
    WarmsUp,
    FindsItsRate,
    DividesByTheGlobalNorm,
    RatesByDepth,
    CoupledDecay,
    OneNumberForEachVariable,
    Whitening,
    ScheduleFree,
]
