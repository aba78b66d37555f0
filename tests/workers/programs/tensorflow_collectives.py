"""Trace a step of two replicas for each case, and count its operations.

`counts.json` in the folder has the counts for each of the cases that are named.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import tensorflow as tf

from tests.programs.train_replicas import make_strategy
from tests.workers.cases import CASES, Case
from tests.workers.programs import tensorflow_cluster as cluster


def counts(strategy: tf.distribute.Strategy, case: Case) -> Counter[str]:
    """Of the step's graph and its functions."""
    model, optimizer = cluster.made(strategy, case)
    step = cluster.make_step(model, optimizer)
    [batch] = cluster.batches(strategy, range(1))
    on_all = tf.function(lambda *batch: strategy.run(step, batch))
    definition = on_all.get_concrete_function(*batch).graph.as_graph_def()
    functions = [node for f in definition.library.function for node in f.node_def]
    return Counter(node.op for node in [*definition.node, *functions])


if __name__ == "__main__":
    strategy = make_strategy()
    found = {name: counts(strategy, CASES[name]) for name in sys.argv[2:]}
    (Path(sys.argv[1]) / "counts.json").write_text(json.dumps(found))
