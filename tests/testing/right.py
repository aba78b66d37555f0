"""Optimizers of many kinds that are right: nothing may accuse them."""

from __future__ import annotations

import keras
from keras import ops

from keras_textbook_opt import TextbookOptimizer


class SignDescent(TextbookOptimizer):
    """`θ ← θ − η·sign(g)`: no state, and no step that knows the size of `g`."""

    def __init__(self, learning_rate=0.01, **settings):
        super().__init__(learning_rate, **settings)

    def apply_dense(self, g, θ, η):
        return θ - η * ops.sign(g)


class Descent(TextbookOptimizer):
    """`θ ← θ − η·g`: no state."""

    def __init__(self, learning_rate=0.01, **settings):
        super().__init__(learning_rate, **settings)

    def apply_dense(self, g, θ, η):
        return θ - η * g


class ScheduleFree(TextbookOptimizer):
    """Gradient descent on `z`, and an average of it that starts where `θ` is.

    Defazio et al. 2024, "The Road Less Scheduled": `θ` is between `z` and the average.
    Both are kept as distances from `θ`, which are zero at first.
    """

    def __init__(self, learning_rate=0.01, between=0.9, **settings):
        super().__init__(learning_rate, **settings)
        if not 0 <= between < 1:
            raise ValueError(f"`between` must be in [0, 1). Received: {between}")
        self.between = between

    def create_slots(self, variables):
        for variable in variables:
            self.add_slot(variable, "gap")
            self.add_slot(variable, "steps")

    def apply_dense(self, g, θ, η, gap, steps):
        # θ = (1 − β)·z + β·x; gap = z − x
        x, z = θ - (1 - self.between) * gap, θ + self.between * gap
        z = z - η * g
        x = x + (z - x) / (steps + 1)
        return (1 - self.between) * z + self.between * x, z - x, steps + 1

    def get_config(self):
        return super().get_config() | {"between": self.between}


class ThreeSlots(TextbookOptimizer):
    """Xie et al. 2022, "Adan", with a difference of gradients as the third slot."""

    def __init__(self, learning_rate=0.01, beta_1=0.9, epsilon=1e-3, **settings):
        super().__init__(learning_rate, **settings)
        if not (0 <= beta_1 < 1 and epsilon > 0):
            raise ValueError(f"Received: beta_1={beta_1}, epsilon={epsilon}")
        self.beta_1, self.epsilon = beta_1, epsilon

    def create_slots(self, variables):
        for variable in variables:
            for name in ("m", "last", "n"):
                self.add_slot(variable, name)

    def apply_dense(self, g, θ, η, m, last, n):
        m = self.beta_1 * m + (1 - self.beta_1) * g
        n = 0.9 * n + 0.1 * ops.square(g + 0.5 * (g - last))
        return θ - η * m / (ops.sqrt(n) + self.epsilon), m, g, n

    def get_config(self):
        own = {"beta_1": self.beta_1, "epsilon": self.epsilon}
        return super().get_config() | own


def dense(gradient):
    """Rows summed into a tensor of the whole table."""
    if not hasattr(gradient, "indices"):
        return gradient
    import tensorflow as tf

    return tf.convert_to_tensor(gradient)


class OneNumberBesideEachVariable(keras.optimizers.Optimizer):
    """The longest gradient of a variable so far, a scalar, divides its steps."""

    def __init__(self, learning_rate=0.01, **arguments):
        super().__init__(learning_rate=learning_rate, **arguments)

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.longest = [
                self.add_variable((), name=f"longest_{k}", dtype="float32")
                for k in range(len(variables))
            ]

    def update_step(self, gradient, variable, learning_rate):
        longest = self.longest[self._get_variable_index(variable)]
        g = ops.cast(dense(gradient), "float32")
        size = ops.max(ops.abs(g)) if 0 not in g.shape else 0.0
        self.assign(longest, ops.maximum(longest, size))
        step = ops.cast(learning_rate, "float32") * g / (longest + 0.1)
        self.assign_sub(variable, ops.cast(step, variable.dtype))


class Heavy(keras.optimizers.Optimizer):
    """Momentum as Keras's own page on optimizers writes it."""

    def __init__(self, learning_rate=0.01, momentum=0.9, **arguments):
        super().__init__(learning_rate=learning_rate, **arguments)
        self.momentum = momentum

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.momenta = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient, variable, learning_rate):
        η = ops.cast(learning_rate, variable.dtype)
        g = ops.cast(dense(gradient), variable.dtype)
        m = self.momenta[self._get_variable_index(variable)]
        self.assign(m, self.momentum * m - η * g)
        self.assign_add(variable, m)

    def get_config(self):
        return super().get_config() | {"momentum": self.momentum}


class AsksForTheShape(Heavy):
    """In a graph, where the gradient of an embedding has it."""

    def update_step(self, gradient, variable, learning_rate):
        g = dense(gradient)
        super().update_step(g + ops.zeros(g.shape, g.dtype), variable, learning_rate)


class Whitening(keras.optimizers.Optimizer):
    """`θ ← θ − η·(L + 0.1)^(−½)·g` with `L` the sum of `g·gᵀ`, where θ is a matrix.

    Its state is of another shape than its variable.
    """

    def __init__(self, learning_rate=0.01, **arguments):
        super().__init__(learning_rate=learning_rate, **arguments)

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.sums = [
                self.add_variable((rows, rows), name=f"sum_{k}", dtype="float32")
                for k, variable in enumerate(variables)
                for rows in [variable.shape[0] if len(variable.shape) == 2 else 1]
            ]

    def update_step(self, gradient, variable, learning_rate):
        g = ops.reshape(ops.cast(dense(gradient), "float32"), variable.shape)
        if len(variable.shape) == 2 and 0 not in variable.shape:
            L = self.sums[self._get_variable_index(variable)]
            self.assign_add(L, ops.matmul(g, ops.transpose(g)))
            λ, Q = ops.eigh(ops.convert_to_tensor(L) + 0.1 * ops.eye(variable.shape[0]))
            turned = ops.matmul(ops.transpose(Q), g) / ops.sqrt(λ)[:, None]
            g = ops.matmul(Q, turned)
        step = ops.cast(learning_rate, "float32") * g
        self.assign_sub(variable, ops.cast(step, variable.dtype))


OF_THIS_PACKAGE = [SignDescent, Descent, ScheduleFree, ThreeSlots]
OF_KERAS = [OneNumberBesideEachVariable, Heavy, Whitening]
