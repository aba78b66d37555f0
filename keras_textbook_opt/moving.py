"""An optimizer's hyperparameters and state, moved to its counterpart in Keras or back.

A counterpart has the same equation and keeps the same variables in the same order.
"""

from __future__ import annotations

import inspect
from typing import Any

import keras

COUNTERPARTS = {
    "keras_textbook_opt>SGD": (keras.optimizers.SGD,),
    "keras_textbook_opt>Momentum": (keras.optimizers.SGD,),
    "keras_textbook_opt>Adam": (keras.optimizers.Adam, keras.optimizers.AdamW),
}
# These say how a state is kept, not what a step is: Keras has none of them.
ASIDE = {"compensate", "exclude_from_weight_decay"}


def counterparts(optimizer: type) -> tuple[type, ...]:
    """The built-ins to make an `optimizer` of; the first is what it can become."""
    return COUNTERPARTS.get(keras.saving.get_registered_name(optimizer), ())


def built_in_class(optimizer: Any) -> type | None:
    """The public class of a built-in; `None` for a class of somebody else.

    On PyTorch, an instance of `keras.optimizers.Adam` is one of a private subclass.
    """
    kind = type(optimizer)
    if kind.__module__.split(".")[0] != "keras":
        return None
    public = (c for c in kind.__mro__ if getattr(keras.optimizers, c.__name__, 0) is c)
    return next(public, None)


def arguments(config: dict[str, Any], source: type, target: type) -> dict[str, Any]:
    """What to construct a `target` with, so that it means what `config` does.

    A hyperparameter that the target does not have stays among them, for its constructor
    to refuse, unless it is at its default, where it has no effect.
    """
    defaults, known = _defaults(source), _defaults(target)
    return {
        name: value
        for name, value in config.items()
        if name not in ASIDE and (name in known or value != defaults.get(name))
    }


def move_state(source: Any, target: Any) -> None:
    """Assign the variables of `source` to those of `target`.

    With a momentum of zero, the slots of the one stand for nothing in the other.
    """
    old, new = _kept(source), _kept(target)
    if getattr(source, "momentum", None) == 0:
        old, new = old[: len(new)], new[: len(old)]
    for variable, value in zip(new, old, strict=True):
        variable.assign(value)


def _kept(optimizer: Any) -> list:
    return optimizer.variables


def _defaults(optimizer: Any) -> dict[str, Any]:
    parameters = inspect.signature(optimizer).parameters
    return {name: p.default for name, p in parameters.items()}
