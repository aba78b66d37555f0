"""A crash or a damaged file costs what came after the last save, and nothing silently.

`make crash` runs these; they take minutes.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable

import keras
import numpy as np
import pytest

from keras_textbook_opt import SGD, Adam, Momentum
from tests import processes

pytestmark = [pytest.mark.once, pytest.mark.crash]
KILLS = 60
DAMAGES = 300
OPTIMIZERS = {
    "SGD": lambda: SGD(0.1, use_ema=True),
    "Momentum": lambda: Momentum(0.1, gradient_accumulation_steps=2),
    "Adam": lambda: Adam(0.1, amsgrad=True),
}
of_every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


@pytest.mark.parametrize("how", ["backup", "checkpoint"])
def test_a_killed_run_goes_on_where_it_saved_last(how: str, tmp_path):
    """`backup` is `BackupAndRestore`, `checkpoint` is `ModelCheckpoint`."""
    program = "tests.programs.killed_runs"
    processes.run((program, how, str(tmp_path), str(KILLS), "0"))
    report = json.loads((tmp_path / "report.json").read_text())
    print(report)
    assert report["faults"] == []
    assert report["kills"] == KILLS
    assert report["torn"] > 0
    assert report["epochs"] > KILLS / 2


@of_every_optimizer
def test_a_flipped_bit_is_an_error_or_harmless(name: str, tmp_path):
    def flip(content: bytearray, rng: random.Random) -> bytearray:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        return content

    assert_never_silently_wrong(name, flip, tmp_path)


@of_every_optimizer
def test_a_truncated_file_is_an_error(name: str, tmp_path):
    def truncate(content: bytearray, rng: random.Random) -> bytearray:
        return content[: rng.randrange(len(content))]

    assert assert_never_silently_wrong(name, truncate, tmp_path) == DAMAGES


def assert_never_silently_wrong(
    name: str, damage: Callable[[bytearray, random.Random], bytearray], folder
) -> int:
    """Load damaged files; how many of them gave an error. The others were right."""
    model = trained(OPTIMIZERS[name]())
    intact, path = folder / "intact.keras", folder / "damaged.keras"
    model.save(intact)
    content, expected = intact.read_bytes(), state_of(model)
    rng = random.Random(f"{name}/{damage.__name__}")
    errors = 0
    for _ in range(DAMAGES):
        path.write_bytes(damage(bytearray(content), rng))
        loaded = load(path)
        if loaded is None:
            errors += 1
        else:
            assert_same(state_of(loaded), expected)
    print(f"{name}: {errors} errors of {DAMAGES} in {len(content)} bytes")
    assert errors > 0
    assert_same(state_of(load(intact)), expected)
    return errors


def trained(optimizer) -> keras.Model:
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, activation="tanh", name="hidden"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(2, name="head"),
        ]
    )
    model.compile(optimizer, keras.losses.MeanSquaredError(), run_eagerly=True)
    rng = np.random.default_rng(4)
    for _ in range(3):
        model.train_on_batch(rng.normal(size=(5, 3)), rng.normal(size=(5, 2)))
    return model


def load(path) -> keras.Model | None:
    """The model in a file, or `None` where there was an error. A warning is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return keras.models.load_model(path)
        except Exception:
            return None


def state_of(model: keras.Model | None) -> dict[str, np.ndarray]:
    """The weights, the optimizer's state and its configuration."""
    assert model is not None
    state = enumerate_arrays("weight", model.variables)
    state |= enumerate_arrays("optimizer", model.optimizer.variables)
    config = keras.optimizers.serialize(model.optimizer)
    state["config"] = np.array(json.dumps(config, sort_keys=True))
    return state


def enumerate_arrays(kind: str, variables) -> dict[str, np.ndarray]:
    return {f"{kind}/{k}": v.numpy() for k, v in enumerate(variables)}


def assert_same(given: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert given.keys() == expected.keys()
    for name, value in expected.items():
        assert given[name].dtype == value.dtype, name
        assert given[name].tobytes() == value.tobytes(), name
