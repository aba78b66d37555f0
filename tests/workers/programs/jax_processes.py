"""One of the JAX processes that train together, two devices each.

`train` fits cases under each distribution, and some of them alone. `save` fits a model
that is split across the processes and saves it with `OrbaxCheckpoint`; `restore`, in
processes that know nothing of it, restores that. `{index}.npz` in the folder has the
variables, whole by `{case}/{distribution}/{variable}`, and what this process has of
those that are saved by `shards/{when}/{variable}/{device}`: `saved`, or `fresh` and
then `restored`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from tests.workers.cases import FITTED, IDS, SAVED, TARGETS, share
from tests.workers.programs import jax_models as models


def across(devices: list[str]) -> list[str]:
    """The devices in an order in which neighbours are of different processes."""
    half = len(devices) // 2
    return [device for pair in zip(devices[:half], devices[half:]) for device in pair]


def data_parallel() -> keras.distribution.Distribution:
    return keras.distribution.DataParallel(
        device_mesh=keras.distribution.DeviceMesh((4,), ["batch"]),
        auto_shard_dataset=False,
    )


def model_across() -> keras.distribution.Distribution:
    """The model is split between the processes, and the batch within each."""
    return models.model_parallel((2, 2), across(keras.distribution.list_devices()))


DISTRIBUTIONS: dict[str, Callable[[], keras.distribution.Distribution]] = {
    "data": data_parallel,
    "model across": model_across,
}


def part(array: np.ndarray, distribution: str) -> np.ndarray:
    """The rows of the batches that this process feeds: its own, or all."""
    if distribution == "model across":
        return np.concatenate(array)
    index, count = jax.process_index(), jax.process_count()
    return np.concatenate([share(batch, index, count) for batch in array])


def whole(value: jax.Array) -> np.ndarray:
    """The value with what other processes have of it."""
    gathered = multihost_utils.process_allgather(value, tiled=True)
    return np.asarray(gathered)


def shards(model: keras.Model, when: str) -> dict[str, np.ndarray]:
    return {
        f"shards/{when}/{key}/{shard.device.id}": np.asarray(shard.data, "float32")
        for key, value in models.variables(model).items()
        for shard in value.addressable_shards
    }


class Shards(keras.callbacks.Callback):
    """The values at the end of an epoch, when its save is made.

    When `fit` ends, averages replace the variables.
    """

    def on_epoch_end(self, epoch, logs=None):
        self.model.jax_state_sync()
        self.found = shards(self.model, "saved")


def train() -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    index, count = jax.process_index(), jax.process_count()
    whole_batches = np.concatenate(IDS), np.concatenate(TARGETS)
    for name, case in list(FITTED.items())[index::count]:
        for key, value in models.variables(models.fit(case, *whole_batches)).items():
            found[f"{name}/alone/{key}"] = np.asarray(value)
    for distribution, make in DISTRIBUTIONS.items():
        keras.distribution.set_distribution(make())
        batches = part(IDS, distribution), part(TARGETS, distribution)
        for name, case in FITTED.items():
            for key, value in models.variables(models.fit(case, *batches)).items():
                found[f"{name}/{distribution}/{key}"] = whole(value)
    return found


def save(saves: Path) -> dict[str, np.ndarray]:
    keras.distribution.set_distribution(model_across())
    batches = part(IDS, "model across"), part(TARGETS, "model across")
    keep = Shards()
    models.fit(SAVED, *batches, keras.callbacks.OrbaxCheckpoint(str(saves)), keep)
    return keep.found


def restore(saves: Path) -> dict[str, np.ndarray]:
    keras.distribution.set_distribution(model_across())
    model = models.make_model(SAVED.table)
    model.compile(SAVED.make_optimizer(), "mse")
    model.optimizer.build(model.trainable_variables)
    fresh = shards(model, "fresh")
    model.load_weights(str(saves))
    return fresh | shards(model, "restored")


def main(action: str, folder: Path, saves: Path, index: int, ports: list[str]) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    addresses = ",".join(f"localhost:{port}" for port in ports)
    keras.distribution.initialize(addresses, len(ports), index)
    found: dict[str, Any]
    match action:
        case "train":
            found = train()
        case "save":
            found = save(saves)
        case "restore":
            found = restore(saves)
    np.savez(folder / f"{index}.npz", **found)
    jax.distributed.shutdown()


if __name__ == "__main__":
    action, folder, saves, index, *ports = sys.argv[1:]
    main(action, Path(folder), Path(saves), int(index), ports)
    os._exit(0)
