"""On two devices of JAX, the state of a variable is sharded as the variable is."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import keras
import numpy as np

from tests.trainer import kept
from tests.workers.cases import IDS, OVERWRITTEN, TARGETS, TWICE, adam
from tests.workers.programs import jax_models as models


def assert_sharded(model: keras.Model) -> None:
    sharded = 0
    for variable in model.trainable_variables:
        sharding = variable.value.sharding
        sharded += not sharding.is_fully_replicated
        state = kept(model.optimizer, variable)
        assert ("carry" in state) == (variable.dtype == "bfloat16")
        for kind, beside in state.items():
            given = beside.value.sharding
            same = given.is_equivalent_to(sharding, len(variable.shape))
            assert same, (variable.path, kind, given, sharding)
    assert sharded == 3


if __name__ == "__main__":
    devices = keras.distribution.list_devices()
    keras.distribution.set_distribution(models.model_parallel((1, 2), devices))
    case = adam("bfloat16", amsgrad=True, **TWICE, **OVERWRITTEN)
    built = models.make_model(case.table)
    built.compile(case.make_optimizer())
    built.optimizer.build(built.trainable_variables)
    assert_sharded(built)
    assert_sharded(models.fit(case, np.concatenate(IDS), np.concatenate(TARGETS)))
