"""Patterns in the paths of variables: rates by layer, and exclusions from weight decay.

A pattern is text that is found anywhere in a path such as `encoder/dense_1/kernel`.
`*` stands for any characters, `^` for the start and `$` for the end of the path. It is
no regular expression: those of a file could make a load hang.
"""

import fnmatch
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, final

from keras_textbook_opt.settings import Real, Setting, message

OF_REGULAR_EXPRESSIONS = set("\\|()[]{}+?")


def found(pattern: str, path: str) -> bool:
    """Whether `pattern` is found in `path`; in a time linear in their lengths."""
    start = "" if pattern.startswith("^") else "*"
    end = "" if pattern.endswith("$") else "*"
    return fnmatch.fnmatchcase(
        path, f"{start}{pattern.removeprefix('^').removesuffix('$')}{end}"
    )


def checked(name: str, pattern: Any) -> str:
    """`pattern`; a `ValueError` unless it is one."""
    if not isinstance(pattern, str) or not pattern:
        raise ValueError(
            message(name, "a pattern, such as 'bias' or '^head/'", pattern)
        )
    if OF_REGULAR_EXPRESSIONS & set(pattern):
        raise ValueError(
            f"`{name}` takes no regular expressions. A pattern is text to find in a "
            "variable's path, in which `*` stands for any characters, `^` for the "
            f"start and `$` for the end of the path. Received: {pattern!r}"
        )
    return pattern


@final
class Patterns(Setting):
    """A list of patterns, or `None`: the argument `exclude_from_weight_decay`."""

    def checked(self, name: str, value: Any) -> list[str] | None:
        name = "exclude_from_weight_decay"
        if value is None:
            return None
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise ValueError(message(name, "a list of patterns", value))
        return [checked(name, pattern) for pattern in value]


FACTOR = Real(at_least=0)


@final
class Factors(Setting):
    """Patterns with their factors: a dict, or a list of its pairs, or `None`."""

    def __set__(self, optimizer: Any, value: Any) -> None:
        super().__set__(optimizer, value)
        optimizer._patterns_change()

    def checked(self, name: str, value: Any) -> dict[str, float] | None:
        if value is None:
            return None
        pairs = list(value.items()) if isinstance(value, Mapping) else value
        if not (isinstance(pairs, (list, tuple)) and all(map(_is_pair, pairs))):
            raise ValueError(message(name, "a dict of patterns and factors", value))
        factors = {checked(name, p): FACTOR.checked(name, f) for p, f in pairs}
        if len(factors) < len(pairs):
            raise ValueError(message(name, "a dict with each pattern once", value))
        return factors


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2


def rules(optimizer: Any) -> dict[str, Any]:
    """The patterns for a config, as pairs: JSON may sort a dict; the order counts."""
    factors = optimizer.learning_rate_multipliers
    return {
        "exclude_from_weight_decay": optimizer.excluded_from_weight_decay,
        "learning_rate_multipliers": factors and [*map(list, factors.items())],
    }


def factor_of(path: str, factors: Mapping[str, float] | None) -> float:
    """The factor of the first pattern that is found in `path`; 1 if none is."""
    return next((f for p, f in (factors or {}).items() if found(p, path)), 1.0)


def warn_if_unused(factors: Mapping[str, float] | None, paths: list[str]) -> None:
    """Warn of the patterns that are found in no path: often a misspelt layer."""
    unused = [p for p in factors or {} if not any(found(p, path) for path in paths)]
    if unused:
        warnings.warn(
            f"`learning_rate_multipliers`: {unused} are found in no variable's path. "
            f"The paths are: {', '.join(paths)}.",
            stacklevel=2,
        )
