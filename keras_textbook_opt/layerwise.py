"""A rate for each layer, by its depth, for `learning_rate_multipliers`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.models import Functional

from keras_textbook_opt.settings import Real
from keras_textbook_opt.variables import path_of


def layerwise_decay(model: keras.Model, decay: float) -> dict[str, float]:
    """Factors of the learning rate: 1 for the last layer, and less for those before it.

    With `d` levels between a layer and the output of the model, its factor is

        f = decayᵈ

    A level is a layer with weights to train, frozen or not; layers without do not
    count. Models within the model are taken apart, and any other layer is one, such as
    a whole block of a transformer. In a functional model `d` is that of the longest way
    to an output, also for a layer that is used more than once; in a `Sequential` and in
    a subclassed model, the layers are a chain in the order of `model.layers`. Weights
    that a model has beside its layers are as deep as its first layer.

    Args:
        model: A `keras.Model` that is built.
        decay: In `(0, 1]`.

    Returns:
        A dict for `learning_rate_multipliers`: for each layer, from the last to the
        first, a regular expression of the start of its variables' paths, and its
        factor. Layers that are frozen have no pattern, since an optimizer refuses one
        that is found nowhere: after they were unfrozen, give `add_variables` the
        variables, assign `optimizer.learning_rate_multipliers =
        layerwise_decay(model, decay)`, and compile the model again.

    Raises:
        ValueError: `model` is no model or not built, `decay` is out of its range, or
            the paths of variables do not tell layers of different depths apart.

    Example:
        >>> import keras
        >>> from keras_textbook_opt import layerwise_decay
        >>> x = inputs = keras.Input((2,))
        >>> for name in ("embed", "hidden", "head"):
        ...     x = keras.layers.Dense(2, name=name)(x)
        >>> layerwise_decay(keras.Model(inputs, x), 0.5)
        {'^head/': 1.0, '^hidden/': 0.5, '^embed/': 0.25}

    Reference:
        Clark et al. 2020, "ELECTRA: Pre-training Text Encoders as Discriminators Rather
        Than Generators", and Bao et al. 2021, "BEiT: BERT Pre-Training of Image
        Transformers": the authors' code fine-tunes so (`_get_layer_lrs` in
        `model/optimization.py` of google-research/electra, `get_parameter_groups` in
        `beit/optim_factory.py` of microsoft/unilm). It goes back to Howard & Ruder
        2018, "Universal Language Model Fine-tuning for Text Classification".
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
    of_variables: list[tuple[str, float]] = []
    for layer, depth in sorted(depths.items(), key=lambda item: item[1]):
        factor = decay ** levels.index(depth)
        paths = [path_of(v) for v in _own(layer) if v.trainable]
        of_variables += [(path, factor) for path in paths]
        for pattern in _patterns(paths, is_whole=not isinstance(layer, keras.Model)):
            factors.setdefault(pattern, factor)
    _check(factors, of_variables)
    return factors


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


def _patterns(paths: list[str], is_whole: bool) -> list[str]:
    """What is found in all of these paths: their common folder, or folders."""
    if not is_whole:
        return [f"^{re.escape(path)}$" for path in paths]
    folders = [path.split("/")[:-1] for path in paths]
    common = list(_common(folders))
    heads = [common] if common else [folder[:1] for folder in folders]
    found = [f"^{re.escape('/'.join(head))}/" for head in heads if head]
    bare = [f"^{re.escape(path)}$" for path in paths if "/" not in path]
    return list(dict.fromkeys([*found, *bare]))


def _common(folders: list[list[str]]) -> Iterator[str]:
    for parts in zip(*folders):
        if len(set(parts)) > 1:
            return
        yield parts[0]


def _check(factors: dict[str, float], of_variables: list[tuple[str, float]]) -> None:
    for path, factor in of_variables:
        found = next(f for pattern, f in factors.items() if re.search(pattern, path))
        if found != factor:
            raise ValueError(
                "Expected paths of variables that tell layers of different depths "
                f"apart: give the layers names of their own. Received: {path!r}, which "
                f"would have the factor {found} of another layer in place of {factor}"
            )
