"""The names that rows and pages share."""

OURS = "ours"
BUILTIN = "built-in"
EXACT = "exact"
LAZY = "lazy"
# Ours without the option whose cost is measured.
WITHOUT = "ours without it"
FLOOR = "floor"
MILLISECONDS = "ms"
# The quantile of the best of all tries.
BEST = 0.0


def backend(name: str, mode: str) -> str:
    """Return what a row says of where it was measured, as "tensorflow, jit_compile"."""
    return f"{name}, {mode}" if mode else name
