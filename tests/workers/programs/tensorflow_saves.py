"""A worker that goes on from the last save and saves as it trains; it may kill itself.

`{index}.npz` in the folder has the variables of the `run`: as it `began` here, as it
was `saved` last, and at its `end`; and those at the `end` of an `undisturbed` run,
which is trained here afterwards from the first step, and never saved. Without ports, it
is not a worker, and alone.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.workers.cases import CASES
from tests.workers.programs import tensorflow_cluster as cluster

SAVED_EVERY = 3
CASE = CASES["everything"]  # with a table of 16 bits


def restored(checkpoint: tf.train.Checkpoint, saves: Path) -> int:
    """Restore what the first worker saved last; the number of steps taken then."""
    last = tf.train.latest_checkpoint(saves / "chief")
    if last is None:
        return 0
    checkpoint.restore(last).assert_consumed()
    return int(last.rpartition("-")[2])


def main(
    folder: Path, saves: Path, steps: int, kill_at: int, index: int, ports: list[str]
) -> None:
    strategy = cluster.join(index, ports) if ports else tf.distribute.get_strategy()
    model, optimizer = cluster.made(strategy, CASE)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    # All have to save, since that reads what is on all; the first one's saves count.
    own = saves / ("chief" if index == 0 else f"worker_{index}")
    manager = tf.train.CheckpointManager(checkpoint, own, max_to_keep=2)
    began = restored(checkpoint, saves)
    found: dict[str, Any] = {}

    def keep(where: str, model: keras.Model, optimizer: Any) -> None:
        values = cluster.values(model, optimizer)
        found.update({f"{where}/{key}": value for key, value in values.items()})

    keep("run/began", model, optimizer)
    for step in cluster.train(strategy, model, optimizer, range(began, steps)):
        if step + 1 == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if (step + 1) % SAVED_EVERY == 0:
            manager.save(checkpoint_number=step + 1)
            keep("run/saved", model, optimizer)
    keep("run/end", model, optimizer)
    model, optimizer = cluster.made(strategy, CASE)
    for _ in cluster.train(strategy, model, optimizer, range(steps)):
        pass
    keep("undisturbed/end", model, optimizer)
    np.savez(folder / f"{index}.npz", steps=np.array(began), **found)
    cluster.wait_for_all(strategy)


if __name__ == "__main__":
    folder, saves, steps, kill_at, index, *ports = sys.argv[1:]
    main(Path(folder), Path(saves), int(steps), int(kill_at), int(index), ports)
    os._exit(0)
