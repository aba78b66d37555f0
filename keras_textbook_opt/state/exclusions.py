"""Which variables do not decay, written in a config and found again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

from keras_textbook_opt.state import matching
from keras_textbook_opt.state.identity import Identity, bare, unique
from keras_textbook_opt.state.matching import Match
from keras_textbook_opt.variables import path_of


@final
@dataclass
class Exclusions:
    """Variables that do not decay.

    Args:
        variables: Those that are known.
        names: Patterns: a variable with one of them in its name or in its path does
            not decay either.
        awaited: Paths out of a config, of variables that are not there yet.
        among: The paths of all variables there, where one could be mistaken, and for
            each whether it was to be trained.
        written: The paths of the excluded ones in the config that these come from.
    """

    variables: list[Any] = field(default_factory=list)
    names: tuple[str, ...] = ()
    awaited: list[str] = field(default_factory=list)
    among: dict[str, bool] = field(default_factory=dict)
    written: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.variables or self.names or self.awaited)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Exclusions:
        return cls(
            names=tuple(config["names"]),
            awaited=list(config["paths"]),
            among=dict(config.get("variables", {})),
            written=frozenset(config["paths"]),
        )

    def to_config(self, among: Sequence[Any]) -> dict[str, Any]:
        """The paths, with those of all variables where they could be mistaken.

        Args:
            among: The variables of the optimizer, in their order.
        """
        labels = unique(map(path_of, among))
        label_of = {id(variable): label for variable, label in zip(among, labels)}
        paths = [label_of.get(id(v), path_of(v)) for v in self.variables]
        plain = [(id(variable), bare(path_of(variable))) for variable in among]
        mistaken = any(
            path == bare(path_of(v)) and other != id(v)
            for v in self.variables
            for other, path in plain
        )
        together = self.among if self.awaited else {}
        if mistaken:
            trainable = (getattr(variable, "trainable", True) for variable in among)
            together = dict(zip(labels, trainable))
        return {"paths": paths + self.awaited, "names": list(self.names)} | (
            {"variables": list(map(list, together.items()))} if together else {}
        )

    def find(self, variables: Sequence[Any]) -> None:
        """Take those of `variables` whose paths are awaited.

        Raises:
            ValueError: An awaited path is like several of those here.
        """
        here = _identities(unique(map(path_of, variables)))
        among = [Identity(path, (), trainable=t) for path, t in self.among.items()]
        match = matching.by_names(among, here)
        if match is None:
            paths = [path_of(variable) for variable in variables]
            places = {path: self._places(path, paths, here) for path in self.awaited}
        else:
            places = {among[s].path: [h] for h, s in match.items()}
        found = {path: places.get(path, []) for path in self.awaited}
        self.variables += [variables[h] for some in found.values() for h in some]
        self.awaited = [path for path in self.awaited if not found[path]]

    def find_by_path(self, variables: Sequence[Any]) -> None:
        """Take those of `variables` with a pattern in their path, not in their name.

        Those with one in their name are known to Keras, without a list.
        """
        known = set(map(id, self.variables))
        self.variables += [
            v
            for v in variables
            if id(v) not in known
            and self._are_in(path_of(v))
            and not self._are_in(v.name)
        ]

    def _are_in(self, text: str) -> bool:
        return any(re.search(pattern, text) for pattern in self.names)

    def move(
        self, variables: Sequence[Any], saved: Sequence[Identity], match: Match
    ) -> None:
        """Go where the state goes that was saved together with the config.

        A state of another run, which excluded others, says nothing of these.

        Args:
            variables: Those of the optimizer, in their order.
            saved: Those that the state was saved with.
            match: Which of the saved ones each of `variables` is.
        """
        labels = unique(variable.path for variable in saved)
        undecayed = {label for label, v in zip(labels, saved) if not v.decays}
        if undecayed and undecayed == self.written.intersection(labels):
            matched = {id(variables[h]) for h in match}
            self.variables = [
                *(variables[h] for h, s in match.items() if not saved[s].decays),
                *(v for v in self.variables if id(v) not in matched),
            ]

    def _places(self, path: str, paths: list[str], here: list[Identity]) -> list[int]:
        """Where `path` is; one that several have may stand for all of them alone."""
        same = [h for h, other in enumerate(paths) if other == path]
        labelled = [h for h, variable in enumerate(here) if variable.path == path]
        like = [h for h, v in enumerate(here) if matching.alike(path, v.path)]
        found = same or labelled or like
        if len(found) not in (0, self.awaited.count(path)):
            raise ValueError(
                f"Expected one variable like '{path}', which is excluded from weight "
                f"decay. Received: {', '.join(here[h].path for h in found)}. Say which "
                "with `exclude_from_weight_decay` before the optimizer is built."
            )
        return found


def _identities(paths: Sequence[str]) -> list[Identity]:
    return [Identity(path, ()) for path in paths]
