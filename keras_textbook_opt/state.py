"""The state of an optimizer: what it keeps beside each variable, by name.

A state is saved as a dictionary from names, such as `m/dense/kernel`, to arrays, with
the list of the names under `names`. Whoever loads it matches all of them before the
first is assigned.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn, final

import keras
import numpy as np

NAMES = "names"


@final
class State:
    """Slots and carries by variable, and a loaded state that waits for its variables.

    Args of the methods: `key` is what the optimizer knows a variable by.
    """

    def __init__(self) -> None:
        self._slots: dict[object, dict[str, keras.Variable]] = {}
        self._initializers: list[tuple[keras.Variable, Any]] = []
        self.carries: dict[object, keras.Variable] = {}
        self.awaited: dict[str, np.ndarray] | None = None

    def add_slot(self, key, name: str, slot: keras.Variable, initializer) -> None:
        self._slots.setdefault(key, {})[name] = slot
        self._initializers.append((slot, initializer))

    def all_slots(self) -> list[keras.Variable]:
        """In the order in which `create_slots` last named them."""
        return [slot for slot, _ in self._initializers]

    def forget_order(self) -> None:
        self._initializers.clear()

    def slots(self, key) -> dict[str, keras.Variable]:
        return self._slots.get(key, {})

    def reset_slots(self) -> None:
        for slot, initializer in self._initializers:
            slot.assign(initializer(slot.shape, dtype=slot.dtype))


def named(variables) -> dict[str, keras.Variable]:
    """The variables by `state_name`, else by name; the second of a name is `#2`."""
    by_name: dict[str, keras.Variable] = {}
    for variable in variables:
        name = first = getattr(variable, "state_name", variable.name)
        count = 1
        while name in by_name:
            count += 1
            name = f"{first}#{count}"
        by_name[name] = variable
    return by_name


def is_carry(variable: keras.Variable) -> bool:
    """Whether `variable` holds what a variable of 16 bits rounds off."""
    return getattr(variable, "state_name", "").startswith("carry/")


def save(state: Mapping[str, Any], store: Any) -> None:
    """Write arrays, or variables, to `store` under their names."""
    for name, key in _keys(state).items():
        value = state[name]
        store[key] = value if isinstance(value, np.ndarray) else value.numpy()
    store[NAMES] = np.frombuffer("\n".join(state).encode(), np.uint8)


def _keys(names: Iterable[str]) -> dict[str, str]:
    """Where each name is stored; one that is a folder of another gets a `#`."""
    folders = {NAMES}
    for name in names:
        *parts, _ = name.split("/")
        folders.update("/".join(parts[: k + 1]) for k in range(len(parts)))
    return {name: f"{name}#" if name in folders else name for name in names}


def read(store: Any) -> dict[str, np.ndarray]:
    """All of `store`, also where the names of a file are folders in folders.

    Raises:
        ValueError: The file that `store` reads from is damaged.
    """
    _check_archive(store)
    keys = dict(zip(store.keys(), store.keys()))
    if NAMES in keys:
        listed = _keys(np.asarray(store[NAMES]).tobytes().decode().split("\n"))
        known = {NAMES, *listed.values(), *(name.split("/")[0] for name in listed)}
        keys = listed | {key: key for key in keys if key not in known}
    return dict(_entries(store, keys))


def _entries(store: Any, keys: dict[str, str]) -> Iterator[tuple[str, np.ndarray]]:
    for name, key in keys.items():
        try:
            yield name, np.asarray(store[key])
        except KeyError:
            continue


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


def assign(state: dict[str, keras.Variable], saved: dict[str, np.ndarray]) -> None:
    """Assign every array of `saved` to the variable of its name.

    Keras numbers the layers of a process (`dense_3`), and puts the name of a model in
    front of their paths or not. Names that differ in this alone, in the same order, are
    the names of a model that was built again, and match.

    Raises:
        ValueError: Names, shapes or dtypes differ. The error names all that do, and
            nothing has been assigned.
    """
    if _is_positional(saved):
        saved = _by_name(state, saved)
    renamed = saved.keys() != state.keys() and len(saved) == len(state)
    if renamed and all(map(_alike, saved, state)):
        saved = dict(zip(state, saved.values()))
    problems = [
        *(f"{name} is missing" for name in state if name not in saved),
        *(f"{name} is not expected" for name in saved if name not in state),
        *(
            p
            for name in state
            if name in saved
            for p in _misfits(name, state[name], saved[name])
        ),
    ]
    if problems:
        _refuse(problems)
    for name, value in saved.items():
        state[name].assign(value)


def of_no_step(saved: Mapping[str, np.ndarray], own: list[str]) -> dict[str, Any]:
    """What of `saved` an optimizer keeps that is not built, with no step counted.

    That is `own`, by name or position; the first of it is the count of steps.
    """
    names = [str(k) for k in range(len(own))] if _is_positional(saved) else own
    kept = {name: saved[name] for name in names if name in saved}
    return {n: np.zeros_like(v) if n == names[0] else v for n, v in kept.items()}


def is_of_no_step(saved: Mapping[str, np.ndarray], own: list[str]) -> bool:
    """Whether `saved` is all that an optimizer keeps that was not built yet."""
    fresh = of_no_step(saved, own)
    if saved.keys() != fresh.keys() or len(fresh) < len(own):
        return False
    return not saved[next(iter(fresh))].any()


def _is_positional(saved: Mapping[str, np.ndarray]) -> bool:
    return bool(saved) and all(name.isdigit() for name in saved)


def _by_name(state, saved: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Values by position. Those of a built-in have no carries, and 16-bit slots."""
    kept = list(state)
    if len(saved) < len(state):
        kept = [name for name, variable in state.items() if not is_carry(variable)]
    if sorted(saved, key=int) != [str(k) for k in range(len(kept))]:
        _refuse([f"expected {len(kept)} values ({', '.join(kept)}), not {len(saved)}"])
    values = {name: saved[str(k)] for k, name in enumerate(kept)}
    carries = {n: np.zeros(v.shape, v.dtype) for n, v in state.items() if n not in kept}
    return {name: _widened(v, state[name]) for name, v in values.items()} | carries


def _widened(value: np.ndarray, variable: keras.Variable) -> np.ndarray:
    narrow = str(value.dtype) in ("float16", "bfloat16")
    return value.astype("float32") if narrow and variable.dtype == "float32" else value


def _alike(name: str, other: str) -> bool:
    (slot, *path), (other_slot, *other_path) = (
        re.sub(r"_\d+(?=/|#|$)", "", n).split("/") for n in (name, other)
    )
    shorter, longer = sorted((path, other_path), key=len)
    return slot == other_slot and longer[len(longer) - len(shorter) :] == shorter


def _misfits(name: str, variable: keras.Variable, value: np.ndarray) -> list[str]:
    shape, dtype = tuple(variable.shape), variable.dtype
    if value.shape != shape:
        return [f"{name} is of shape {value.shape}, not {shape}"]
    if str(value.dtype) != dtype:
        return [f"{name} is of dtype {value.dtype}, not {dtype}"]
    return []


def _refuse(problems: list[str]) -> NoReturn:
    listed = "\n".join(f"- {problem}" for problem in problems)
    raise ValueError(
        "Expected the saved state of an optimizer like this one, built on variables "
        f"like these. Received one in which:\n{listed}\nNothing was assigned."
    )
