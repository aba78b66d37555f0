"""The checks, in files by what their promises are about."""

from keras_textbook_opt.testing import registry
from keras_textbook_opt.testing.checks import (
    clips,
    compiled,
    config,
    contract,
    equation,
    features,
    processes,
    refusals,
    sixteen_bits,
    sparse,
    state,
)

# A run goes from what all the rest stands on to what takes longest.
_ORDER = [
    contract,
    equation,
    clips,
    features,
    sixteen_bits,
    refusals,
    config,
    state,
    sparse,
    compiled,
    processes,
]
_NAMES = [module.__name__ for module in _ORDER]
registry.CHECKS.sort(key=lambda check: _NAMES.index(check.__module__))
