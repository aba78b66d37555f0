"""A saved model is trained on; steps on two replicas and one: `python -m …`.

One process does both, since TensorFlow takes long to start. The answer has the arrays
of each part, or an error in their place.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_textbook_opt.testing import backend, by_hand, children, problem
from keras_textbook_opt.testing.linear import LAYERS, train
from keras_textbook_opt.testing.problem import Rows
from keras_textbook_opt.testing.run import Run
from keras_textbook_opt.testing.verdicts import whole_line

REPLICAS = 2
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    **{next(iter(clip)): clip for clip in by_hand.CLIPS},
    "accumulation": {"gradient_accumulation_steps": 2},
    "averages": {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
    "rows": {},
}
STEPS = 4
Answer = tuple[dict[str, list[np.ndarray]], dict[str, str]]
"""The arrays and the errors of all parts, by name."""


def shares(rows: bool) -> list[list[list]]:
    """For each step the gradients of each replica."""
    steps = problem.gradients()
    if rows:
        steps = problem.with_rows(problem.DISTINCT)
    first = steps[:STEPS]
    second = problem.scaled(steps[1 : STEPS + 1], -0.5)
    return [[a, b] for a, b in zip(first, second)]


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
    tf = backend.tensorflow()
    with strategy.scope():
        run = Run(factory(learning_rate=rate, **options)).build()

    def on_replica(gradients: list[list]) -> None:
        context = tf.distribute.get_replica_context()
        own = gradients[int(tf.get_static_value(context.replica_id_in_sync_group))]
        run.optimizer.apply(backend.of_known_shapes(own, run.variables), run.variables)

    step = tf.function(
        lambda gradients: strategy.run(on_replica, [gradients]), autograph=False
    )
    for pair in steps:
        step([run.tensors(gradients) for gradients in pair])
    return run.numbers


def trained_on(file: bytes, kind: type) -> list[np.ndarray]:
    """The weights of a saved model after three more steps."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(file)
        model = keras.models.load_model(path, custom_objects={kind.__name__: kind})
    train(model, problem.gradients(6, LAYERS)[3:])
    return model.get_weights()


def replicas() -> Any:
    """A strategy with two replicas on one CPU; before anything else runs."""
    tf = backend.tensorflow()
    [cpu] = tf.config.list_physical_devices("CPU")
    device = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [device] * REPLICAS)
    return tf.distribute.MirroredStrategy([f"CPU:{k}" for k in range(REPLICAS)])


def answer(kind: type, factory: Any, rate: float, file: bytes) -> Answer:
    """All parts, for an optimizer and a saved model."""
    arrays: dict[str, list[np.ndarray]] = {}
    errors: dict[str, str] = {}

    def add(name: str, part: Callable, *given: Any) -> None:
        try:
            arrays[name] = part(*given)
        except Exception as error:
            errors[name] = whole_line(error)

    # Before anything else runs.
    strategy = replicas() if "replicas" in backend.TRAITS[backend.NAME] else None
    add("fresh", trained_on, file, kind)
    for name, options in CASES.items() if strategy else ():
        given = factory, rate, options, shares(rows=name == "rows")
        add(f"{name}, one device", alone, *given)
        add(f"{name}, two replicas", together, strategy, *given)
    return arrays, errors


if __name__ == "__main__":
    children.answer(answer)
