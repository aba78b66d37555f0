"""Five optimizers as people write them: the paper's equation in `update_step`.

They are on `keras.optimizers.Optimizer` and use nothing of this package.
"""

import keras
from keras import ops


class FromAPaper(keras.optimizers.Optimizer):
    """Slots by name, zeros at first; `update_step` is the equation."""

    slots: tuple[str, ...] = ()

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.places = [
                self.add_optimizer_variables(variables, name) for name in self.slots
            ]

    def at(self, variable, learning_rate):
        """The rate in the variable's dtype, the step number and the slots."""
        index = self._get_variable_index(variable)
        η = ops.cast(learning_rate, variable.dtype)
        t = ops.cast(self.iterations + 1, variable.dtype)
        return η, t, *(place[index] for place in self.places)


class Averaging(FromAPaper):
    """Those with two averages."""

    slots = ("m", "v")

    def __init__(
        self, learning_rate=1e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-8, **kwargs
    ):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def get_config(self):
        own = ("beta_1", "beta_2", "epsilon")
        return super().get_config() | {name: getattr(self, name) for name in own}


class AdaBelief(Averaging):
    """Zhuang et al. 2020, "AdaBelief Optimizer", algorithm 2."""

    def update_step(self, gradient, variable, learning_rate):
        η, t, m, s = self.at(variable, learning_rate)
        g = ops.cast(gradient, variable.dtype)
        self.assign(m, self.beta_1 * m + (1 - self.beta_1) * g)
        squared = ops.square(g - m)
        self.assign(s, self.beta_2 * s + (1 - self.beta_2) * squared + self.epsilon)
        m_hat = m / (1 - ops.power(self.beta_1, t))
        s_hat = s / (1 - ops.power(self.beta_2, t))
        self.assign_sub(variable, η * m_hat / (ops.sqrt(s_hat) + self.epsilon))


class Yogi(Averaging):
    """Zaheer et al. 2018, "Adaptive Methods for Nonconvex Optimization"."""

    def update_step(self, gradient, variable, learning_rate):
        η, _, m, v = self.at(variable, learning_rate)
        g = ops.cast(gradient, variable.dtype)
        squared = ops.square(g)
        self.assign(m, self.beta_1 * m + (1 - self.beta_1) * g)
        self.assign_sub(v, (1 - self.beta_2) * ops.sign(v - squared) * squared)
        self.assign_sub(variable, η * m / (ops.sqrt(v) + self.epsilon))


class RAdam(Averaging):
    """Liu et al. 2019, "On the Variance of the Adaptive Learning Rate"."""

    def update_step(self, gradient, variable, learning_rate):
        η, t, m, v = self.at(variable, learning_rate)
        g = ops.cast(gradient, variable.dtype)
        self.assign(m, self.beta_1 * m + (1 - self.beta_1) * g)
        self.assign(v, self.beta_2 * v + (1 - self.beta_2) * ops.square(g))
        power = ops.power(self.beta_2, t)
        longest = 2 / (1 - self.beta_2) - 1
        length = longest - 2 * t * power / (1 - power)
        safe = ops.maximum(length, 5.0)
        r = ops.sqrt(
            (safe - 4) * (safe - 2) * longest / ((longest - 4) * (longest - 2) * safe)
        )
        m_hat = m / (1 - ops.power(self.beta_1, t))
        adapted = r * m_hat * ops.sqrt(1 - power) / (ops.sqrt(v) + self.epsilon)
        self.assign_sub(variable, η * ops.where(length > 5, adapted, m_hat))


class Signum(FromAPaper):
    """Bernstein et al. 2018, "signSGD", algorithm 2."""

    slots = ("m",)

    def __init__(self, learning_rate=1e-3, momentum=0.9, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.momentum = momentum

    def update_step(self, gradient, variable, learning_rate):
        η, _, m = self.at(variable, learning_rate)
        g = ops.cast(gradient, variable.dtype)
        self.assign(m, self.momentum * m + (1 - self.momentum) * g)
        self.assign_sub(variable, η * ops.sign(m))

    def get_config(self):
        return super().get_config() | {"momentum": self.momentum}


class QHM(FromAPaper):
    """Ma & Yarats 2018, "Quasi-hyperbolic momentum and Adam", equation 4."""

    slots = ("m",)

    def __init__(self, learning_rate=1e-3, momentum=0.999, nu=0.7, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.momentum, self.nu = momentum, nu

    def update_step(self, gradient, variable, learning_rate):
        η, _, m = self.at(variable, learning_rate)
        g = ops.cast(gradient, variable.dtype)
        self.assign(m, self.momentum * m + (1 - self.momentum) * g)
        self.assign_sub(variable, η * ((1 - self.nu) * g + self.nu * m))

    def get_config(self):
        return super().get_config() | {"momentum": self.momentum, "nu": self.nu}
