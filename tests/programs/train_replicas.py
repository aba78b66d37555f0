"""Train each case on one device and on two replicas, in one process with one strategy.

The arguments are a folder and the name of the cases. `{label}/alone` and
`{label}/replicas` of `weights.npz` are the weights after training. `replicas.json` says
whether both replicas hold the same variables, to the bit, what a monitor showed, or the
error.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_textbook_opt import OptimizerMonitor
from tests.programs.replica_cases import (
    BATCH,
    IDS,
    REPLICAS,
    ROWS,
    SETS,
    SHARE,
    STEPS,
    TARGETS,
    Case,
)


@functools.cache
def make_strategy() -> tf.distribute.Strategy:
    """One for the process: a second one over the same devices would end in errors."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * REPLICAS
    )
    return tf.distribute.MirroredStrategy([f"CPU:{k}" for k in range(REPLICAS)])


def make_model() -> keras.Model:
    """An embedding, whose gradient is sparse, and two dense layers."""
    keras.utils.set_random_seed(2)
    ids = keras.Input((3,), dtype="int32")
    x = keras.layers.Embedding(ROWS, 2, embeddings_initializer="normal")(ids)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(3, activation="tanh")(x)
    return keras.Model(ids, keras.layers.Dense(1)(x))


def make_optimizer(case: Case) -> Any:
    kind = getattr(importlib.import_module(case.package), case.optimizer)
    optimizer = kind(case.learning_rate, **case.arguments)
    exclude_biases(optimizer)
    return optimizer


def exclude_biases(optimizer) -> None:
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias"])


def weights_of(model: keras.Model) -> np.ndarray:
    return np.concatenate([w.ravel() for w in model.get_weights()])


class Loop:
    """A custom training loop, on batches that are split once for all cases."""

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy
        self._batches = [self._split(step) for step in range(STEPS)]

    def _split(self, step: int) -> tuple:
        def share(array: np.ndarray):
            return self._strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(
                    array[step][context.replica_id_in_sync_group * SHARE :][:SHARE]
                )
            )

        return share(IDS), share(TARGETS)

    def train(self, model: keras.Model, optimizer: Any) -> None:
        optimizer.build(model.trainable_variables)

        def step(ids, targets) -> None:
            exclude_biases(optimizer)  # Once more in each replica.
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.square(model(ids) - targets)) / BATCH
                loss = optimizer.scale_loss(loss)
            gradients = tape.gradient(loss, model.trainable_variables)
            pairs = zip(gradients, model.trainable_variables, strict=True)
            optimizer.apply_gradients(pairs)

        on_replicas = tf.function(lambda *batch: self._strategy.run(step, batch))
        for batch in self._batches:
            on_replicas(*batch)
        optimizer.finalize_variable_values(model.trainable_variables)


def fit(model: keras.Model, optimizer: Any) -> dict[str, list[float]]:
    """Train; return what a monitor shows."""
    is_monitored = getattr(optimizer, "monitor", False)
    fitted = model.fit(
        *(np.concatenate(IDS), np.concatenate(TARGETS)),
        batch_size=BATCH,
        shuffle=False,
        verbose=0,
        callbacks=[OptimizerMonitor()] if is_monitored else [],
    )
    return fitted.history if is_monitored else {}


def made(case: Case, file: Path, run_eagerly: bool) -> tuple[keras.Model, Any]:
    """A compiled model; if the case resumes, with what is in `file`."""
    model, optimizer = make_model(), make_optimizer(case)
    model.compile(optimizer, "mse", run_eagerly=run_eagerly)
    if case.resumes:
        model.load_weights(file)
    return model, optimizer


def alone(case: Case, file: Path) -> tuple[np.ndarray, dict]:
    if case.resumes:
        model, optimizer = made(
            Case(case.how, case.optimizer, case.arguments), file, True
        )
        fit(model, optimizer)
        model.save_weights(file)
    model, optimizer = made(case, file, run_eagerly=True)
    history = fit(model, optimizer)
    return weights_of(model), history


def same_on_all(strategy: tf.distribute.Strategy, variables: list) -> bool:
    copies = [strategy.experimental_local_results(v.value) for v in variables]
    assert all(len(copy) == REPLICAS for copy in copies)
    return all(
        np.array_equal(first, other) for first, *rest in copies for other in rest
    )


def main(folder: Path, cases: list[Case]) -> None:
    strategy = make_strategy()
    loop, file = Loop(strategy), folder / "saved.weights.h5"
    weights: dict[str, Any] = {}
    reports: dict[str, Any] = {}
    for case in cases:
        weights[f"{case.label}/alone"], expected = alone(case, file)
        try:
            shown: dict[str, list[float]] = {}
            with strategy.scope():
                model, optimizer = made(case, file, run_eagerly=False)
                if case.how == "fit":
                    shown = fit(model, optimizer)
                else:
                    loop.train(model, optimizer)
            weights[f"{case.label}/replicas"] = weights_of(model)
            same = same_on_all(strategy, model.variables + optimizer.variables)
            reports[case.label] = {"same": same, "shown": shown, "expected": expected}
        except Exception:
            reports[case.label] = {"error": traceback.format_exc()}
    np.savez(folder / "weights.npz", **weights)
    (folder / "replicas.json").write_text(json.dumps(reports))


if __name__ == "__main__":
    main(Path(sys.argv[1]), SETS[sys.argv[2]])
