"""By what the learning rate of each variable is multiplied, found by its path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

from keras_textbook_opt.state import matching
from keras_textbook_opt.state.identity import Identity, unique
from keras_textbook_opt.state.matching import Match
from keras_textbook_opt.variables import path_of


@final
@dataclass(frozen=True)
class Multipliers:
    """Factors by patterns; a variable that a config names keeps what it had there.

    Keras gives the variables of a model that is loaded other paths, in which a pattern
    may not be found any more.

    Args:
        patterns: Regular expressions, each with its factor. The first that is found in
            a variable's path counts.
        written: The variables of the config that the patterns come from, each with its
            path and factor.
    """

    patterns: dict[str, float] = field(default_factory=dict)
    written: tuple[Identity, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.patterns)

    @classmethod
    def from_config(
        cls, patterns: dict[str, float], config: dict[str, Any]
    ) -> Multipliers:
        """What `config` says of variables counts for the patterns that it was with."""
        # It was a dict once.
        of_config = dict(config["patterns"])
        if list(of_config.items()) != list(patterns.items()):
            return cls(patterns)
        written = [
            Identity(path, (), trainable=trainable, factor=factor)
            for path, trainable, factor in config["variables"]
        ]
        return cls(patterns, tuple(written))

    def to_config(self, variables: Sequence[Identity]) -> dict[str, Any]:
        """Lists of the patterns and of the variables, each with its factor, in order.

        An optimizer that has none yet goes on with those that it was told of.
        """
        labels = unique(variable.path for variable in variables)
        known = [[p, v.trainable, v.factor] for p, v in zip(labels, variables)] or [
            [v.path, v.trainable, v.factor] for v in self.written
        ]
        pairs = [list(pair) for pair in self.patterns.items()]
        config: dict[str, Any] = {"learning_rate_multipliers": pairs}
        if known:
            of_variables = {"patterns": pairs, "variables": known}
            config["multiplied_variables"] = of_variables
        return config

    def of(self, variables: Sequence[Any]) -> list[float]:
        """The factor of each: that of a config, else the first pattern's, else 1."""
        match = self._match(variables)
        return [
            self.written[match[h]].factor if h in match else self.first(path)
            for h, path in enumerate(map(path_of, variables))
        ]

    def check(self, variables: Sequence[Any]) -> None:
        """Raise a `ValueError` if a pattern is found in no path of `variables`."""
        if len(self._match(variables)) == len(variables):
            return
        paths = list(map(path_of, variables))
        lost = [
            pattern
            for pattern in self.patterns
            if not any(re.search(pattern, path) for path in paths)
        ]
        if lost:
            raise ValueError(
                "Expected each pattern of `learning_rate_multipliers` to be found in "
                "the path of some variable that is trained. Received: "
                f"{', '.join(map(repr, lost))}, for variables {', '.join(paths)}"
            )

    def moved(self, saved: Sequence[Identity], match: Match) -> dict[int, float] | None:
        """The factors go where the state goes that was saved together with the config.

        A state of another run, which had other factors, says nothing of these: `None`.

        Args:
            saved: Those that the state was saved with.
            match: Which of the saved ones each of the variables here is.
        """
        if not self.written or _by_label(saved) != _by_label(self.written):
            return None
        return {h: saved[s].factor for h, s in match.items()}

    def _match(self, variables: Sequence[Any]) -> Match:
        """Which of the written ones each variable is, as far as names tell."""
        here = [Identity(label, ()) for label in unique(map(path_of, variables))]
        same = matching.same_paths(self.written, here)
        if len(same) == len(here):
            return same
        match = matching.by_names(self.written, here)
        return matching.alike_paths(self.written, here) if match is None else match

    def first(self, path: str) -> float:
        """The factor of the first pattern that is found in `path`, 1 if none is."""
        found = (f for pattern, f in self.patterns.items() if re.search(pattern, path))
        return next(found, 1.0)


def _by_label(variables: Sequence[Identity]) -> dict[str, float]:
    labels = unique(variable.path for variable in variables)
    return {label: v.factor for label, v in zip(labels, variables) if v.factor != 1}
