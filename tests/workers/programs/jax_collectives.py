"""Compile a training step of a model that is split over four devices.

`steps.json` in the folder has the text of each compiled step, by the name of its clip.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import jax
import keras

from tests.workers.cases import IDS, TARGETS, Case, momentum
from tests.workers.programs import jax_models as models

CLIPS: dict[str, Case] = {
    "none": momentum(),
    "clipnorm": momentum(clipnorm=0.2),
    "global_clipnorm": momentum(global_clipnorm=0.3),
    "clipvalue": momentum(clipvalue=0.05),
}


def compiled(case: Case) -> str:
    """The text of the training step, compiled."""
    model = models.make_model()
    model.compile(case.make_optimizer(), "mse")
    model.optimizer.build(model.trainable_variables)
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


if __name__ == "__main__":
    devices = keras.distribution.list_devices()
    keras.distribution.set_distribution(models.model_parallel((2, 2), devices))
    steps = {name: compiled(case) for name, case in CLIPS.items()}
    (Path(sys.argv[1]) / "steps.json").write_text(json.dumps(steps))
