"""Adam, and its variant AMSGrad."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import keras
from keras import ops

from keras_textbook_opt.numerics import maximum, one_minus_power
from keras_textbook_opt.optimizer import TextbookOptimizer
from keras_textbook_opt.settings import Boolean, LearningRate, Real, Settings

if TYPE_CHECKING:
    from typing_extensions import Unpack


@final
@keras.saving.register_keras_serializable(package="keras_textbook_opt")
class Adam(TextbookOptimizer):
    """Gradient descent on moving averages of the gradient and of its square.

    For each variable `θ` with gradient `g` and slots `m` and `v`, which start at zero,
    in step `t = 1, 2, …`:

        m ← β₁·m + (1 − β₁)·g
        v ← β₂·v + (1 − β₂)·g²
        ηₜ ← η·√(1 − β₂ᵗ)/(1 − β₁ᵗ)
        θ ← θ − ηₜ·m/(√v + ε)

    With `amsgrad`, a third slot `v_max ← max(v_max, v)` replaces `v` in the last line.

    Args:
        learning_rate: `η` >= 0: a float, a schedule, or a callable without arguments.
        beta_1: `β₁` in `[0, 1)`, the decay rate of the average of the gradient.
        beta_2: `β₂` in `[0, 1)`, the decay rate of the average of its square.
        epsilon: `ε` > 0, the paper's "epsilon hat"; `keras.config.epsilon()` if `None`.
            PyTorch and optax add `ε` elsewhere: theirs corresponds to `ε/√(1 − β₂ᵗ)`.
        amsgrad: Whether to use the largest `v` so far instead of `v`.
        **settings: The settings of every optimizer; see `TextbookOptimizer`.

    Raises:
        ValueError: An argument is unknown, out of its range or of another type.

    Example:
        >>> import keras, keras_textbook_opt
        >>> θ = keras.Variable([1.0, 1.0])
        >>> optimizer = keras_textbook_opt.Adam(learning_rate=0.1)
        >>> optimizer.apply([[2.0, -0.001]], [θ])  # the first step is η·sign(g)
        >>> [round(x, 4) for x in θ.numpy().tolist()]
        [0.9, 1.1]

    Reference:
        Kingma & Ba 2014, "Adam: A Method for Stochastic Optimization", the formula just
        before section 2.1 (https://arxiv.org/abs/1412.6980). AMSGrad: Reddi, Kale &
        Kumar 2018, "On the Convergence of Adam and Beyond", algorithm 2, with Adam's
        bias correction (https://arxiv.org/abs/1904.09237).
    """

    beta_1 = Real(at_least=0, below=1)
    beta_2 = Real(at_least=0, below=1)
    epsilon = Real(above=0)
    amsgrad = Boolean(fixed=True)

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float | None = 1e-8,
        amsgrad: bool = False,
        **settings: Unpack[Settings],
    ):
        super().__init__(learning_rate, **settings)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = keras.config.epsilon() if epsilon is None else epsilon
        self.amsgrad = amsgrad

    def create_slots(self, variables):
        for θ in variables:
            self.add_slot(θ, "m")
            self.add_slot(θ, "v")
            if self.amsgrad:
                self.add_slot(θ, "v_max")

    def step_size(self, η, t):
        bias_1, bias_2 = (one_minus_power(β, t) for β in (self.beta_1, self.beta_2))
        # ηₜ ← η·√(1 − β₂ᵗ)/(1 − β₁ᵗ)
        return η * ops.sqrt(bias_2) / bias_1

    def apply_dense(self, g, θ, η_t, m, v, v_max=None):
        # As scalars of g's dtype, β and 1 − β add up to 1.
        β_1, β_2 = (
            ops.convert_to_tensor(β, g.dtype) for β in (self.beta_1, self.beta_2)
        )
        # m ← β₁·m + (1 − β₁)·g
        m = β_1 * m + (1 - β_1) * g
        # v ← β₂·v + (1 − β₂)·g²
        v = β_2 * v + (1 - β_2) * ops.square(g)
        if v_max is None:
            # θ ← θ − ηₜ·m/(√v + ε)
            return θ - η_t * m / (ops.sqrt(v) + self.epsilon), m, v
        # v_max ← max(v_max, v)
        v_max = maximum(v_max, v)
        # θ ← θ − ηₜ·m/(√v_max + ε)
        return θ - η_t * m / (ops.sqrt(v_max) + self.epsilon), m, v, v_max
