"""Gradient descent with momentum, Polyak's and Nesterov's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import keras

from keras_textbook_opt.backends import equation
from keras_textbook_opt.hyperparameters import boolean, exact_or_lazy, real
from keras_textbook_opt.optimizer import TextbookOptimizer
from keras_textbook_opt.rows import Rows, linear
from keras_textbook_opt.settings import LearningRate, Settings, SparseUpdate

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
        learning_rate: `η` >= 0: a float, a schedule or a callable without arguments.
        momentum: `β`, a float in `[0, 1]`: the part of the last step that is kept.
        nesterov: Whether the gradient counts as taken where the momentum leads.
        sparse_update: What a sparse gradient means for a row that it does not name:
            `"exact"`, `gᵢ = 0`: `mᵢ` decays and `θᵢ` moves on, as with the dense
            gradient; `"lazy"`: `mᵢ` and `θᵢ` stay as they are, and the step costs the
            rows touched. TensorFlow alone has such gradients: elsewhere `"lazy"` is
            `"exact"`, and warns.
        **settings: Those of every optimizer, by name: see `TextbookOptimizer`.

    Raises:
        ValueError: An argument is unknown, out of its range or of another type, or two
            clips are given.

    Example:
        >>> import keras, keras_textbook_opt
        >>> θ = keras.Variable([1.0])
        >>> optimizer = keras_textbook_opt.Momentum(learning_rate=0.5, momentum=0.5)
        >>> for _ in range(2):
        ...     optimizer.apply([[1.0]], [θ])  # m = −0.5, then m = −0.25 − 0.5
        >>> θ.numpy().tolist()
        [-0.25]

    Reference:
        Polyak 1964, "Some methods of speeding up the convergence of iteration methods";
        `nesterov`: Sutskever et al. 2013, "On the importance of initialization and
        momentum in deep learning", section 2, in the form of Bengio et al. 2012,
        "Advances in Optimizing Recurrent Networks", equation 7.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        momentum: float = 0.9,
        nesterov: bool = False,
        sparse_update: SparseUpdate = "exact",
        **settings: Unpack[Settings],
    ):
        super().__init__(learning_rate, **settings)
        self.momentum = real("momentum", momentum, at_least=0, at_most=1)
        self.nesterov = boolean("nesterov", nesterov)
        self.sparse_update = exact_or_lazy(sparse_update)

    def create_slots(self, variables: list) -> None:
        for variable in variables:
            self.add_slot(variable, "m")

    @equation("momentum")
    def apply_dense(self, g, θ, η, m):
        β = self.momentum
        # m ← β·m − η·g
        m = β * m - η * g
        if self.nesterov:
            # θ ← θ + β·m − η·g
            return θ + β * m - η * g, m
        # θ ← θ + m
        return θ + m, m

    @linear
    def apply_sparse(self, g: Rows, θ, η, m):
        if self.sparse_update == "lazy":
            # mᵢ and θᵢ step for the rows i that g names; the others stay.
            return self.row_step(g, θ, η, m)
        # gᵢ = 0 elsewhere: mᵢ ← β·mᵢ and θᵢ moves on.
        return super().apply_sparse(g, θ, η, m)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "sparse_update": self.sparse_update,
        }
