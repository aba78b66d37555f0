"""The variants of a training: an optimizer and the dtype of the whole model."""

from typing import Any

BUILTIN = "keras.optimizers.Adam"
WITHOUT_CARRY = "Adam(compensate=False)"
OPTIMIZERS = ("Adam", "Momentum", WITHOUT_CARRY, BUILTIN)
WIDE, NARROW = "float32", ("bfloat16", "float16")
# The losses of these in 16 bits must come near to float32's.
PROMISED = ("Adam", "Momentum")
TOLERANCE = 0.05
VARIANTS = [
    (optimizer, dtype)
    for optimizer in OPTIMIZERS
    for dtype in (WIDE, *NARROW)
    if (optimizer, dtype) != (WITHOUT_CARRY, WIDE)  # It is that of `Adam`.
]
# The cases of the rows.
FINAL, FROM_WIDE = "final loss", "final loss over float32's"


def make(optimizer: str) -> Any:
    """Return a new optimizer."""
    import keras

    import keras_textbook_opt

    if optimizer == BUILTIN:
        return keras.optimizers.Adam()
    if optimizer == WITHOUT_CARRY:
        return keras_textbook_opt.Adam(compensate=False)
    return getattr(keras_textbook_opt, optimizer)()
