"""Steps on two replicas and on one device: `python -m … FOLDER`.

One process takes all cases, since TensorFlow takes long to start; a case that fails
leaves its error behind and not its numbers.
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_textbook_opt.testing import by_hand, children, problem
from keras_textbook_opt.testing.problem import TABLE, Rows
from keras_textbook_opt.testing.run import Run
from keras_textbook_opt.testing.verdicts import telling_line

REPLICAS = 2
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    **{next(iter(clip)): clip for clip in by_hand.CLIPS},
    "accumulation": {"gradient_accumulation_steps": 2},
    "averages": {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
}
STEPS = 4


def shares(rows: bool) -> list[list[list]]:
    """For each step the gradients of each replica."""
    steps = problem.gradients()
    if rows:
        steps = problem.with_rows(problem.DISTINCT)
    first = steps[:STEPS]
    second = [[_other(g) for g in step] for step in steps[1 : STEPS + 1]]
    return [[a, b] for a, b in zip(first, second)]


def _other(g: Any) -> Any:
    return Rows(g.indices, -0.5 * g.values) if isinstance(g, Rows) else -0.5 * g


def alone(factory: Any, rate: float, options: dict, steps: list) -> list[np.ndarray]:
    """One device, on the sums of the gradients."""
    run = Run(factory(learning_rate=rate, **options)).build()
    for first, second in steps:
        run.step([_sum(a, b) for a, b in zip(first, second)])
    return run.numbers


def _sum(a: Any, b: Any) -> Any:
    if isinstance(a, Rows):
        both = np.concatenate([a.indices, b.indices])
        values = Rows(both, np.concatenate([a.values, b.values]))
        named = np.unique(both)
        return Rows(named, values.dense(problem.SHAPES["table"])[named])
    return a + b


def together(
    strategy: Any, factory: Any, rate: float, options: dict, steps: list
) -> list[np.ndarray]:
    """Two replicas, each with its own gradients."""
    with strategy.scope():
        run = Run(factory(learning_rate=rate, **options)).build()

    def on_replica(*tensors: Any) -> None:
        context = tf.distribute.get_replica_context()
        here = [each[context.replica_id_in_sync_group] for each in tensors]
        gradients = here[:TABLE]
        gradients.append(
            tf.IndexedSlices(
                here[TABLE], here[-1], tf.constant(problem.SHAPES["table"])
            )
            if len(here) > len(run.variables)
            else here[TABLE]
        )
        run.optimizer.apply(gradients, run.variables)

    step = tf.function(lambda *tensors: strategy.run(on_replica, tensors))
    for pair in steps:
        step(*_stacked(pair))
    return run.numbers


def _stacked(pair: list[list]) -> list[Any]:
    """Each gradient of both replicas in one tensor; last, the indices of the rows."""
    stacked = [
        tf.stack([g.values if isinstance(g, Rows) else g for g in both])
        for both in zip(*pair)
    ]
    rows = [step[TABLE] for step in pair if isinstance(step[TABLE], Rows)]
    return stacked + ([tf.stack([g.indices for g in rows])] if rows else [])


def main(folder: Path) -> None:
    """Read `subject.pickle`; write two lists of arrays for each case, or its error."""
    factory, rate = pickle.loads((folder / "subject.pickle").read_bytes())
    [cpu] = tf.config.list_physical_devices("CPU")
    device = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [device] * REPLICAS)
    strategy = tf.distribute.MirroredStrategy([f"CPU:{k}" for k in range(REPLICAS)])
    errors = {}
    cases = {**CASES, "rows": {}}
    for name, options in cases.items():
        steps = shares(rows=name == "rows")
        try:
            one = alone(factory, rate, options, steps)
        except Exception as error:
            errors[name] = f"alone: {telling_line(error)}"
            continue
        try:
            two = together(strategy, factory, rate, options, steps)
        except Exception as error:
            errors[name] = telling_line(error)
            continue
        children.write(folder, f"{name}_alone.npz", one)
        children.write(folder, f"{name}_together.npz", two)
    (folder / "errors.json").write_text(json.dumps(errors))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
