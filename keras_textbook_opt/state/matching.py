"""The state goes where the weights go: which saved variable is which of those here.

Names decide first, in the order of a model. What the variables hold decides last, since
Keras puts weights by the structure of a model, and names are hints. A `Match` goes from
positions in the list here to positions in the saved list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from keras_textbook_opt.state.identity import Identity, bare

Match = dict[int, int]


def by_names(
    saved: Sequence[Identity], here: Sequence[Identity], appended: bool = False
) -> Match | None:
    """By position where the paths are alike in order, else by path, if each is unique.

    What was frozen when it was saved may be missing here. Where variables were appended
    to the list, positions say nothing. `None` if no rule holds.
    """
    trained = [s for s, variable in enumerate(saved) if variable.trainable]
    for positions in () if appended else (list(range(len(saved))), trained):
        paths = [saved[s].path for s in positions]
        if len(paths) == len(here) and all(
            alike(path, variable.path) for path, variable in zip(paths, here)
        ):
            return dict(enumerate(positions))
    for match in (same_paths(saved, here), alike_paths(saved, here)):
        if len(match) == len(here) and set(trained) <= set(match.values()):
            return match
    return None


def same_paths(saved: Sequence[Identity], here: Sequence[Identity]) -> Match:
    """Those whose path is there once, and once in the saved list."""

    def places(variables: Sequence[Identity]) -> dict[str, int]:
        count = Counter(variable.path for variable in variables)
        return {v.path: k for k, v in enumerate(variables) if count[v.path] == 1}

    found = places(saved)
    return {h: found[path] for path, h in places(here).items() if path in found}


def alike_paths(saved: Sequence[Identity], here: Sequence[Identity]) -> Match:
    """Those whose path is like one saved path, which no other path here is like."""
    written = [bare(variable.path) for variable in saved]
    pairs = [
        (h, s)
        for h, path in enumerate(bare(variable.path) for variable in here)
        for s, other in enumerate(written)
        if _ends_alike(path, other)
    ]
    count = Counter(place for h, s in pairs for place in (("here", h), ("saved", s)))
    return {h: s for h, s in pairs if count["here", h] == count["saved", s] == 1}


def what_fits(saved: Sequence[Identity], here: Sequence[Identity]) -> Match:
    """As many as can be told: by what they hold, else by paths in their order."""
    match = by_names(saved, here) or same_paths(saved, here)
    for h, variable in enumerate(here):
        if h not in match:
            free = [
                s
                for s, other in enumerate(saved)
                if s not in match.values() and alike(other.path, variable.path)
            ]
            if free:
                match[h] = free[0]
    found = _found(saved, here, match)
    count = Counter(found.values())
    found = {h: s for h, s in found.items() if count[s] == 1}
    return {h: s for h, s in match.items() if count[s] != 1} | found


def alike(path: str, other: str) -> bool:
    """Whether the paths differ in Keras's numbers and a leading model's name alone."""
    return _ends_alike(bare(path), bare(other))


def _ends_alike(parts: list[str], others: list[str]) -> bool:
    count = min(len(parts), len(others))
    return parts[-count:] == others[-count:]


def by_contents(
    saved: Sequence[Identity], here: Sequence[Identity], match: Match | None
) -> Match | None:
    """`match`, mended where a variable holds what another one held when it was saved.

    One that holds what several held is where its siblings are, the variables of its
    layer, else where `match` has it. Without a `match` all must be found so.
    """
    found = _found(saved, here, match)
    mended = (match or {}) | found
    one_to_one = len(set(mended.values())) == len(mended)
    if match is None:
        trained = {s for s, variable in enumerate(saved) if variable.trainable}
        complete = len(found) == len(here) and trained <= set(found.values())
        return found if one_to_one and complete else None
    return mended if one_to_one else match


def _found(
    saved: Sequence[Identity], here: Sequence[Identity], match: Match | None
) -> Match:
    """Those that are known by what they hold."""
    held = _holders(saved, here)
    if match is not None and all(match.get(h) in held[h] for h in held):
        return match
    found = {h: places[0] for h, places in held.items() if len(places) == 1}
    layers = {layer(here[h].path): layer(saved[s].path) for h, s in found.items()}
    for h, places in held.items():
        if len(places) > 1:
            home, name = layers.get(layer(here[h].path)), here[h].path.split("/")[-1]
            sibling = f"{home}/{name}" if home else None
            beside = [s for s in places if saved[s].path == sibling]
            kept = [s for s in places if match is not None and match.get(h) == s]
            if beside or kept:
                found[h] = (beside or kept)[0]
    return found


def _holders(saved: Sequence[Identity], here: Sequence[Identity]) -> dict[int, list]:
    """For each variable here, which saved ones held what it holds."""
    places: dict[Any, list[int]] = {}
    for dtype in {variable.dtype for variable in here}:
        for s, variable in enumerate(saved):
            places.setdefault((dtype, variable.contents(dtype)), []).append(s)
    return {
        h: [] if v.sample is None else places.get((v.dtype, v.contents(v.dtype)), [])
        for h, v in enumerate(here)
    }


def layer(path: str) -> str:
    """The path of the layer that a variable belongs to."""
    return path.rpartition("/")[0]
