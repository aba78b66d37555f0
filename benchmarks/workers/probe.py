"""One worker: `python -m benchmarks.workers.probe PLAN INDEX PORT…`.

It prints the bytes of a step that it sent and received, as a JSON object: of each case
in order, and among the smallest number of workers by exponent and contender.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.workers.plans import CONTENDERS, DENSE, EXACT, LAZY, PLANS, Case, Plan
from benchmarks.workers.traffic import Traffic
from keras_textbook_opt import Adam, backends


def join(index: int, ports: list[str]) -> tf.distribute.Strategy:
    workers = [f"localhost:{port}" for port in ports]
    task = {"type": "worker", "index": index}
    config = {"cluster": {"worker": workers}, "task": task}
    os.environ["TF_CONFIG"] = json.dumps(config)
    return tf.distribute.MultiWorkerMirroredStrategy()


def make(contender: str) -> Any:
    name, _, variant = contender.partition(", ")
    clip: dict[str, Any] = {"global_clipnorm": 1.0} if variant == "clipped" else {}
    if name == "Adam":
        return Adam(0.001, sparse_update="lazy", **clip)
    return keras.optimizers.Adam(0.001, **clip)


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


def of_lookups(
    strategy: tf.distribute.Strategy, plan: Plan, contender: str, ids: np.ndarray
) -> float:
    """Train a table by a contender, with a line of rows for each step."""
    backend: Any = type(backends.active)
    summed = backend.summed
    if contender.endswith("repeats sent"):
        backend.summed = summed_with_repeats
    try:
        shape = plan.rows, plan.width
        on_all = training(strategy, shape, lambda: make(contender), looked_up)
        return bytes_a_step(on_all, list(map(tf.constant, ids)), plan)
    finally:
        backend.summed = summed


def of_case(
    strategy: tf.distribute.Strategy, plan: Plan, case: Case, index: int
) -> float:
    """Train a table by ours, with the same gradient in each step."""
    meaning: dict[str, Any] = {
        "sparse_update": LAZY if case.gradient == LAZY else EXACT
    }
    on_all = training(
        strategy,
        (case.rows, plan.width),
        lambda: Adam(0.001, **meaning),
        every_row if case.gradient == DENSE else looked_up,
    )
    ids = tf.constant(case.ids(index))
    return bytes_a_step(on_all, [ids] * (plan.warm_up + plan.steps), plan)


def looked_up(table: Any, ids: Any) -> Any:
    return tf.reduce_sum(tf.gather(table, ids))


def every_row(table: Any, ids: Any) -> Any:
    return tf.reduce_sum(table * table)


def training(
    strategy: tf.distribute.Strategy,
    shape: tuple[int, int],
    make_optimizer: Callable[[], Any],
    loss_of: Callable[[Any, Any], Any],
) -> Callable[[Any], Any]:
    """A function that takes one step on all workers, on a new table."""
    with strategy.scope():
        table = keras.Variable(np.zeros(shape), dtype="float32")
        optimizer = make_optimizer()
        optimizer.build([table])

    def step(ids: Any) -> None:
        with tf.GradientTape() as tape:
            loss = loss_of(table.value, ids)
        optimizer.apply_gradients([(tape.gradient(loss, table.value), table)])

    return tf.function(lambda ids: strategy.run(step, (ids,)))


def main(plan: Plan, index: int, ports: list[str]) -> None:
    strategy = join(index, ports)
    found: dict[str, Any] = {"streams": {}}
    found["cases"] = [of_case(strategy, plan, case, index) for case in plan.cases]
    for exponent in plan.exponents if len(ports) == plan.workers[0] else ():
        ids = plan.stream(exponent, index)
        found["streams"][str(exponent)] = {
            contender: of_lookups(strategy, plan, contender, ids)
            for contender in CONTENDERS
        }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(PLANS[sys.argv[1]], int(sys.argv[2]), sys.argv[3:])
    os._exit(0)
