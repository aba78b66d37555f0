"""Gradient descent with momentum, Polyak's and Nesterov's."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import keras

from keras_textbook_opt.optimizer import TextbookOptimizer
from keras_textbook_opt.settings import Boolean, LearningRate, Real, Settings

if TYPE_CHECKING:
    from typing_extensions import Unpack


@final
@keras.saving.register_keras_serializable(package="keras_textbook_opt")
class Momentum(TextbookOptimizer):
    """Gradient descent with a memory: the step is a decaying sum of past steps.

    For each variable `θ` with gradient `g` and slot `m`, which starts at zero:

        m ← β·m − η·g
        θ ← θ + m                   with nesterov: θ ← θ + β·m − η·g

    Args:
        learning_rate: `η` >= 0: a float, a schedule, or a callable without arguments.
        momentum: `β` in `[0, 1]`: the part of the last step that is kept.
        nesterov: Whether the gradient counts as computed where the momentum leads.
        **settings: The settings of every optimizer; see `TextbookOptimizer`.

    Raises:
        ValueError: An argument is unknown, out of its range or of another type.

    Example:
        >>> import keras, keras_textbook_opt
        >>> θ = keras.Variable([1.0])
        >>> optimizer = keras_textbook_opt.Momentum(learning_rate=0.5, momentum=0.5)
        >>> for _ in range(2):
        ...     optimizer.apply([[1.0]], [θ])  # m = −0.5, then m = −0.25 − 0.5
        >>> θ.numpy().tolist()
        [-0.25]

    Reference:
        Polyak 1964, "Some methods of speeding up the convergence of iteration methods"
        (https://doi.org/10.1016/0041-5553(64)90137-5). `nesterov`: Sutskever et al.
        2013, "On the importance of initialization and momentum in deep learning",
        section 2, in the form of Bengio et al. 2012, "Advances in Optimizing Recurrent
        Networks", equation 7 (https://arxiv.org/abs/1212.0901).
    """

    momentum = Real(at_least=0, at_most=1)
    nesterov = Boolean()

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        momentum: float = 0.9,
        nesterov: bool = False,
        **settings: Unpack[Settings],
    ):
        super().__init__(learning_rate, **settings)
        self.momentum = momentum
        self.nesterov = nesterov

    def create_slots(self, variables):
        for θ in variables:
            self.add_slot(θ, "m")

    def apply_dense(self, g, θ, η, m):
        β = self.momentum
        # m ← β·m − η·g
        m = β * m - η * g
        if self.nesterov:
            # θ ← θ + β·m − η·g
            return θ + β * m - η * g, m
        # θ ← θ + m
        return θ + m, m
