"""Stochastic gradient descent."""

import functools
from typing import Any, final

import keras

from keras_textbook_opt import hyperparameters
from keras_textbook_opt.backends import equation
from keras_textbook_opt.optimizer import TextbookOptimizer, accepts_lr
from keras_textbook_opt.rows import Rows, linear


@final
@keras.saving.register_keras_serializable(package="keras_textbook_opt")
class SGD(TextbookOptimizer):
    """Gradient descent: a step against the gradient, of a length that a clip limits.

    For each variable `θ` with gradient `g`:

        g ← clip(∇J(θ))
        θ ← θ − η·g

    The clips are `clipnorm`, `global_clipnorm` and `clipvalue`; with `clipnorm=c` it is
    `clip(g) = g·c/max(‖g‖₂, c)`. A sparse gradient moves the rows that it names; the
    rest of the table stays, but for weight decay.

    Args:
        learning_rate: `η` >= 0: a float, a schedule or a callable without arguments.
            `lr` is accepted as another name.
        clipnorm, global_clipnorm, clipvalue, weight_decay, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps,
            compensate, name: See `TextbookOptimizer`.

    Raises:
        ValueError: An argument is unknown, out of its range or of another type, or two
            clips are given.

    Example:
        >>> import keras, keras_textbook_opt
        >>> θ = keras.Variable([3.0, 4.0])
        >>> optimizer = keras_textbook_opt.SGD(learning_rate=0.1, clipnorm=1.0)
        >>> optimizer.apply([[30.0, 40.0]], [θ])  # ‖g‖₂ = 50, so g becomes (0.6, 0.8)
        >>> [round(x, 4) for x in θ.numpy().tolist()]
        [2.94, 3.92]

    Reference:
        Robbins & Monro 1951, "A Stochastic Approximation Method"; the clip: Pascanu,
        Mikolov & Bengio 2013, "On the difficulty of training recurrent neural
        networks", section 3.2.
    """

    @functools.partial(accepts_lr, then=("momentum", "nesterov"))
    def __init__(
        self,
        learning_rate: Any = 0.01,
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
        if "momentum" in unknown or "nesterov" in unknown:
            arguments = [hyperparameters.shown(learning_rate)]
            arguments += [
                f"{name}={unknown[name]!r}"
                for name in ("momentum", "nesterov")
                if name in unknown
            ]
            raise ValueError(
                "`SGD` has neither `momentum` nor `nesterov`: expected "
                f"`keras_textbook_opt.Momentum({', '.join(arguments)})`. "
                f"Received: {unknown}"
            )
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

    def create_slots(self, variables: list) -> None:
        """None: `θ` is all the state there is."""

    @equation("sgd")
    def apply_dense(self, g, θ, η):
        # θ ← θ − η·g
        return θ - η * g

    @linear
    def apply_sparse(self, g: Rows, θ, η):
        # θᵢ ← θᵢ − η·gᵢ for the rows i that g names; elsewhere gᵢ = 0 and θᵢ stays.
        return self.row_step(g, θ, η)

    def get_config(self) -> dict[str, Any]:
        return super().get_config()
