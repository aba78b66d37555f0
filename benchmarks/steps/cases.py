"""The optimizers that are compared, each as ours and as the built-in.

A case is the name of an optimizer, with `, clipnorm` behind it if it clips.
"""

from typing import Any

OURS, LAZY, BUILTIN = "ours", "ours, lazy", "built-in"
LEARNING_RATE = 1e-3
CLIPPED, CLIPNORM = ", clipnorm", 1.0
# Libraries add ε in different places of the formula; this one is too small to matter.
EPSILON = 1e-16

# The name of Keras's class, and the arguments that both take.
EQUATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("SGD", {}),
    "Momentum": ("SGD", {"momentum": 0.9}),
    "Adam": ("Adam", {"epsilon": EPSILON}),
    "AMSGrad": ("Adam", {"epsilon": EPSILON, "amsgrad": True}),
}
MAIN = ("SGD", "Momentum", "Adam")
SIX = tuple(name + clip for name in MAIN for clip in ("", CLIPPED))


def equation(case: str) -> str:
    return case.removesuffix(CLIPPED)


def arguments(case: str) -> dict[str, Any]:
    clip = {"clipnorm": CLIPNORM} if case.endswith(CLIPPED) else {}
    return {"learning_rate": LEARNING_RATE, **EQUATIONS[equation(case)][1], **clip}


def ours(case: str, **settings: Any) -> Any:
    """Return our optimizer."""
    import keras_textbook_opt

    name = equation(case).replace("AMSGrad", "Adam")
    return getattr(keras_textbook_opt, name)(**arguments(case), **settings)


def builtin(case: str) -> Any:
    """Return the optimizer of Keras."""
    import keras

    name, _ = EQUATIONS[equation(case)]
    return getattr(keras.optimizers, name)(**arguments(case))
