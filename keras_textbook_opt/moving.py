"""An optimizer's hyperparameters and state, moved to its counterpart in Keras or back.

A counterpart has the same equation and keeps the same variables in the same order.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import keras
from keras import ops

from keras_textbook_opt.variables import path_of

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


def moved(source: Any, target: type) -> Any:
    """A `target` with the hyperparameters and the state of `source`."""
    kind = built_in_class(source) or type(source)
    given = _arguments(source.get_config(), kind, target)
    rate = source._learning_rate
    if isinstance(rate, keras.Variable):
        rate = float(ops.convert_to_numpy(rate))
    optimizer = target(**given | {"learning_rate": rate})
    _move_exclusions(source, optimizer)
    if source.built:
        optimizer.build(source._trainable_variables)
        _move_state(source, optimizer)
    return optimizer


def _move_exclusions(source: Any, target: Any) -> None:
    undecayed: set = getattr(source, "_exclude_from_weight_decay", set())
    pattern = getattr(source, "_exclude_from_weight_decay_pattern", None)
    variables = [
        v for v in source._trainable_variables if source._var_key(v) in undecayed
    ]
    of_keras = built_in_class(source) is not None
    if len(variables) < len(undecayed) or (
        pattern and not source.built and not of_keras
    ):
        raise ValueError(
            "Expected an optimizer that is built, since variables are excluded from "
            "its weight decay, and Keras searches names alone, not paths. Received: "
            f"{source!r}"
        )
    if not of_keras:  # TensorFlow's names, which Keras searches in a step, are longer
        everything = source._trainable_variables
        variables = [v for v in everything if not source._use_weight_decay(v)]
    if undecayed or pattern:
        names = [pattern.pattern] if pattern else []
        if pattern and of_keras and not _is_of_names(pattern, source):
            # found there as before: from where no `/` follows
            names = [f"(?=[^/]*$)(?:{pattern.pattern})"]
        target.exclude_from_weight_decay(variables, names)


def _is_of_names(pattern: re.Pattern[str], source: Any) -> bool:
    """Whether it is known that `pattern` is found in a path only with the name."""
    variables = source._trainable_variables
    return source.built and all(
        bool(pattern.search(path_of(v))) == bool(pattern.search(v.name))
        for v in variables
    )


def _arguments(config: dict[str, Any], source: type, target: type) -> dict[str, Any]:
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


def _move_state(source: Any, target: Any) -> None:
    """Assign the variables of `source` to those of `target`.

    With a momentum of zero, the slots of the one stand for nothing in the other.
    """
    old, new = _kept(source), _kept(target)
    if getattr(source, "momentum", None) == 0:
        old, new = old[: len(new)], new[: len(old)]
    for variable, value in zip(new, old, strict=True):
        variable.assign(value)


def _kept(optimizer: Any) -> list:
    """Its own variables, without what is there for somebody who watches."""
    return [*optimizer._variables]


def _defaults(optimizer: Any) -> dict[str, Any]:
    parameters = inspect.signature(optimizer).parameters
    return {name: p.default for name, p in parameters.items()}
