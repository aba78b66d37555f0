"""Watch each case on one device and on two replicas, in one process with one strategy.

`monitored.json` has, by label, what the monitor kept of both trainings.
"""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from keras_textbook_opt.callbacks import OptimizerMonitor
from tests.programs.replica_cases import BATCH, IDS, TARGETS, Case, fit
from tests.programs.train_replicas import (
    make_model,
    make_optimizer,
    make_strategy,
)

FEW = [fit("Adam", global_clipnorm=0.3, gradient_accumulation_steps=2)]
MORE = [
    fit("SGD", clipnorm=0.2),
    fit("Momentum", clipvalue=0.05, sparse_update="lazy"),
    fit("Adam", use_ema=True, ema_overwrite_frequency=2, loss_scale_factor=8.0),
]


def monitored(case: Case) -> dict[str, Any]:
    """What a `fit` of the case leaves in its monitor and in Keras's history."""
    model, monitor = make_model(), OptimizerMonitor(True, per_variable=True)
    model.compile(make_optimizer(case), "mse")
    ids, targets = np.concatenate(IDS), np.concatenate(TARGETS)
    fitted = model.fit(
        *(ids, targets),
        batch_size=BATCH,
        shuffle=False,
        verbose=0,
        callbacks=[monitor],
    )
    return {
        "steps": {key.split("/", 2)[-1]: v for key, v in monitor.history.items()},
        "epochs": {key.split("/", 2)[-1]: v for key, v in fitted.history.items()},
    }


SETS = {"few": FEW, "more": MORE}


def main(file: Path, cases: list[Case]) -> None:
    strategy = make_strategy()
    found: dict[str, Any] = {}
    for case in cases:
        alone = monitored(case)
        try:
            with strategy.scope():
                found[case.label] = {"alone": alone, "replicas": monitored(case)}
        except Exception:
            found[case.label] = {"error": traceback.format_exc()}
    file.write_text(json.dumps(found))
