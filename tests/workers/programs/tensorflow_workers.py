"""One worker of `MultiWorkerMirroredStrategy`: train cases, and some of them alone.

`{index}.npz` in the folder has the variables of each case after the training here, by
`{case}/workers/{variable}`, and by `{case}/alone/{variable}` those of every case that
was this worker's turn, from one device.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.workers.cases import BUILT_IN, CASES, FEW, STEPS, Case
from tests.workers.programs import tensorflow_cluster as cluster

SETS: dict[str, dict[str, Case]] = {
    "few": {name: CASES[name] for name in FEW},
    "all": CASES,
}


def trained(strategy: tf.distribute.Strategy, case: Case) -> dict[str, np.ndarray]:
    with strategy.scope():
        model, optimizer = cluster.make_model(case.table), case.make_optimizer()
        optimizer.build(model.trainable_variables)
    for _ in cluster.train(strategy, model, optimizer, range(STEPS)):
        pass
    return cluster.values(model, optimizer)


def main(folder: Path, cases: dict[str, Case], index: int, ports: list[str]) -> None:
    workers, alone = cluster.join(index, ports), tf.distribute.get_strategy()
    found: dict[str, Any] = {}
    for name, case in cases.items():
        for key, value in trained(workers, case).items():
            found[f"{name}/workers/{key}"] = value
    for name in list(cases)[index :: len(ports)]:
        for key, value in trained(alone, cases[name]).items():
            found[f"{name}/alone/{key}"] = value
    np.savez(folder / f"{index}.npz", **found)
    cluster.wait_for_all(workers)


if __name__ == "__main__":
    cases = SETS[sys.argv[2]] | {"built-in": BUILT_IN}
    main(Path(sys.argv[1]), cases, int(sys.argv[3]), sys.argv[4:])
    os._exit(0)
