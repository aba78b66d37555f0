"""Stochastic gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import keras

from keras_textbook_opt.optimizer import TextbookOptimizer
from keras_textbook_opt.settings import LearningRate, Settings

if TYPE_CHECKING:
    from typing_extensions import Unpack


@final
@keras.saving.register_keras_serializable(package="keras_textbook_opt")
class SGD(TextbookOptimizer):
    """Gradient descent: a step against the gradient, of a length that a clip limits.

    For each variable `θ` with gradient `g`:

        g ← clip(∇J(θ))
        θ ← θ − η·g

    The clips are `clipnorm`, `global_clipnorm` and `clipvalue`; `clipnorm=c` clips to
    `g·c/max(‖g‖₂, c)`.

    Args:
        learning_rate: `η` >= 0: a float, a schedule, or a callable without arguments.
        **settings: The settings of every optimizer; see `TextbookOptimizer`.

    Raises:
        ValueError: An argument is unknown, out of its range or of another type.

    Example:
        >>> import keras, keras_textbook_opt
        >>> θ = keras.Variable([3.0, 4.0])
        >>> optimizer = keras_textbook_opt.SGD(learning_rate=0.1, clipnorm=1.0)
        >>> optimizer.apply([[30.0, 40.0]], [θ])  # ‖g‖₂ = 50, so g becomes (0.6, 0.8)
        >>> [round(x, 4) for x in θ.numpy().tolist()]
        [2.94, 3.92]

    Reference:
        Robbins & Monro 1951, "A Stochastic Approximation Method"
        (https://doi.org/10.1214/aoms/1177729586). Clipping by norm: Pascanu, Mikolov &
        Bengio 2013, "On the difficulty of training recurrent neural networks", section
        3.2 (https://arxiv.org/abs/1211.5063).
    """

    def __init__(
        self, learning_rate: LearningRate = 0.01, **settings: Unpack[Settings]
    ):
        super().__init__(learning_rate, **settings)

    def apply_dense(self, g, θ, η):
        # θ ← θ − η·g
        return θ - η * g

    def apply_sparse(self, g, θ, η):
        # θᵢ ← θᵢ − η·gᵢ for the rows i in the batch; elsewhere gᵢ = 0 and θᵢ stays.
        return self.on_rows(g, θ, η)
