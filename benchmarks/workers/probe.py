"""Steps on a table in which workers look rows up, each in a process of its own."""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import psutil
import tensorflow as tf

from benchmarks.suite import FULL, QUICK
from keras_textbook_opt import Adam

OURS, BUILTIN, CLIPPED = "Adam", "keras.optimizers.Adam", ", clipped"
SUBJECTS = [name + clip for name in (OURS, BUILTIN) for clip in ("", CLIPPED)]
LOOKUPS, WIDTH = 1024, 16
# Of each case: the steps that are counted, and those before them.
STEPS, WARM_UP = 20, 3


@dataclass(frozen=True)
class Case:
    """Steps of an optimizer; row `k` is looked up in proportion to `k⁻ˢ`."""

    subject: str
    rows: int
    exponent: float

    @property
    def name(self) -> str:
        return f"Zipf, s = {self.exponent:g}" if self.exponent else "uniform"

    def ids(self, worker: int) -> np.ndarray:
        """Return the rows that a worker looks up, a line for each step."""
        random = np.random.default_rng([worker, int(10 * self.exponent)])
        weights = np.arange(1.0, self.rows + 1) ** -self.exponent
        shape = WARM_UP + STEPS, LOOKUPS
        return random.choice(self.rows, shape, p=weights / weights.sum())


# The rows of the table, and the exponents of the lookups.
PLANS = {FULL: (100_000, (0, 1, 1.5)), QUICK: (1_000, (1,))}

# Seconds after which everything that a step sent has arrived.
SETTLED = 0.2


def measure(cases: Sequence[Case], ports: Sequence[int], index: int) -> list[float]:
    """Return the mean bytes of a step of each case, sent by all workers together.

    Workers are on one machine, whose other processes must not use its loopback.
    """
    tf.config.set_visible_devices([], "GPU")
    workers = [f"localhost:{port}" for port in ports]
    task = {"type": "worker", "index": index}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": task})
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    return [_bytes_a_step(strategy, case, case.ids(index)) for case in cases]


def _bytes_a_step(strategy: Any, case: Case, ids: np.ndarray) -> float:
    step = training(strategy, case)
    warm_up, counted = np.split(ids.astype("int32"), [WARM_UP])
    for batch in warm_up:
        step(tf.constant(batch))
    before = sent()
    for batch in counted:
        step(tf.constant(batch))
    return (sent() - before) / len(counted)


def sent() -> int:
    """Return the bytes on the loopback so far, protocol included."""
    time.sleep(SETTLED)
    interfaces = psutil.net_io_counters(pernic=True)
    return sum(it.bytes_sent for name, it in interfaces.items() if name[:2] == "lo")


def training(strategy: Any, case: Case) -> Callable[[Any], Any]:
    """Return a function that takes one step on all workers, on a new table."""
    with strategy.scope():
        table = keras.Variable(np.zeros((case.rows, WIDTH)), dtype="float32")
        optimizer = make(case.subject)
        optimizer.build([table])

    def step(ids: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.gather(table.value, ids)
        optimizer.apply_gradients([(tape.gradient(loss, table.value), table)])

    return tf.function(lambda ids: strategy.run(step, (ids,)))


def make(subject: str) -> Any:
    """Return the optimizer of this name."""
    limit = 1.0 if subject.endswith(CLIPPED) else None
    if subject.startswith(OURS):
        return Adam(0.001, sparse_update="lazy", global_clipnorm=limit)
    return keras.optimizers.Adam(0.001, global_clipnorm=limit)
