"""A step on lists of PyTorch tensors, in place, one call for all.

The tensors are those that `takes` accepts; the variables of a list may differ in
shape, dtype and device. Nothing here waits for a GPU: what is known there alone stays a
tensor.
"""

from keras_textbook_opt.backends.torch_lists.clips import (
    clamped,
    clip_scales,
    largest,
    norms,
    total_norm,
)
from keras_textbook_opt.backends.torch_lists.equations import (
    accumulate,
    adam,
    average,
    decay,
    momentum,
    sgd,
)
from keras_textbook_opt.backends.torch_lists.factors import product, sizes
from keras_textbook_opt.backends.torch_lists.parts import Tensors, together
from keras_textbook_opt.backends.torch_lists.sixteen_bits import widened
from keras_textbook_opt.backends.torch_lists.tensors import (
    are_alike,
    is_narrow,
    is_split,
    is_traced,
    split_like,
    takes,
)

__all__ = [
    "Tensors",
    "accumulate",
    "adam",
    "are_alike",
    "average",
    "clamped",
    "clip_scales",
    "decay",
    "is_narrow",
    "is_split",
    "is_traced",
    "largest",
    "momentum",
    "norms",
    "product",
    "sgd",
    "sizes",
    "split_like",
    "takes",
    "together",
    "total_norm",
    "widened",
]
