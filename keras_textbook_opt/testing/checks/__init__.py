"""The checks, in one file for each group."""

from keras_textbook_opt.testing import registry
from keras_textbook_opt.testing.checks import (
    clips,
    compiled,
    config,
    contract,
    equation,
    features,
    precision,
    processes,
    sparse,
    state,
    validation,
)

# Fast and basic checks run first.
_ORDER = [
    contract,
    equation,
    clips,
    features,
    precision,
    validation,
    config,
    state,
    sparse,
    compiled,
    processes,
]
_NAMES = [module.__name__ for module in _ORDER]
registry.CHECKS.sort(key=lambda check: _NAMES.index(check.__module__))
