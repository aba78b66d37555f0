"""The bytes that an update must move: each element read once and written once.

An optimizer with `slots` reads and writes the parameter and each slot, and reads the
gradient. A norm is known only after the whole gradient was read, so a clip by norm
reads it twice. Weight decay needs no element that the update does not read anyway.
"""

FLOAT_BYTES = 4


def dense(parameters: int, slots: int, reads_of_gradient: int = 1) -> int:
    """Return the bytes of an update of every parameter."""
    return FLOAT_BYTES * parameters * (2 * (1 + slots) + reads_of_gradient)


def lazy(touched: int, slots: int) -> int:
    """Return the bytes of an update of the touched elements alone."""
    return dense(touched, slots)


def exact(parameters: int, touched: int, slots: int) -> int:
    """Return the bytes of an update of a whole table by a gradient of some rows.

    Without slots an absent row does not move.
    """
    if not slots:
        return lazy(touched, slots)
    return dense(parameters, slots, reads_of_gradient=0) + FLOAT_BYTES * touched
