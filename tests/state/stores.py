"""Optimizers, what they save, and how a test looks into it and changes it."""

from __future__ import annotations

import contextlib
import json
import signal
import zlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tests.backends import numbers

SHAPES = {"alpha": (2, 3), "beta": (3,), "gamma": (1, 2, 2)}
START = 3  # steps before a save, in the middle of an accumulation of two


def named(path: str, value: Any, dtype: str = "float32") -> keras.Variable:
    """A variable with this path: a name in name scopes."""
    scope, _, rest = path.partition("/")
    if not rest:
        return keras.Variable(np.asarray(value), dtype=dtype, name=scope)
    with keras.name_scope(scope):
        return named(rest, value, dtype)


def variables(dtype: str = "float32") -> list[keras.Variable]:
    """No two of them have the same values."""
    rng = np.random.default_rng(0)
    return [
        named(name, rng.normal(size=shape), dtype) for name, shape in SHAPES.items()
    ]


def step(optimizer: Any, θ: list[Any], steps: range | int = START) -> None:
    """Steps on gradients that depend on the number of the step and on the name."""
    for k in range(steps) if isinstance(steps, int) else steps:
        drawn = [
            np.random.default_rng([k, *v.name.encode()]).normal(size=v.shape) for v in θ
        ]
        optimizer.apply(
            [keras.ops.convert_to_tensor(g, v.dtype) for g, v in zip(drawn, θ)], θ
        )


def trained(optimizer: Any, θ: list[Any] | None = None) -> Any:
    step(optimizer, variables() if θ is None else θ)
    return optimizer


def built(optimizer: Any, θ: list[Any] | None = None) -> Any:
    optimizer.build(variables() if θ is None else θ)
    return optimizer


def saved(optimizer: Any) -> dict[str, np.ndarray]:
    store: dict[str, np.ndarray] = {}
    optimizer.save_own_variables(store)
    return store


def values(of: list[Any]) -> list[np.ndarray]:
    return [numbers(v) for v in of]


def document(store: dict[str, np.ndarray]) -> dict[str, Any]:
    return json.loads(bytes(store["document"]).partition(b"\n")[0])


def with_document(store: dict[str, np.ndarray], new: Any) -> dict[str, np.ndarray]:
    """The document is a line, and its checksum."""
    line = new if isinstance(new, bytes) else json.dumps(new).encode()
    content = line + b"\n" + str(zlib.crc32(line)).encode()
    return store | {"document": np.frombuffer(content, "uint8")}


def model(optimizer: Any, *names: str | None, seed: int = 1, **layer: Any) -> Any:
    """Dense layers of these names, on three inputs."""
    keras.utils.set_random_seed(seed)
    layers = [
        keras.layers.Dense(3, name=name, bias_initializer="normal", **layer)
        for name in names or ("first", "second")
    ]
    made = keras.Sequential([keras.Input((3,)), *layers])
    if optimizer is not None:
        made.compile(optimizer, keras.losses.MeanSquaredError(), run_eagerly=True)
    return made


def fit(of: Any, epochs: int = 1) -> Any:
    x, y = np.random.default_rng(3).normal(size=(2, 12, 3)).astype("float32")
    of.fit(x, y, batch_size=4, epochs=epochs, shuffle=False, verbose=0)
    return of


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """An error if the body takes more processor time: a load must not hang."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
