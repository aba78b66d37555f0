"""Trace a step of two replicas for each case: how often each operation stands in it.

`counts.json` in the folder has that for each of the cases that are named, and
`warnings.json` what TensorFlow has warned of meanwhile.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from pathlib import Path

import tensorflow as tf

from tests.programs.train_replicas import make_strategy
from tests.workers.cases import CASES, Case
from tests.workers.programs import tensorflow_cluster as cluster


def traced(strategy: tf.distribute.Strategy, case: Case) -> tf.Graph:
    with strategy.scope():
        model, optimizer = cluster.make_model(case.table), case.make_optimizer()
        optimizer.build(model.trainable_variables)
    step = cluster.make_step(model, optimizer)
    [batch] = cluster.batches(strategy, range(1))
    on_all = tf.function(lambda *batch: strategy.run(step, batch))
    return on_all.get_concrete_function(*batch).graph


def counts(graph: tf.Graph) -> Counter[str]:
    """Of a graph and its functions."""
    definition = graph.as_graph_def()
    functions = [node for f in definition.library.function for node in f.node_def]
    return Counter(node.op for node in [*definition.node, *functions])


class Heard(logging.Handler):
    """Keeps the messages that are logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def main(folder: Path, names: list[str]) -> None:
    strategy, heard = make_strategy(), Heard()
    tf.get_logger().addHandler(heard)
    found = {name: counts(traced(strategy, CASES[name])) for name in names}
    (folder / "counts.json").write_text(json.dumps(found))
    (folder / "warnings.json").write_text(json.dumps(heard.messages))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
