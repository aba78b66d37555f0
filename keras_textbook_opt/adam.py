"""Adam, and its variant AMSGrad."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, final

import keras
import numpy as np
from keras import ops

from keras_textbook_opt.backends import equation
from keras_textbook_opt.hyperparameters import boolean, exact_or_lazy, real
from keras_textbook_opt.optimizer import TextbookOptimizer
from keras_textbook_opt.rows import Rows, linear
from keras_textbook_opt.settings import LearningRate, Settings, SparseUpdate

if TYPE_CHECKING:
    from typing_extensions import Unpack


@final
@keras.saving.register_keras_serializable(package="keras_textbook_opt")
class Adam(TextbookOptimizer):
    """Gradient descent on two moving averages: of the gradient and of its square.

    For each variable `θ` with gradient `g` and slots `m` and `v`, which start at zero,
    in step `t = 1, 2, …`:

        m ← β₁·m + (1 − β₁)·g
        v ← β₂·v + (1 − β₂)·g²
        η̂ ← η·√(1 − β₂ᵗ)/(1 − β₁ᵗ)
        θ ← θ − η̂·m/(√v + ε)

    With `amsgrad`, a third slot `v̂ ← max(v̂, v)` stands in for `v` in the last line.

    Args:
        learning_rate: `η` >= 0: a float, a schedule or a callable without arguments.
        beta_1: `β₁`, a float in `[0, 1)`: the decay of the average of the gradient.
        beta_2: `β₂`, a float in `[0, 1)`: the decay of the average of its square.
        epsilon: `ε` > 0, the paper's "epsilon hat"; `keras.config.epsilon()` if `None`.
            PyTorch and optax put it elsewhere: their `ε` is `ε/√(1 − β₂ᵗ)` here.
        amsgrad: Whether `v` is replaced by the largest `v` so far.
        sparse_update: What a sparse gradient means for a row that it does not name:
            `"exact"`, `gᵢ = 0`: `mᵢ` and `vᵢ` decay and `θᵢ` moves on, as with the
            dense gradient; `"lazy"`: all of them stay as they are, and the step costs
            the rows touched. TensorFlow alone has such gradients: elsewhere `"lazy"`
            is `"exact"`, and warns.
        **settings: Those of every optimizer, by name: see `TextbookOptimizer`.

    Raises:
        ValueError: An argument is unknown, out of its range or of another type, or two
            clips are given.

    Example:
        >>> import keras, keras_textbook_opt
        >>> θ = keras.Variable([1.0, 1.0])
        >>> optimizer = keras_textbook_opt.Adam(learning_rate=0.1)
        >>> optimizer.apply([[2.0, -0.001]], [θ])  # the first step is η·sign(g)
        >>> [round(x, 4) for x in θ.numpy().tolist()]
        [0.9, 1.1]

    Reference:
        Kingma & Ba 2014, "Adam: A Method for Stochastic Optimization", the formula just
        before section 2.1; `amsgrad`: Reddi, Kale & Kumar 2018, "On the Convergence of
        Adam and Beyond", algorithm 2, here with the bias correction of Adam.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float | None = 1e-8,
        amsgrad: bool = False,
        sparse_update: SparseUpdate = "exact",
        **settings: Unpack[Settings],
    ):
        super().__init__(learning_rate, **settings)
        if epsilon is None:
            epsilon = keras.config.epsilon()
        self.beta_1 = real("beta_1", beta_1, at_least=0, below=1)
        self.beta_2 = real("beta_2", beta_2, at_least=0, below=1)
        self.epsilon = real("epsilon", epsilon, above=0)
        self.amsgrad = boolean("amsgrad", amsgrad)
        self.sparse_update = exact_or_lazy(sparse_update)

    def create_slots(self, variables: list) -> None:
        for variable in variables:
            self.add_slot(variable, "m")
            self.add_slot(variable, "v")
        if self.amsgrad:
            for variable in variables:
                self.add_slot(variable, "v_hat")

    def step_size(self, η, t):
        β_1, β_2 = (rounded(β, η.dtype) for β in (self.beta_1, self.beta_2))
        # η̂ ← η·√(1 − β₂ᵗ)/(1 − β₁ᵗ)
        return η * ops.sqrt(one_minus_power(β_2, t)) / one_minus_power(β_1, t)

    @equation("adam")
    def apply_dense(self, g, θ, η_hat, m, v, v_hat=None):
        β_1, β_2 = (rounded(β, g.dtype) for β in (self.beta_1, self.beta_2))
        ε = self.epsilon
        # m ← β₁·m + (1 − β₁)·g
        m = β_1 * m + (1 - β_1) * g
        # v ← β₂·v + (1 − β₂)·g²
        v = β_2 * v + (1 - β_2) * ops.square(g)
        if v_hat is None:
            # θ ← θ − η̂·m/(√v + ε)
            return θ - η_hat * m / (ops.sqrt(v) + ε), m, v
        # v̂ ← max(v̂, v)
        v_hat = ops.maximum(v_hat, v)
        # θ ← θ − η̂·m/(√v̂ + ε)
        return θ - η_hat * m / (ops.sqrt(v_hat) + ε), m, v, v_hat

    @linear
    def apply_sparse(self, g: Rows, θ, η_hat, *slots):
        if self.sparse_update == "lazy":
            # mᵢ, vᵢ and θᵢ step for the rows i that g names; the others stay.
            return self.row_step(g, θ, η_hat, *slots)
        # gᵢ = 0 elsewhere: mᵢ ← β₁·mᵢ, vᵢ ← β₂·vᵢ and θᵢ moves on.
        return super().apply_sparse(g, θ, η_hat, *slots)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
            "sparse_update": self.sparse_update,
        }


def rounded(β: float, dtype) -> float:
    """`β` as `dtype` holds it, so that `β` and `1 − β` add up to 1 there."""
    return float(np.asarray(β, keras.backend.standardize_dtype(dtype)))


def one_minus_power(β: float, t):
    """`1 − βᵗ` to the last digits, which a difference loses in the first steps."""
    return -ops.expm1(t * math.log(β)) if β > 0 else ops.ones_like(t)
