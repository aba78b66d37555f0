"""Calls that mypy and pyright accept, but for those in a line that says `refused`."""

import keras

from keras_textbook_opt import SGD, Adam, Momentum, TextbookOptimizer

SGD()
SGD(0.01, clipnorm=1.0, name="sgd")
SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 100, 0.9))
SGD(lambda: 0.1)
SGD(lr=0.1)
Momentum(0.01, 0.9, True, sparse_update="lazy", weight_decay=1e-4)
Momentum(learning_rate=0.01, sparse_update="exact", use_ema=True)
Adam(0.001, 0.9, 0.999, None, amsgrad=True, gradient_accumulation_steps=4)
Adam(1, global_clipnorm=None).learning_rate = 0.5
repr(Adam.from_config(Adam().get_config()))

Adam(0.001, amsgard=True)  # refused: a misspelt argument
Adam(0.001, clip_norm=1.0)  # refused: a misspelt setting
Adam("0.001")  # refused: a string for a rate
SGD(learning_rate="fast")  # refused
Adam(0.001, beta_1="0.9")  # refused
Adam(0.001, clipnorm="1")  # refused
Adam(0.001, use_ema="yes")  # refused
Adam(0.001, gradient_accumulation_steps=2.5)  # refused
Momentum(0.01, sparse_update="Lazy")  # refused: neither "exact" nor "lazy"
SGD(0.01, 0.9)  # refused: that is Momentum
SGD(0.01, momentum=0.9)  # refused
Momentum(0.01, 0.9, False, "exact", 1.0)  # refused: the settings go by name


class Plain(TextbookOptimizer):
    """The gradient, and nothing else."""

    def apply_dense(self, g, θ, η):
        return θ - η * g


Plain(0.1, weight_decay=0.01)
Plain(lr=0.1)  # so no type checker can require `learning_rate`
Plain(0.1, 0.9)  # refused


class OneSlot(TextbookOptimizer):
    """With a slot, a step size of its own and an argument of its own."""

    def __init__(self, learning_rate: float, sharpness: float = 1.0):
        super().__init__(learning_rate)
        self.sharpness = sharpness

    def create_slots(self, variables):
        for variable in variables:
            self.add_slot(variable, "m")

    def step_size(self, η, t):
        return η / t

    def apply_dense(self, g, θ, η, m):
        m = self.sharpness * m + g
        return θ - η * m, m


class WrongStepSize(TextbookOptimizer):
    def step_size(self, η):  # refused: a hook with a wrong signature
        return η

    def apply_dense(self, g, θ, η):
        return θ - η * g


class WrongHook(TextbookOptimizer):
    def apply_dense(self, g):  # refused by mypy
        return g


class WrongSlots(TextbookOptimizer):
    def create_slots(self):  # refused
        pass

    def apply_dense(self, g, θ, η):
        return θ - η * g
