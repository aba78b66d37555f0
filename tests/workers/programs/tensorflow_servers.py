"""Train cases under `ParameterServerStrategy`, the servers in this process, and alone.

`0.npz` in the folder has the variables of each case, by `{case}/servers/{variable}` and
`{case}/alone/{variable}`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests import processes
from tests.workers.cases import CASES, IDS, STEPS, TARGETS, Case
from tests.workers.programs import tensorflow_cluster as cluster

JOBS = {"worker": 2, "ps": 2}


def start_servers() -> tf.distribute.ClusterCoordinator:
    ports = iter(processes.free_ports(sum(JOBS.values())))
    spec = tf.train.ClusterSpec(
        {
            job: [f"localhost:{next(ports)}" for _ in range(count)]
            for job, count in JOBS.items()
        }
    )
    for job, count in JOBS.items():
        for k in range(count):
            tf.distribute.Server(spec, job_name=job, task_index=k, protocol="grpc")
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, rpc_layer="grpc"
    )
    return tf.distribute.coordinator.ClusterCoordinator(
        tf.distribute.ParameterServerStrategy(resolver)
    )


def on_servers(
    coordinator: tf.distribute.ClusterCoordinator, case: Case
) -> dict[str, np.ndarray]:
    """Steps one after the other, so that they are those of one process."""
    with coordinator.strategy.scope():
        model, optimizer = cluster.make_model(case.table), case.make_optimizer()
        optimizer.build(model.trainable_variables)
    step = tf.function(cluster.make_step(model, optimizer))
    for ids, targets in zip(IDS, TARGETS):
        coordinator.schedule(step, args=(tf.constant(ids), tf.constant(targets)))
        coordinator.join()
    return cluster.values(model, optimizer)


def alone(case: Case) -> dict[str, np.ndarray]:
    model, optimizer = cluster.make_model(case.table), case.make_optimizer()
    optimizer.build(model.trainable_variables)
    strategy = tf.distribute.get_strategy()
    for _ in cluster.train(strategy, model, optimizer, range(STEPS)):
        pass
    return cluster.values(model, optimizer)


def main(folder: Path) -> None:
    coordinator = start_servers()
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        for key, value in on_servers(coordinator, case).items():
            found[f"{name}/servers/{key}"] = value
        for key, value in alone(case).items():
            found[f"{name}/alone/{key}"] = value
    np.savez(folder / "0.npz", **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    os._exit(0)
