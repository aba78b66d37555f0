"""A saved state: names and arrays in a file, and the list of what they are.

An entry stands under a name such as `m/dense/kernel`. Under `names` stands the list:
the `Identity` of each variable, and the kinds of the entries beside it. A file of a
built-in has no list: its entries are numbered.
"""

from __future__ import annotations

import contextlib
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

import keras
import numpy as np

from keras_textbook_opt.state.identity import Identity, unique
from keras_textbook_opt.state.slots import ACCUMULATOR, AVERAGE, CARRY, SLOT, name_of

LIST = "names"
ZLIB = b"\x78"


@final
class Entry:
    """One array of a file, of which only shape and dtype are read at first."""

    def __init__(self, store: Any, key: str):
        self._store, self._key = store, key
        group: Any = getattr(store, "_h5_entry_group", {})  # the store would read it
        header = group[key] if key in group else store[key]
        self.shape = tuple(header.shape)
        self.dtype = str(getattr(header, "attrs", {}).get("dtype", header.dtype))

    def read(self) -> np.ndarray:
        return np.asarray(self._store[self._key])


@final
class Held:
    """An entry that was read, and waits in a variable for the one it belongs to."""

    def __init__(self, entry: Entry, name: str):
        self.shape, self.dtype = entry.shape, entry.dtype
        name = name.replace("/", "_")
        self.variable = keras.Variable(
            entry.read(), dtype=self.dtype, trainable=False, name=name
        )

    def read(self) -> np.ndarray:
        return keras.ops.convert_to_numpy(self.variable)


@final
@dataclass(frozen=True)
class Saved:
    """What was saved.

    Args:
        own: Entries that are beside no variable, such as the count of steps, by name.
        variables: The variables, in their order.
        beside: Entries by kind (`slots/m`, `average`, …) for each of the variables.
        numbered: The entries of a built-in, in their order, in place of all the others.
        appended: Whether variables were appended to the list, so that the order of the
            variables is not that of their model.
        by_kind: The places of the entries beside variables, variable after variable, in
            the order in which a built-in numbers them; none if that is not known.
        unlisted: Keys that the list does not have.
    """

    own: dict[str, Any] = field(default_factory=dict)
    variables: tuple[Identity, ...] = ()
    beside: tuple[dict[str, Any], ...] = ()
    numbered: tuple[Any, ...] = ()
    appended: bool = False
    by_kind: tuple[int, ...] = ()
    unlisted: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.own or self.variables or self.numbered or self.unlisted)

    def without_own(self, count: int) -> Saved:
        """What is beside variables; `count` is how many entries are not."""
        return replace(self, own={}, numbered=self.numbered[count:], unlisted=())

    def only(self, places: list[int]) -> Saved:
        """What is beside the variables at these places."""
        variables = tuple(self.variables[s] for s in places)
        return Saved(variables=variables, beside=tuple(self.beside[s] for s in places))

    def entries(self) -> list[Any]:
        """Those beside variables, in the order in which a built-in numbers them.

        What is beside a variable that was frozen is not among them, if that is known.
        """
        found = [entry for kept in self.beside for entry in kept.values()]
        if 0 < len(self.by_kind) <= len(found):
            found = [found[k] for k in self.by_kind]
        return [*self.numbered, *found]

    def names(self) -> list[str]:
        """The name of each entry beside a variable, in the order of `beside`."""
        return _names(self.variables, self.beside)

    def held(self) -> Saved:
        """The same, with every entry read."""
        names = iter(self.names())
        return replace(
            self,
            beside=tuple(
                {kind: Held(entry, next(names)) for kind, entry in kept.items()}
                for kept in self.beside
            ),
            numbered=tuple(Held(e, str(k)) for k, e in enumerate(self.numbered)),
        )


def _names(variables: Iterable[Identity], beside: Iterable[Iterable[str]]) -> list[str]:
    labels = unique(variable.path for variable in variables)
    pairs = zip(labels, beside)
    return unique(name_of(kind, label) for label, kinds in pairs for kind in kinds)


def save(saved: Saved, store: Any) -> None:
    """Write to `store`; an entry here is a variable, or waits in one."""
    beside = [entry for kept in saved.beside for entry in kept.values()]
    names = [*saved.own, *saved.names()]
    if saved.numbered:
        names = [str(k) for k in range(len(saved.own) + len(saved.numbered))]
    keys = _keys(names)
    for key, entry in zip(keys, [*saved.own.values(), *saved.numbered, *beside]):
        store[key] = keras.ops.convert_to_numpy(getattr(entry, "variable", entry))
    if saved.numbered:
        return
    content = {
        "own": list(saved.own),
        "variables": [variable.to_json() for variable in saved.variables],
        "kinds": [list(kept) for kept in saved.beside],
        "appended": saved.appended,
        "by_kind": list(saved.by_kind),
    }
    text = json.dumps(content, separators=(",", ":")).encode()
    store[LIST] = np.frombuffer(zlib.compress(text), np.uint8)


def _keys(names: Iterable[str]) -> list[str]:
    """Where each name is stored, such that no two are one, or one the other's folder.

    A bare `%`, which no escaped part ends with, marks the name of a folder, and two of
    them a folder with the name of the list.
    """
    escaped = ["/".join(map(_escaped, name.split("/"))) for name in names]
    escaped = [re.sub(f"^{LIST}/", f"{LIST}%%/", key) for key in escaped]
    folders = {LIST}
    for key in escaped:
        parts = key.split("/")
        folders.update("/".join(parts[:k]) for k in range(1, len(parts)))
    return [f"{key}%" if key in folders else key for key in escaped]


def _escaped(part: str) -> str:
    if not part.strip("."):
        return part.replace(".", "%2E") or "%"
    return part.replace("%", "%25")


def read(store: Any) -> Saved:
    """What `store` has, of which the entries are not read yet.

    Raises:
        ValueError: The file that `store` reads from is damaged.
    """
    _check_archive(store)
    keys = list(store.keys())
    if keys and all(key.isdigit() for key in keys):
        return Saved(numbered=tuple(Entry(store, key) for key in sorted(keys, key=int)))
    if LIST not in keys:
        return _by_their_names(store, keys)
    listed = np.asarray(store[LIST]).tobytes()
    if not listed.startswith(ZLIB):  # as version 0.1 wrote it
        return _by_their_names(store, listed.decode().split("\n"))
    return _listed(store, json.loads(zlib.decompress(listed)))


def _listed(store: Any, content: dict[str, Any]) -> Saved:
    own, kinds = content["own"], content["kinds"]
    variables = tuple(map(Identity.from_json, content["variables"]))
    keys = _keys([*own, *_names(variables, kinds)])
    listed = {LIST, *keys, *(key.split("/")[0] for key in keys)}
    following = iter(keys)
    return Saved(
        _entries(store, {name: next(following) for name in own}),
        variables,
        tuple(_entries(store, {k: next(following) for k in kept}) for kept in kinds),
        appended=content["appended"],
        by_kind=tuple(content.get("by_kind", ())),
        unlisted=tuple(key for key in [*store.keys()] if key not in listed),
    )


def _entries(store: Any, keys: Mapping[str, str]) -> dict[str, Entry]:
    """Those entries that are there."""
    found = {}
    for name, key in keys.items():
        with contextlib.suppress(KeyError):
            found[name] = Entry(store, key)
    return found


def _by_their_names(store: Any, names: list[str]) -> Saved:
    """Entries without a list: the first part of a name is its kind, the rest a path."""
    entries = _entries(store, {name: name for name in names})
    own = {name: entry for name, entry in entries.items() if "/" not in name}
    paths: dict[str, dict[str, Entry]] = {}
    for name in (name for name in entries if name not in own):
        kind, _, path = name.partition("/")
        kind = kind if kind in (AVERAGE, ACCUMULATOR, CARRY) else SLOT + kind
        paths.setdefault(path, {})[kind] = entries[name]
    variables = [
        Identity(path, next(iter(kept.values())).shape) for path, kept in paths.items()
    ]
    return Saved(own, tuple(variables), tuple(paths.values()))


def narrowed(value: np.ndarray, dtype: str) -> np.ndarray:
    """A float64 as `dtype`, for an integer only if it is one."""
    if value.dtype != "float64":
        return value
    with np.errstate(invalid="ignore"):
        new = value.astype(dtype)
    is_float = keras.backend.is_float_dtype(dtype)
    return new if is_float or np.array_equal(new, value) else value


def _check_archive(store: Any) -> None:
    """Keras reads on in an archive whose checksum was wrong at the first reading."""
    archive = getattr(store, "archive", None)
    if archive is None:
        return
    if archive.filename is None:
        damaged = archive.testzip()
    else:
        # Keras has a member of its own archive open, which a test would read on in.
        with zipfile.ZipFile(archive.filename) as opened_again:
            damaged = opened_again.testzip()
    if damaged is not None:
        raise ValueError(
            f"Expected a file as it was saved. Received: one that is damaged in "
            f"{damaged!r}"
        )
