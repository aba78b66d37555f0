"""The file of an optimizer's state: format 1.

The entry `document` is one line of JSON, which lists all other entries, and a second
line with the CRC-32 of the first:

    {"format": 1, "class": "keras_textbook_opt>Adam",
     "own": {"iteration": checksum, …}, "patterns": {…},
     "variables": [{"path", "shape", "dtype", "decays", "factor", "checksum",
                    "kinds": {"slot.m": checksum, …}}, …]}

The other entries are the arrays `own.iteration`, `0.slot.m` and so on. A checksum is
the CRC-32 of an array's bytes. A file is not trusted: lengths and shapes are checked
before an array is read, and the document before it is used.
"""

import json
import math
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

import keras
import numpy as np

from keras_textbook_opt import patterns
from keras_textbook_opt.state.slots import States
from keras_textbook_opt.variables import dtype_of, path_of

FORMAT = 1
DOCUMENT = "document"
LARGEST_DOCUMENT = 2**26  # bytes
# HDF5 compresses zeros by about this factor; a file that declares more is malicious.
LARGEST_RATIO = 1100


@final
class Entry(NamedTuple):
    """An array, read when it is asked for."""

    name: str  # in errors
    stored: Callable[[], Any]
    checksum: int | None = None  # `None` if it is not known

    def read(self) -> np.ndarray:
        """The array; a `ValueError` if it is not the one that was saved."""
        array = np.asarray(self.stored())
        if self.checksum not in (None, checksum(array)):
            raise corrupted(self.name)
        return array

    def in_memory(self) -> "Entry":
        """The same entry, in memory."""
        return held(self.name, self.read())


def held(name: str, array: np.ndarray) -> Entry:
    """An entry in memory."""
    return Entry(name, lambda: array)


@final
@dataclass
class SavedVariable:
    """A saved variable: its identity, and its state by kind."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    checksum: int | None
    factor: float = 1.0
    decays: bool = True
    entries: dict[str, Entry] = field(default_factory=dict)


@final
@dataclass
class Saved:
    """A saved state."""

    class_name: str  # the registered one
    own: dict[str, Entry]  # what belongs to no variable, such as the count of steps
    patterns: dict[str, Any] = field(default_factory=dict)
    variables: list[SavedVariable] = field(default_factory=list)
    # In place of these, the arrays in their order, from a format that has no names.
    numbered: list[np.ndarray] | None = None
    is_foreign: bool = False  # of an optimizer of another class

    def verify(self) -> None:
        """Raise a `ValueError` unless every entry is as it was saved."""
        for saved in self.variables:
            for entry in saved.entries.values():
                entry.read()

    def keep(self) -> None:
        """Verify every entry, and keep it in memory."""
        for saved in self.variables:
            saved.entries = {kind: e.in_memory() for kind, e in saved.entries.items()}


def checksum(array: np.ndarray) -> int:
    """The CRC-32 of the array's bytes."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return zlib.crc32(flat.view(np.uint8).data) if flat.size else 0


def identity(variable: Any) -> SavedVariable:
    """The identity of `variable` now; reads all its values."""
    try:
        contents = checksum(keras.ops.convert_to_numpy(variable))
    except RuntimeError:  # JAX: some of it is on other machines
        contents = None
    shape = tuple(variable.shape)
    return SavedVariable(path_of(variable), shape, dtype_of(variable), contents)


def corrupted(name: str) -> ValueError:
    """The error of a damaged entry."""
    return ValueError(
        f"The file is corrupted: entry {name!r} of the optimizer. Nothing of its state "
        "was loaded."
    )


# Writing.


def by_name(variables: list) -> dict[str, Any]:
    """Variables by name; a repeated name gets a number."""
    named: dict[str, Any] = {}
    for k, variable in enumerate(variables):
        is_there = variable.name in named
        named[f"{variable.name}.{k}" if is_there else variable.name] = variable
    return named


def saved_of(
    class_name: str, own: Mapping[str, Any], rules: dict[str, Any], states: States
) -> Saved:
    """The state as it is now."""
    variables = []
    for state in states:
        saved = identity(state.variable)
        saved.factor, saved.decays = state.factor, state.decays
        saved.entries = {kind: _of(v) for kind, v in state.by_kind().items()}
        variables.append(saved)
    return Saved(class_name, {n: _of(v) for n, v in own.items()}, rules, variables)


def _of(variable: Any) -> Entry:
    return Entry(variable.name, lambda: keras.ops.convert_to_numpy(variable))


def write(saved: Saved, store: Any) -> None:
    """Write to `store`, one array after the other."""

    def put(key: str, entry: Entry) -> int:
        array = entry.read()
        store[key] = array
        return checksum(array)

    document = {
        "format": FORMAT,
        "class": saved.class_name,
        "own": {name: put(f"own.{name}", e) for name, e in saved.own.items()},
        "patterns": saved.patterns,
        "variables": [
            {
                "path": variable.path,
                "shape": list(variable.shape),
                "dtype": variable.dtype,
                "decays": variable.decays,
                "factor": variable.factor,
                "checksum": variable.checksum,
                "kinds": {
                    kind: put(f"{k}.{kind}", entry)
                    for kind, entry in variable.entries.items()
                },
            }
            for k, variable in enumerate(saved.variables)
        ],
    }
    line = json.dumps(document).encode()
    store[DOCUMENT] = np.frombuffer(b"%b\n%d" % (line, zlib.crc32(line)), np.uint8)


# Reading.


def read(store: Any) -> Saved | None:
    """The state in `store`, of which no array is read yet; `None` if it has none.

    Raises:
        ValueError: The file is corrupted, or of a newer format.
    """
    keys = set(store.keys())
    if not keys:
        return None
    _check_archive(store)
    if DOCUMENT not in keys:
        if all(key.isdigit() for key in keys):  # as built-ins number their state
            return Saved("", {})
        raise corrupted(DOCUMENT)
    header = _header(store, DOCUMENT)
    if len(header.shape) != 1 or not header.shape[0] <= LARGEST_DOCUMENT:
        raise corrupted(DOCUMENT)
    try:
        line, crc = np.asarray(store[DOCUMENT]).tobytes().split(b"\n")
        if zlib.crc32(line) != int(crc):
            raise corrupted(DOCUMENT)
        document = json.loads(line)
        number = document["format"]
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        raise corrupted(DOCUMENT) from None
    if number != FORMAT:
        raise ValueError(
            f"The file has an optimizer state of format {number!r}, and this version "
            f"reads format {FORMAT}. Upgrade keras_textbook_opt, or load the model "
            "with `compile=False`."
        )
    try:
        return _saved(store, keys, document)
    except (KeyError, TypeError, AttributeError, OverflowError):
        raise corrupted(DOCUMENT) from None


def _saved(store: Any, keys: set[str], document: Any) -> Saved:
    class_name = _typed(document["class"], str)
    own = {
        name: _entry(store, keys, f"own.{name}", None, crc)
        for name, crc in document["own"].items()
    }
    variables = [
        _variable(store, keys, k, item) for k, item in enumerate(document["variables"])
    ]
    entries = [*own.values(), *(e for v in variables for e in v.entries.values())]
    for key in sorted(keys - {entry.name for entry in entries} - {DOCUMENT}):
        raise corrupted(key)  # the document does not list it
    return Saved(class_name, own, _typed(document["patterns"], dict), variables)


def _variable(store: Any, keys: set[str], k: int, item: Any) -> SavedVariable:
    shape = tuple(_typed(n, int) for n in item["shape"])
    contents = item["checksum"]
    return SavedVariable(
        _typed(item["path"], str),
        shape,
        _typed(item["dtype"], str),
        None if contents is None else _typed(contents, int),
        patterns.FACTOR.checked("factor", item["factor"]),
        _typed(item["decays"], bool),
        {
            kind: _entry(store, keys, f"{k}.{kind}", shape, crc)
            for kind, crc in item["kinds"].items()
        },
    )


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(value)
    return value


def _entry(store: Any, keys: set[str], key: str, shape: Any, crc: Any) -> Entry:
    if key not in keys:
        raise corrupted(key)
    header = _header(store, key)
    if shape is not None and tuple(header.shape) != shape:
        raise corrupted(key)

    def array() -> np.ndarray:
        try:
            return store[key]
        except (OSError, ValueError, KeyError, zlib.error):
            raise corrupted(key) from None

    return Entry(key, array, _typed(crc, int))


def _header(store: Any, key: str) -> Any:
    """An object with the shape and the dtype of an array, which is not read.

    HDF5 has links to other files, arrays in other files, and arrays that are declared
    and not stored. None of these is followed.
    """
    group: Any = getattr(store, "_h5_entry_group", None)
    if not hasattr(group, "get") or isinstance(group, dict) or key not in list(group):
        return store[key]
    if type(group.get(key, getlink=True)).__name__ != "HardLink":
        raise corrupted(key)
    try:
        dataset = group[key]
        declared = math.prod(dataset.shape) * dataset.dtype.itemsize
        stored = dataset.id.get_storage_size()
        elsewhere = dataset.is_virtual or dataset.external
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError):
        raise corrupted(key) from None
    is_trap = elsewhere or declared > LARGEST_RATIO * stored
    if is_trap or dataset.dtype.kind not in "iuf":
        raise corrupted(key)
    return dataset


def _check_archive(store: Any) -> None:
    """Raise a `ValueError` if the archive `.keras` around the file is damaged.

    Keras ignores a wrong checksum.
    """
    archive = getattr(store, "archive", None)
    if archive is None:
        return
    if archive.filename is None:
        damaged = archive.testzip()
    else:
        # Keras is reading from its own archive, which a test would disturb.
        with zipfile.ZipFile(archive.filename) as opened_again:
            damaged = opened_again.testzip()
    if damaged is not None:
        raise ValueError(f"The file is corrupted: {damaged!r}")
