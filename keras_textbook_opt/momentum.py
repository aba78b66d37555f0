"""Gradient descent with momentum, Polyak's and Nesterov's."""

from typing import Any, final

import keras

from keras_textbook_opt import hyperparameters
from keras_textbook_opt.backends import equation
from keras_textbook_opt.optimizer import TextbookOptimizer, accepts_lr
from keras_textbook_opt.rows import Rows, linear


@final
@keras.saving.register_keras_serializable(package="keras_textbook_opt")
class Momentum(TextbookOptimizer):
    """Gradient descent with a memory: the step is a decaying sum of past steps.

    For each variable `θ` with gradient `g` and slot `m`, which starts at zero:

        m ← β·m − η·g
        θ ← θ + m                   with nesterov: θ ← θ + β·m − η·g

    Args:
        learning_rate: `η` >= 0: a float, a schedule or a callable without arguments.
            `lr` is accepted as another name.
        momentum: `β`, a float in `[0, 1]`: the part of the last step that is kept.
        nesterov: Whether the gradient counts as taken where the momentum leads.
        sparse_update: What a sparse gradient means for a row that it does not name:
            `"exact"`, `gᵢ = 0`: `mᵢ` decays and `θᵢ` moves on, as with the dense
            gradient; `"lazy"`: `mᵢ` and `θᵢ` stay as they are, and the step costs the
            rows touched. TensorFlow alone has such gradients: elsewhere `"lazy"` is
            `"exact"`, and warns.
        clipnorm, global_clipnorm, clipvalue, weight_decay, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps,
            compensate, name: See `TextbookOptimizer`.

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

    @accepts_lr
    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.9,
        nesterov: bool = False,
        sparse_update: str = "exact",
        *,
        clipnorm: float | None = None,
        global_clipnorm: float | None = None,
        clipvalue: float | None = None,
        weight_decay: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        compensate: bool = True,
        name: str | None = None,
        **unknown: Any,
    ):
        super().__init__(
            learning_rate=learning_rate,
            clipnorm=clipnorm,
            global_clipnorm=global_clipnorm,
            clipvalue=clipvalue,
            weight_decay=weight_decay,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            compensate=compensate,
            name=name,
            **unknown,
        )
        self.momentum = hyperparameters.real(
            "momentum", momentum, at_least=0, at_most=1
        )
        self.nesterov = hyperparameters.boolean("nesterov", nesterov)
        self.sparse_update = hyperparameters.sparse_update(sparse_update)

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
