"""One worker: `python -m benchmarks.workers.probe PLAN INDEX PORT…`.

It prints the bytes of a step that it sent and received, those of each case in order.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.workers.plans import DENSE, LAZY, OURS, PLANS, Case, Plan
from benchmarks.workers.traffic import Traffic
from keras_textbook_opt import Adam, backends


def join(index: int, ports: list[str]) -> tf.distribute.Strategy:
    workers = [f"localhost:{port}" for port in ports]
    task = {"type": "worker", "index": index}
    config = {"cluster": {"worker": workers}, "task": task}
    os.environ["TF_CONFIG"] = json.dumps(config)
    return tf.distribute.MultiWorkerMirroredStrategy()


def make(case: Case) -> Any:
    name, _, variant = case.contender.partition(", ")
    clip: dict[str, Any] = {"global_clipnorm": 1.0} if variant == "clipped" else {}
    if name != OURS:
        return keras.optimizers.Adam(0.001, **clip)
    lazy = case.gradient == LAZY
    return Adam(0.001, sparse_update="lazy" if lazy else "exact", **clip)


def summed_with_repeats(self: Any, optimizer: Any, gradients: list, variables: list):
    """The sum over replicas as TensorFlow makes it of what it is given."""
    replica: Any = tf.distribute.get_replica_context()
    slices = [g.assignable() for g in gradients]
    sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, slices)
    return [type(g).of(total) for g, total in zip(gradients, sums)]


def bytes_a_step(on_all: Callable[[Any], Any], batches: Sequence[Any], plan: Plan):
    """What this worker sends and receives in a step, in the mean after the warm-up."""
    for batch in batches[: plan.warm_up]:
        on_all(batch)
    traffic = Traffic()
    before = traffic.settled()
    for batch in batches[plan.warm_up :]:
        on_all(batch)
    return (traffic.settled() - before) / plan.steps


def of_case(
    strategy: tf.distribute.Strategy, plan: Plan, case: Case, index: int
) -> float:
    """Return what this worker sends and receives in a step of the case."""
    backend: Any = type(backends.active)
    summed = backend.summed
    if case.contender.endswith("repeats sent"):
        backend.summed = summed_with_repeats
    try:
        ids = case.ids(index, plan.warm_up + plan.steps)
        return bytes_a_step(training(strategy, case), list(map(tf.constant, ids)), plan)
    finally:
        backend.summed = summed


def looked_up(table: Any, ids: Any) -> Any:
    return tf.reduce_sum(tf.gather(table, ids))


def every_row(table: Any, ids: Any) -> Any:
    return tf.reduce_sum(table * table)


def training(strategy: tf.distribute.Strategy, case: Case) -> Callable[[Any], Any]:
    """A function that takes one step on all workers, on a new table."""
    loss_of = every_row if case.gradient == DENSE else looked_up
    with strategy.scope():
        table = keras.Variable(np.zeros((case.rows, case.width)), dtype="float32")
        optimizer = make(case)
        optimizer.build([table])

    def step(ids: Any) -> None:
        with tf.GradientTape() as tape:
            loss = loss_of(table.value, ids)
        optimizer.apply_gradients([(tape.gradient(loss, table.value), table)])

    return tf.function(lambda ids: strategy.run(step, (ids,)))


def main(plan: Plan, index: int, ports: list[str]) -> None:
    strategy = join(index, ports)
    cases = plan.cases(len(ports))
    found = [of_case(strategy, plan, case, index) for case in cases]
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(PLANS[sys.argv[1]], int(sys.argv[2]), sys.argv[3:])
    os._exit(0)
