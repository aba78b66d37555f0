"""Five optimizers as people write them: the paper's equation in `update_step`.

They are on `keras.optimizers.Optimizer` and use nothing of this package.
"""

import keras
from keras import ops


class FromAPaper(keras.optimizers.Optimizer):
    """Slots by name, zeros at first; `update_step` is the equation."""

    slots: tuple[str, ...] = ()
    own: tuple[str, ...] = ()

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.places = [
                self.add_optimizer_variables(variables, name) for name in self.slots
            ]

    def at(self, gradient, variable, learning_rate):
        """Rate, step number and gradient in the variable's dtype, and the slots."""
        index = self._get_variable_index(variable)
        of_step = learning_rate, self.iterations + 1, gradient
        η, t, g = (ops.cast(each, variable.dtype) for each in of_step)
        return η, t, g, *(place[index] for place in self.places)

    def get_config(self):
        return super().get_config() | {name: getattr(self, name) for name in self.own}


class Averaging(FromAPaper):
    """Those with two averages."""

    slots = ("m", "v")
    own = ("beta_1", "beta_2", "epsilon")

    def __init__(
        self, learning_rate=1e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-8, **kwargs
    ):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon


class AdaBelief(Averaging):
    """Zhuang et al. 2020, "AdaBelief Optimizer", algorithm 2."""

    def update_step(self, gradient, variable, learning_rate):
        η, t, g, m, s = self.at(gradient, variable, learning_rate)
        self.assign(m, self.beta_1 * m + (1 - self.beta_1) * g)
        squared = ops.square(g - m)
        self.assign(s, self.beta_2 * s + (1 - self.beta_2) * squared + self.epsilon)
        m_hat = m / (1 - ops.power(self.beta_1, t))
        s_hat = s / (1 - ops.power(self.beta_2, t))
        self.assign_sub(variable, η * m_hat / (ops.sqrt(s_hat) + self.epsilon))


class Yogi(Averaging):
    """Zaheer et al. 2018, "Adaptive Methods for Nonconvex Optimization"."""

    def update_step(self, gradient, variable, learning_rate):
        η, _, g, m, v = self.at(gradient, variable, learning_rate)
        squared = ops.square(g)
        self.assign(m, self.beta_1 * m + (1 - self.beta_1) * g)
        self.assign_sub(v, (1 - self.beta_2) * ops.sign(v - squared) * squared)
        self.assign_sub(variable, η * m / (ops.sqrt(v) + self.epsilon))


class RAdam(Averaging):
    """Liu et al. 2019, "On the Variance of the Adaptive Learning Rate"."""

    def update_step(self, gradient, variable, learning_rate):
        η, t, g, m, v = self.at(gradient, variable, learning_rate)
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
    own = ("momentum",)

    def __init__(self, learning_rate=1e-3, momentum=0.9, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.momentum = momentum

    def update_step(self, gradient, variable, learning_rate):
        η, _, g, m = self.at(gradient, variable, learning_rate)
        self.assign(m, self.momentum * m + (1 - self.momentum) * g)
        self.assign_sub(variable, η * ops.sign(m))


class QHM(FromAPaper):
    """Ma & Yarats 2018, "Quasi-hyperbolic momentum and Adam", equation 4."""

    slots = ("m",)
    own = ("momentum", "nu")

    def __init__(self, learning_rate=1e-3, momentum=0.999, nu=0.7, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.momentum, self.nu = momentum, nu

    def update_step(self, gradient, variable, learning_rate):
        η, _, g, m = self.at(gradient, variable, learning_rate)
        self.assign(m, self.momentum * m + (1 - self.momentum) * g)
        self.assign_sub(variable, η * ((1 - self.nu) * g + self.nu * m))


ALL = (AdaBelief, Yogi, RAdam, Signum, QHM)
