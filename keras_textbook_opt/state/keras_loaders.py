"""What Keras's loaders and trainers do not tell an optimizer, read off their frames.

Each function looks for one function of Keras and one name in it; tests hold both.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any


def skipped() -> dict[int, Any] | None:
    """What `load_weights(..., skip_mismatch=True)` could not load; `None` elsewhere.

    More comes in while the loading goes on.
    """
    frame = next(_frames("saving_lib", "_load_state"), None)
    if frame is None or not frame.f_locals["skip_mismatch"]:
        return None
    return frame.f_locals["error_msgs"]


def variables_of(skipped: dict[int, Any] | None) -> set[int]:
    """The ids of the variables of the layers that could not be loaded."""
    layers = [layer for layer, _ in (skipped or {}).values()]
    return {id(v) for layer in layers for v in getattr(layer, "variables", ())}


def legacy_values_behind_a_wrapper(optimizer: Any) -> list[Any] | None:
    """What an `.h5` file that is being loaded has for `optimizer` within a wrapper.

    The loader of these files builds a `LossScaleOptimizer` on an empty list, and gives
    it alone the values that were saved, those of the optimizer inside it last.
    """
    frame = next(_frames("legacy_h5_format", "load_model_from_hdf5"), None)
    if frame is None:
        return None
    wrapper = frame.f_locals["model"].optimizer
    if getattr(wrapper, "inner_optimizer", None) is not optimizer:
        return None
    values = frame.f_globals["load_optimizer_weights_from_hdf5_group"]
    return values(frame.f_locals["f"])[len(wrapper._variables) :]


def variables_to_step(optimizer: Any) -> tuple[list[Any], int] | None:
    """Those of the model that Keras is about to step with `optimizer` on JAX.

    And how many of them a wrapper of the optimizer knows, which hands on no more.

    It pairs their values with the optimizer's by position, and takes them out of the
    variables first: what fails later than this costs the model its weights. `None` for
    a model with a `train_step` of its own, which may pair them in another way.
    """
    frame = next(_frames("trainer", "_get_jax_state"), None)
    if frame is None:
        return None
    model, keras_own = frame.f_locals["self"], frame.f_globals["JAXTrainer"]
    used = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if used is not optimizer or type(model).train_step is not keras_own.train_step:
        return None
    return model.trainable_variables, len(model.optimizer._trainable_variables)


def _frames(module: str, function: str) -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        in_module = name.startswith("keras.") and name.endswith(module)
        if in_module and frame.f_code.co_name == function:
            yield frame
        frame = frame.f_back
