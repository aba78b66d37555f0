"""What a task is trained with: an optimizer, and the dtype of the whole model."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras

import keras_textbook_opt

BUILTIN = "keras.optimizers.Adam"
WITHOUT_CARRY = "Adam(compensate=False)"
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "Adam": keras_textbook_opt.Adam,
    "Momentum": keras_textbook_opt.Momentum,
    # Where a step that rounds off is lost.
    WITHOUT_CARRY: partial(keras_textbook_opt.Adam, compensate=False),
    BUILTIN: keras.optimizers.Adam,
}
# Their losses in 16 bits must come near to float32's; the others are to compare with.
PROMISED = ("Adam", "Momentum")
NARROW = ("bfloat16", "float16")
# Whose run in float32 another is compared with, where it is not its own.
REFERENCES = {WITHOUT_CARRY: "Adam"}
# By the subject of its rows, an optimizer and a dtype.
VARIANTS = {
    f"{optimizer}, {dtype}": (optimizer, dtype)
    for optimizer in OPTIMIZERS
    for dtype in ("float32", *NARROW)
    if not (optimizer in REFERENCES and dtype == "float32")
}
