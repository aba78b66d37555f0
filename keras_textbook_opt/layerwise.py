"""A rate for each layer, by its depth, for `learning_rate_multipliers`."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.models import Functional

from keras_textbook_opt import patterns
from keras_textbook_opt.settings import Real
from keras_textbook_opt.variables import path_of


def layerwise_decay(model: keras.Model, decay: float) -> dict[str, float]:
    """Factors of the learning rate: 1 for the last layer, and less for those before it.

    With `d` levels between a layer and the output of the model, its factor is

        f = decayᵈ

    A level is a layer with weights to train, frozen or not. Layers of a model within
    the model count one by one; any other layer is one level, such as a whole block of a
    transformer. In a functional model, `d` is the length of the longest way to an
    output. In a `Sequential` and in a subclassed model, the layers are a chain in the
    order of `model.layers`. Weights of a model itself are as deep as its first layer.

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
    depths: dict[Any, int] = {}
    _measure(model, 0, depths)
    levels = sorted(set(depths.values()))  # a layer used twice leaves one empty
    factors: dict[str, float] = {}
    of_paths: list[tuple[str, float]] = []
    for layer, depth in sorted(depths.items(), key=lambda item: item[1]):
        factor = decay ** levels.index(depth)
        paths = [path_of(v) for v in _own(layer) if v.trainable]
        of_paths += [(path, factor) for path in paths]
        for pattern in _patterns(layer, paths):
            factors.setdefault(pattern, factor)
    for path, factor in of_paths:
        if patterns.factor_of(path, factors) != factor:
            raise ValueError(
                "Layers of different depths must have different paths: name the "
                f"layers. Received: several layers with the path {path!r}"
            )
    return factors


def _patterns(layer: Any, paths: list[str]) -> list[str]:
    """What a layer's paths begin with; the paths themselves if that is nothing."""
    folder = posixpath.commonpath([posixpath.dirname(path) for path in paths or [""]])
    if folder and not isinstance(layer, keras.Model):
        return [f"^{folder}/"]
    return [f"^{path}$" for path in paths]


def _measure(model: keras.Model, after: int, depths: dict[Any, int]) -> int:
    """Note the depth of each layer of `model`; return how many levels it has.

    Args:
        model: Of which the output is that of the whole, or goes on.
        after: The levels that come after its output.
        depths: For each layer with weights, the levels after it: the most so far.
    """
    height = 0
    for layer, below in _steps(model):
        if isinstance(layer, keras.Model):
            height = max(height, below + _measure(layer, after + below, depths))
        elif _own(layer):
            depths[layer] = max(depths.get(layer, 0), after + below)
            height = max(height, below + 1)
    if _own(model):
        depths[model] = max(depths.get(model, 0), after + max(height - 1, 0))
    return height


def _steps(model: keras.Model) -> Iterator[tuple[Any, int]]:
    """Each use of a layer, with the levels between it and the output of `model`."""
    if not isinstance(model, Functional):
        below = 0
        for layer in reversed(model.layers):
            yield layer, below
            below += _levels(layer)
        return
    longest: dict[Any, int] = {}
    for depth in sorted(model._nodes_by_depth):  # 0 is the output
        for node in model._nodes_by_depth[depth]:
            below = longest.get(node, 0)
            yield node.operation, below
            above = below + _levels(node.operation)
            for parent in node.parent_nodes:
                longest[parent] = max(longest.get(parent, 0), above)


def _levels(operation: Any) -> int:
    """How many levels a use of a layer is."""
    if isinstance(operation, keras.Model):
        return _measure(operation, 0, {})
    return 1 if _own(operation) else 0


def _own(operation: Any) -> list:
    """The weights of a layer, frozen or not; of a model, those beside its layers."""
    if isinstance(operation, keras.Model):
        return list(operation._trainable_variables)
    if not isinstance(operation, keras.Layer):
        return []
    parts = operation._flatten_layers()
    return [variable for part in parts for variable in part._trainable_variables]
