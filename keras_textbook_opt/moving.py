"""An optimizer moved to its counterpart in Keras, or back, with its state.

A counterpart has the same equation and keeps the same variables in the same order.
"""

import inspect
from typing import Any

import keras
from keras import ops

COUNTERPARTS = {
    "keras_textbook_opt>SGD": (keras.optimizers.SGD,),
    "keras_textbook_opt>Momentum": (keras.optimizers.SGD,),
    "keras_textbook_opt>Adam": (keras.optimizers.Adam, keras.optimizers.AdamW),
}
# Arguments that do not change a step, and that Keras does not have.
ASIDE = {"compensate", "monitor", "exclude_from_weight_decay", "learning_rate"}


def from_keras(cls: Any, optimizer: Any) -> Any:
    """Make one of a built-in: its hyperparameters, its step count and its slots.

    The next step is the one that `optimizer` would take, to the rounding of float32.

    Args:
        cls: The class to make one of.
        optimizer: An instance of `keras.optimizers.SGD` for `SGD` and `Momentum`, of
            `Adam` or `AdamW` for `Adam`.

    Raises:
        ValueError: It is of another class, or a hyperparameter has no counterpart.
    """
    source: Any = optimizer
    counterparts = _counterparts(cls)
    is_of_keras = type(source).__module__.split(".")[0] == "keras"
    kinds = [c for c in reversed(counterparts) if isinstance(source, c)]
    if not (is_of_keras and kinds):
        names = " or ".join(f"keras.optimizers.{c.__name__}" for c in counterparts)
        raise ValueError(
            f"`{cls.__name__}.from_keras` takes an instance of "
            f"{names or 'a counterpart, and this class has none'}. Received: {source!r}"
        )
    optimizer = cls(**_arguments(source, kinds[0], cls))
    variables = source._trainable_variables
    excluded = ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern")
    if any(getattr(source, name, None) for name in excluded):
        if not source.built:
            raise ValueError(
                "Build the optimizer first: variables are excluded from its weight "
                "decay, and Keras searches names for its patterns, not paths."
            )
        undecayed = [v for v in variables if not _decays(source, v)]
        optimizer.exclude_from_weight_decay(undecayed)
    if source.built:
        optimizer.build(variables)
        if any(s.decays != _decays(source, s.variable) for s in optimizer._states):
            raise ValueError("Variables of one path differ in weight decay: name them.")
    _copy(source.variables, _in_order_of_keras(optimizer))
    return optimizer


def to_keras(self: Any) -> Any:
    """The built-in optimizer that takes the next step that this one would take.

    Raises:
        ValueError: A hyperparameter or a part of the state has no counterpart there.
    """
    source: Any = self
    source._resolve()
    counterparts = _counterparts(type(source))
    if not counterparts:
        raise ValueError(f"Keras has no counterpart of `{type(source).__name__}`.")
    if source.learning_rate_multipliers:
        raise ValueError(
            "Keras has one learning rate for all variables. Received: an optimizer "
            f"with learning_rate_multipliers={source.learning_rate_multipliers}"
        )
    states = list(source._states)
    if (source._loaded.saved or source.excluded_from_weight_decay) and not source.built:
        raise ValueError(
            "Call `build` first: the optimizer has loaded a state, or excludes "
            "variables from weight decay."
        )
    if any(state.carry is not None for state in states):
        raise ValueError(
            "Keras has no place for the carries of 16-bit variables. Make the "
            "optimizer with `compensate=False`, or keep it."
        )
    kind = counterparts[0]
    optimizer = kind(**_arguments(source, type(source), kind))
    undecayed = [state.variable for state in states if not state.decays]
    if undecayed:
        optimizer.exclude_from_weight_decay(undecayed)
    if source.built:
        optimizer.build([state.variable for state in states])
    _copy(_in_order_of_keras(source), optimizer.variables)
    return optimizer


def _counterparts(optimizer: type) -> tuple[type, ...]:
    return COUNTERPARTS.get(keras.saving.get_registered_name(optimizer), ())


def _decays(source: Any, variable: Any) -> bool:
    """Whether weight decay of a built-in acts on `variable`.

    With TensorFlow, Keras asks for the native variable, whose name is longer.
    """
    native = keras.backend.backend() == "tensorflow"
    return source._use_weight_decay(variable.value if native else variable)


def _arguments(source: Any, kind: type, target: type) -> dict[str, Any]:
    """The arguments of a `target` that takes the steps of `source`.

    A hyperparameter that the target does not have is left out at its default, where it
    has no effect. Otherwise, the target's constructor refuses it.
    """
    defaults, known = _defaults(kind), _defaults(target)
    arguments = {
        name: value
        for name, value in source.get_config().items()
        if name not in ASIDE and (name in known or value != defaults.get(name))
    }
    rate = source._learning_rate
    if isinstance(rate, keras.Variable):
        rate = float(ops.convert_to_numpy(rate))
    return arguments | {"learning_rate": rate}


def _defaults(optimizer: type) -> dict[str, Any]:
    parameters = inspect.signature(optimizer).parameters
    return {name: p.default for name, p in parameters.items()}


def _in_order_of_keras(optimizer: Any) -> list:
    """The state of an optimizer of this package, in the order of its counterpart."""
    states = list(optimizer._states)
    rate = optimizer._learning_rate
    slots = [(n, slot) for state in states for n, slot in state.slots.items()]
    found = [
        optimizer._iterations,
        rate if isinstance(rate, keras.Variable) else None,
        *(state.average for state in states),
        *(state.accumulator for state in states),
        *(slot for name, slot in slots if name != "v_max"),
        *(slot for name, slot in slots if name == "v_max"),
    ]
    return [variable for variable in found if variable is not None]


def _copy(sources: list, targets: list) -> None:
    """Assign copies, since JAX would share the arrays.

    With a momentum of zero, Keras has no slots, and ours are zero.
    """
    for source, target in zip(sources, targets):
        target.assign(ops.copy(ops.convert_to_tensor(source)))
