"""Train cases on one device and on two replicas, in one process with one strategy.

The arguments are a folder and a set of cases. `0.npz` in the folder has the variables
after training, by `{case}/alone/{variable}` and `{case}/replica {k}/{variable}`, and
what a monitor showed, by `{case}/alone shown/{key}` and `{case}/replicas shown/{key}`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_textbook_opt import OptimizerMonitor
from tests.workers.cases import (
    AVERAGED,
    BATCH,
    BUILT_IN,
    CASES,
    IDS,
    LAZY,
    OVERWRITTEN,
    ROWS,
    STEPS,
    TARGETS,
    TWICE,
    Case,
    adam,
    momentum,
    sgd,
)
from tests.workers.programs import tensorflow_cluster as cluster

REPLICAS = 2
FACTORS: dict[str, Any] = {"learning_rate_multipliers": {"embedding": 0.5, "bias": 0.0}}
OWN: dict[str, Any] = {"package": "tests.programs.own_hooks"}
fit = functools.partial(replace, how="fit")
resumed = functools.partial(replace, resumes=True)
FEW = {
    "multiplied": sgd(clipnorm=0.2, **FACTORS, **TWICE),
    "lazy, decayed": momentum(weight_decay=0.3, clipvalue=0.05, **LAZY),
    "decayed": CASES["decayed"],
    "fit, averaged": fit(
        adam(clipvalue=0.05, loss_scale_factor=8.0, **FACTORS, **AVERAGED, **LAZY)
    ),
    "fit, overwritten": fit(adam(clipnorm=0.2, **OVERWRITTEN)),
    "fit, monitored": fit(momentum(global_clipnorm=0.3, monitor=True, **TWICE)),
    "own rows": Case("OwnRows", 0.1, {**LAZY, "rows": ROWS}, **OWN),
    "resumed": resumed(momentum(nesterov=True, **AVERAGED)),
    "built-in": BUILT_IN,
}
MORE = {
    **{name: case for name, case in CASES.items() if name not in FEW},
    "fit, decayed": fit(
        sgd(global_clipnorm=0.3, weight_decay=0.3, loss_scale_factor=8.0)
    ),
    "fit, accumulated": fit(adam(clipvalue=0.05, weight_decay=0.3, **TWICE, **LAZY)),
    "fit, monitored": fit(adam(clipnorm=0.2, monitor=True, **OVERWRITTEN)),
    "fit, resumed": fit(resumed(adam(amsgrad=True, **TWICE))),
    "own rows": Case("OwnRows", 0.1, {"clipnorm": 0.2, **TWICE, "rows": ROWS}, **OWN),
    "built-in": replace(BUILT_IN, arguments={"clipvalue": 0.05}),
}
SETS = {"few": FEW, "more": MORE}
Trained = tuple[keras.Model, Any, dict[str, list[float]]]


@functools.cache
def make_strategy() -> tf.distribute.Strategy:
    """One for the process: a second one over the same devices would end in errors."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * REPLICAS
    )
    return tf.distribute.MirroredStrategy([f"CPU:{k}" for k in range(REPLICAS)])


def trained(strategy: tf.distribute.Strategy, case: Case, file: Path) -> Trained:
    """A model, its optimizer and what a monitor showed; it may resume from a file."""
    with strategy.scope():
        model, optimizer = cluster.make_model(case.table), case.make_optimizer()
        eagerly = strategy.num_replicas_in_sync == 1
        model.compile(optimizer, "mse", run_eagerly=eagerly)
        if case.resumes:
            model.load_weights(file)
        if case.how == "loop":
            optimizer.build(model.trainable_variables)
            for _ in cluster.train(strategy, model, optimizer, range(STEPS)):
                pass
            return model, optimizer, {}
        is_monitored = case.arguments.get("monitor")
        shown = model.fit(
            *(np.concatenate(IDS), np.concatenate(TARGETS)),
            batch_size=BATCH,
            shuffle=False,
            verbose=0,
            callbacks=[OptimizerMonitor()] if is_monitored else [],
        ).history
        return model, optimizer, shown if is_monitored else {}


def on_replica(k: int, strategy: tf.distribute.Strategy) -> Callable:
    return lambda v: strategy.experimental_local_results(v.value)[k].numpy()


def main(folder: Path, cases: dict[str, Case]) -> None:
    replicas, one = make_strategy(), tf.distribute.get_strategy()
    found: dict[str, Any] = {}

    def keep(name: str, values: dict) -> None:
        found.update({f"{name}/{key}": value for key, value in values.items()})

    for name, case in cases.items():
        file = folder / "saved.weights.h5"
        if case.resumes:
            trained(one, replace(case, resumes=False), file)[0].save_weights(file)
        model, optimizer, shown = trained(one, case, file)
        keep(f"{name}/alone", cluster.values(model, optimizer))
        keep(f"{name}/alone shown", shown)
        model, optimizer, shown = trained(replicas, case, file)
        for k in range(REPLICAS):
            values = cluster.values(model, optimizer, on_replica(k, replicas))
            keep(f"{name}/replica {k}", values)
        keep(f"{name}/replicas shown", shown)
    np.savez(folder / "0.npz", **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), SETS[sys.argv[2]])
