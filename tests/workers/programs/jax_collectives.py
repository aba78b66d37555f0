"""Compile a training step with a model that is split over four devices, and fit it.

`steps.json` in the folder has the text of each compiled step, by the name of its clip.
`0.npz` has the variables after a fit, by `fit/split/{variable}` and, of one on a single
device, `fit/alone/{variable}`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import jax
import keras
import numpy as np

from tests.workers.cases import FITTED, IDS, TARGETS, Case, momentum
from tests.workers.programs import jax_models as models

CLIPS: dict[str, Case] = {
    "none": momentum(),
    "clipnorm": momentum(clipnorm=0.2),
    "global_clipnorm": momentum(global_clipnorm=0.3),
    "clipvalue": momentum(clipvalue=0.05),
}


def compiled(model: keras.Model) -> str:
    """The text of the training step, compiled."""
    values = [
        [variable.value for variable in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
    ]
    distribution = keras.distribution.distribution()
    batch = [
        jax.device_put(
            array[0], distribution.get_data_layout(array[0].shape).backend_layout
        )
        for array in (IDS, TARGETS)
    ]
    text = jax.jit(model.train_step).lower(values, batch).compile().as_text()
    assert text is not None
    return text


def main(folder: Path) -> None:
    case = FITTED["everything"]
    found: dict[str, Any] = {}
    found |= {f"fit/alone/{k}": v for k, v in fitted(case).items()}
    devices = keras.distribution.list_devices()
    keras.distribution.set_distribution(models.model_parallel((2, 2), devices))
    found |= {f"fit/split/{k}": v for k, v in fitted(case).items()}
    np.savez(folder / "0.npz", **found)
    steps = {}
    for name, case in CLIPS.items():
        model = models.make_model()
        model.compile(case.make_optimizer(), "mse")
        model.optimizer.build(model.trainable_variables)
        steps[name] = compiled(model)
    (folder / "steps.json").write_text(json.dumps(steps))


def fitted(case: Case) -> dict[str, np.ndarray]:
    model = models.fit(case, np.concatenate(IDS), np.concatenate(TARGETS))
    return {k: np.asarray(v) for k, v in models.variables(model).items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
