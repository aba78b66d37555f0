"""One worker: `python -m benchmarks.workers.probe PLAN INDEX PORT…`.

The first one prints a JSON object: by exponent and contender, the bytes of a step that
it sent and received, which is all that two workers send each other.
"""

import json
import os
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.workers.plans import CONTENDERS, PLANS, Plan
from keras_textbook_opt import Adam, backends

# Of `struct tcp_info` in linux/tcp.h: tcpi_bytes_acked and tcpi_bytes_received.
BYTES = struct.Struct("=QQ")
OFFSET = 120


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


def bytes_so_far() -> int:
    """Sent and received by this process, over all of its connections.

    What was sent is counted when the other end has acknowledged it: a moment later.
    """
    before, now = -1, _bytes_acknowledged()
    while now != before:
        time.sleep(0.05)
        before, now = now, _bytes_acknowledged()
    return now


def _bytes_acknowledged() -> int:
    return sum(map(_bytes_of, _connections()))


def _connections() -> Iterator[socket.socket]:
    for name in os.listdir("/proc/self/fd"):
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as connection:
                if connection.type == socket.SOCK_STREAM:
                    yield connection
        except OSError:  # It was closed meanwhile.
            continue


def _bytes_of(connection: socket.socket) -> int:
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return 0
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return sum(BYTES.unpack_from(info, OFFSET))


def bytes_a_step(
    strategy: tf.distribute.Strategy, plan: Plan, contender: str, ids: np.ndarray
) -> float:
    """Train a table: what a step sends and receives, in the mean."""
    backend: Any = type(backends.active)
    summed = backend.summed
    if contender.endswith("repeats sent"):
        backend.summed = summed_with_repeats
    try:
        with strategy.scope():
            table = keras.Variable(np.zeros((plan.rows, plan.width)), dtype="float32")
            optimizer = make(contender)
            optimizer.build([table])

        def step(ids: Any) -> None:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.gather(table.value, ids))
            optimizer.apply_gradients([(tape.gradient(loss, table.value), table)])

        on_all = tf.function(lambda ids: strategy.run(step, (ids,)))
        for number, batch in enumerate(ids):
            if number == plan.warm_up:
                before = bytes_so_far()
            on_all(tf.constant(batch))
    finally:
        backend.summed = summed
    return (bytes_so_far() - before) / plan.steps


def main(plan: Plan, index: int, ports: list[str]) -> None:
    strategy = join(index, ports)
    found = {
        str(exponent): {
            contender: bytes_a_step(
                strategy, plan, contender, plan.stream(exponent, index)
            )
            for contender in CONTENDERS
        }
        for exponent in plan.exponents
    }
    if index == 0:
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(PLANS[sys.argv[1]], int(sys.argv[2]), sys.argv[3:])
    os._exit(0)
