"""Train cases on workers, or on parameter servers of this process, and alone.

The arguments are `workers` or `servers`, a folder, the name of the cases, and for a
worker its index and the ports of all. `{index}.npz` in the folder has the variables of
each case after the training here, by `{case}/{way}/{variable}`, and of one device, by
`{case}/alone/{variable}`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests import processes
from tests.workers.cases import IDS, SETS, STEPS, TARGETS, Case
from tests.workers.programs import tensorflow_cluster as cluster

Values = dict[str, np.ndarray]


def trained(strategy: tf.distribute.Strategy, case: Case) -> Values:
    model, optimizer = cluster.made(strategy, case)
    for _ in cluster.train(strategy, model, optimizer, range(STEPS)):
        pass
    return cluster.values(model, optimizer)


def start_servers() -> tf.distribute.ClusterCoordinator:
    ports = iter(processes.free_ports(4))
    jobs = {job: [f"localhost:{next(ports)}" for _ in "ab"] for job in ("worker", "ps")}
    spec = tf.train.ClusterSpec(jobs)
    for job, addresses in jobs.items():
        for k in range(len(addresses)):
            tf.distribute.Server(spec, job_name=job, task_index=k, protocol="grpc")
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, rpc_layer="grpc"
    )
    strategy = tf.distribute.ParameterServerStrategy(resolver)
    return tf.distribute.coordinator.ClusterCoordinator(strategy)


def on_servers(coordinator: tf.distribute.ClusterCoordinator, case: Case) -> Values:
    """Steps one after the other, so that they are those of one process."""
    model, optimizer = cluster.made(coordinator.strategy, case)
    step = tf.function(cluster.make_step(model, optimizer))
    for ids, targets in zip(IDS, TARGETS):
        coordinator.schedule(step, args=(tf.constant(ids), tf.constant(targets)))
        coordinator.join()
    return cluster.values(model, optimizer)


def main(way: str, folder: Path, cases: dict[str, Case], index: int, ports: list):
    alone, count = tf.distribute.get_strategy(), max(len(ports), 1)
    train: Callable[[Case], Values]
    if way == "servers":
        coordinator = start_servers()
        train = lambda case: on_servers(coordinator, case)  # noqa: E731
    else:
        workers = cluster.join(index, ports)
        train = lambda case: trained(workers, case)  # noqa: E731
    found: dict[str, Any] = {}
    for name, case in cases.items():
        for key, value in train(case).items():
            found[f"{name}/{way}/{key}"] = value
    for name in list(cases)[index::count]:  # whose turn it is
        for key, value in trained(alone, cases[name]).items():
            found[f"{name}/alone/{key}"] = value
    np.savez(folder / f"{index}.npz", **found)
    if ports:
        cluster.wait_for_all(workers)


if __name__ == "__main__":
    way, folder, cases, *rest = sys.argv[1:]
    index, *ports = rest or ["0"]
    main(way, Path(folder), SETS[cases], int(index), ports)
    os._exit(0)
