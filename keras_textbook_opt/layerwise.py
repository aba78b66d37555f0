"""A rate for each layer, by its depth, for `learning_rate_multipliers`."""

import posixpath
from typing import Any

import keras

from keras_textbook_opt.settings import Real
from keras_textbook_opt.variables import path_of


def layerwise_decay(model: keras.Model, decay: float) -> dict[str, float]:
    """Factors of the learning rate: 1 for the last layer, and less for those before it.

    With `d` levels after a layer, its factor is

        f = decayᵈ

    The levels are the layers with weights, frozen or not, in the order of
    `model.layers`. Layers of a model within the model count one by one; any other layer
    is one level, such as a whole block of a transformer. Weights of a model itself are
    a level before its first layer. Branches in parallel count one after the other: for
    rates of your own, write the dict by hand.

    Args:
        model: A `keras.Model` that is built.
        decay: In `(0, 1]`.

    Returns:
        A dict for `learning_rate_multipliers`: for each layer with trainable variables,
        from the last to the first, a pattern of their paths and the layer's factor.
        After unfreezing a layer, call this again, assign
        `optimizer.learning_rate_multipliers`, and compile the model again.

    Raises:
        ValueError: `model` is no model or not built, `decay` is out of its range, or
            layers of different depths have the same path.

    Example:
        >>> import keras
        >>> from keras_textbook_opt import layerwise_decay
        >>> x = inputs = keras.Input((2,))
        >>> for name in ("embed", "hidden", "head"):
        ...     x = keras.layers.Dense(2, name=name)(x)
        >>> layerwise_decay(keras.Model(inputs, x), 0.5)
        {'^head/': 1.0, '^hidden/': 0.5, '^embed/': 0.25}

    Reference:
        Howard & Ruder 2018, "Universal Language Model Fine-tuning for Text
        Classification", section 3.2 (https://arxiv.org/abs/1801.06146). Bao et al.
        2021, "BEiT: BERT Pre-Training of Image Transformers"
        (https://arxiv.org/abs/2106.08254), uses it for transformers.
    """
    if not (isinstance(model, keras.Model) and model.built):
        raise ValueError(
            "`model` must be a `keras.Model` that is built: call `model.build`, or the "
            f"model on some data. Received: model={model!r}"
        )
    decay = Real(above=0, at_most=1).checked("decay", decay)
    levels = [[path_of(v) for v in level if v.trainable] for level in _levels(model)]
    paths = [path for level in levels for path in level]
    for path in paths:
        if paths.count(path) > 1:
            raise ValueError(
                "Layers of different depths must have different paths: name the "
                f"layers. Received: several layers with the path {path!r}"
            )
    return {
        pattern: decay**depth
        for depth, level in enumerate(reversed(levels))
        for pattern in _patterns(level, paths)
    }


def _levels(model: keras.Model) -> list[list[Any]]:
    """The weights of each layer, from the first to the last; each weight once."""
    levels: list[list[Any]] = []
    for layer in model.layers:
        is_model = isinstance(layer, keras.Model)
        levels += _levels(layer) if is_model else [layer.weights]
    inner = {id(weight) for level in levels for weight in level}
    levels = [[w for w in model.weights if id(w) not in inner], *levels]
    seen: set[int] = set()
    for k, level in enumerate(levels):
        levels[k] = [weight for weight in level if id(weight) not in seen]
        seen |= {id(weight) for weight in level}
    return [level for level in levels if level]


def _patterns(level: list[str], paths: list[str]) -> list[str]:
    """The folder of a layer's paths, if nothing else is in it; else these paths."""
    folder = posixpath.commonpath([posixpath.dirname(path) for path in level or [""]])
    inside = [path for path in paths if path.startswith(f"{folder}/")]
    if folder and inside == level:
        return [f"^{folder}/"]
    return [f"^{path}$" for path in level]
