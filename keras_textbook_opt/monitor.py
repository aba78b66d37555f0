"""Gradient norms, and how often the clip acts, in Keras's logs."""

import math
from typing import Any, final

import keras
import numpy as np
from keras import ops

from keras_textbook_opt import backends

SUMS = 6  # see `Statistics.record`


@final
class Statistics:
    """The sums over the steps that a monitor shows, in one small variable."""

    def __init__(self) -> None:
        self._has_clip = False
        self.variable = keras.Variable(
            np.zeros(SUMS),
            dtype="float32",
            trainable=False,
            aggregation="only_first_replica",
            name="statistics",
        )

    def record(self, square: Any, clipped: Any, rate: Any) -> None:
        """Add a step: `‖g‖₂²` of all gradients, the part that a clip changed, `η`."""
        norm = ops.sqrt(ops.cast(square, "float32"))
        finite = ops.isfinite(norm)
        norm = ops.where(finite, norm, 0.0)
        self._has_clip = clipped is not None
        clipped = 0.0 if clipped is None else ops.where(finite, clipped, 0.0)
        old = ops.convert_to_tensor(self.variable)
        one = ops.cast(finite, "float32")
        new = [
            old[0] + one,  # finite steps
            old[1] + 1 - one,  # other steps
            old[2] + norm,
            ops.maximum(old[3], norm),
            old[4] + clipped,
            rate,
        ]
        new = [ops.cast(ops.convert_to_tensor(x), "float32") for x in new]
        self.variable.assign(ops.stack(new))

    def result(self) -> dict[str, float]:
        """The numbers of the steps since the last reset: see `OptimizerMonitor`."""
        sums = ops.convert_to_numpy(self.variable).tolist()
        finite, nonfinite, norms, largest, clipped, rate = sums
        result = {
            "grad_norm": norms / finite if finite else math.nan,
            "grad_norm_max": largest if finite else math.nan,
            "learning_rate": rate,
            "nonfinite_steps": nonfinite,
        }
        if self._has_clip:
            result["clip_fraction"] = clipped / finite if finite else math.nan
        return result

    def reset(self) -> None:
        """Start anew."""
        self.variable.assign(np.zeros(SUMS))


@final
class OptimizerMonitor(keras.callbacks.Callback):
    """Shows in Keras's logs what an optimizer with `monitor=True` records.

    The progress bar, `History`, `CSVLogger`, `TensorBoard` and whatever else reads logs
    show, over the steps of the epoch so far:

    - `grad_norm`: the mean of `‖g‖₂` over the gradients of all variables, after the sum
      over replicas and before the clip;
    - `grad_norm_max`: the largest of these norms;
    - `clip_fraction`, if there is a clip: the part of the steps that it changed, with
      `clipnorm` the part of the gradients;
    - `learning_rate`: `η` of the last step, schedules included;
    - `nonfinite_steps`: how many steps had a gradient with a NaN or an infinity. The
      other numbers leave these out. A `LossScaleOptimizer` skips such steps before they
      reach the optimizer.

    With `gradient_accumulation_steps`, a step is an update. On JAX, where Keras keeps
    the state of the steps to itself within an epoch, the numbers are in the logs of the
    epochs only. Callbacks before this one in the list do not see its numbers.

    Raises:
        ValueError: At the start of `fit`, if the model's optimizer has no
            `monitor=True`.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_textbook_opt import SGD, OptimizerMonitor
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(SGD(0.1, global_clipnorm=1e-3, monitor=True), "mse")
        >>> x = np.ones((4, 1))
        >>> history = model.fit(
        ...     x, 9 * x, epochs=2, verbose=0, callbacks=[OptimizerMonitor()]
        ... )
        >>> history.history["clip_fraction"]
        [1.0, 1.0]
    """

    def on_train_begin(self, logs: Any = None) -> None:
        if self._statistics is None:
            raise ValueError(
                "`OptimizerMonitor` needs an optimizer of keras_textbook_opt that was "
                "made with `monitor=True`, such as `Adam(1e-3, monitor=True)`. "
                f"Received: {self.model.optimizer!r}"
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._statistics.reset()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if logs is not None and not backends.active.trains_on_values:
            logs |= self._statistics.result()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is not None:
            if backends.active.trains_on_values:
                self.model.jax_state_sync()
            logs |= self._statistics.result()

    @property
    def _statistics(self) -> Any:
        optimizer = self.model.optimizer
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        return getattr(inner, "statistics", None)
