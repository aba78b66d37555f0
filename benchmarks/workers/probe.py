"""One worker of several, in a process of its own: what it sends and receives."""

import json
import os
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import patch

import keras
import numpy as np
import tensorflow as tf

from benchmarks.workers.plans import DENSE, EXACT, OURS, WARM_UP, WIDTH, Case
from benchmarks.workers.traffic import Traffic
from keras_textbook_opt import Adam, backends


def measure(cases: Sequence[Case], ports: Sequence[int], index: int) -> list[float]:
    """Return the bytes that worker `index` sends and receives in a step of each case.

    They are in the mean of the steps after those to warm up.
    """
    tf.config.set_visible_devices([], "GPU")
    workers = [f"localhost:{port}" for port in ports]
    task = {"type": "worker", "index": index}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": task})
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    return [_bytes_a_step(strategy, case, case.ids(index)) for case in cases]


def _bytes_a_step(strategy: Any, case: Case, ids: np.ndarray) -> float:
    warm_up, counted = np.split(ids.astype("int32"), [WARM_UP])
    backend: Any = type(backends.active)
    repeated = case.subject.endswith("repeats sent")
    how = summed_with_repeats if repeated else backend.summed
    with patch.object(backend, "summed", how):
        step = training(strategy, case)
        for batch in warm_up:
            step(tf.constant(batch))
        traffic = Traffic()
        before = traffic.settled()
        for batch in counted:
            step(tf.constant(batch))
        return (traffic.settled() - before) / len(counted)


def training(strategy: Any, case: Case) -> Callable[[Any], Any]:
    """Return a function that takes one step on all workers, on a new table."""
    dense = case.name == DENSE
    with strategy.scope():
        table = keras.Variable(np.zeros((case.rows, WIDTH)), dtype="float32")
        optimizer = make(case)
        optimizer.build([table])

    def step(ids: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.square(table.value) if dense else tf.gather(table.value, ids)
        optimizer.apply_gradients([(tape.gradient(loss, table.value), table)])

    return tf.function(lambda ids: strategy.run(step, (ids,)))


def make(case: Case) -> Any:
    """Return the optimizer of the case."""
    name, _, variant = case.subject.partition(", ")
    limit = 1.0 if variant == "clipped" else None
    if name != OURS:
        return keras.optimizers.Adam(0.001, global_clipnorm=limit)
    if case.name in (DENSE, EXACT):
        return Adam(0.001, global_clipnorm=limit)
    return Adam(0.001, sparse_update="lazy", global_clipnorm=limit)


def summed_with_repeats(self: Any, optimizer: Any, gradients: list) -> list:
    """The sum over replicas as TensorFlow makes it of what it is given."""
    replica: Any = tf.distribute.get_replica_context()
    slices = [g.assignable() for g in gradients]
    sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, slices)
    return [type(g).of(total) for g, total in zip(gradients, sums)]
