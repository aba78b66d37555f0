"""On a GPU of PyTorch a step never waits, and equals the step of a CPU.

`make test-torch` runs these on a machine with such a GPU.
"""

from contextlib import contextmanager

import keras
import numpy as np
import pytest
import torch

from keras_textbook_opt import SGD, Adam, Momentum
from tests import backends
from tests.recipes import EXACT, Recipe

pytestmark = pytest.mark.needs("gpu")

SHAPES = [(3, 5), (1,), (4, 1), (2, 3, 4), (70_000,)]
SCHEDULE = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
FEATURES = [
    Recipe(Adam, {"use_ema": True, "ema_overwrite_frequency": 2}),
    Recipe(Momentum, {"gradient_accumulation_steps": 3, "use_ema": True}),
    Recipe(Momentum, {"loss_scale_factor": 1024.0, "global_clipnorm": 0.5}),
    Recipe(Adam, {"learning_rate_multipliers": {"0": 0.5, "1": 0.0}}),
    Recipe(SGD, {"compensate": False, "monitor": True}),
]
RECIPES = [*EXACT, *FEATURES]
DTYPES = ["float32", "float16", "bfloat16", "float64"]
# Of the largest movement: sums and roots are rounded in another order.
UNIT = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 1e-1, "float64": 1e-12}


@contextmanager
def no_waiting():
    """An error wherever the processor waits for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def trained(recipe, dtype, device, steps=7, rate=None):
    """An optimizer and its variables after some steps; only the first may wait."""
    rng = np.random.default_rng(0)
    with keras.device(device):
        variables = [
            keras.Variable(rng.normal(size=shape), dtype=dtype, name=str(k))
            for k, shape in enumerate(SHAPES)
        ]
        optimizer = recipe.make()
        if rate is not None:
            optimizer.learning_rate = rate
        optimizer.build(variables)
        gradients = [
            [backends.gradient(rng.normal(size=s), s, dtype) for s in SHAPES]
            for _ in range(steps)
        ]
        optimizer.apply(gradients[0], variables)
        for g in gradients[1:]:
            if device == "cpu":
                optimizer.apply(g, variables)
            else:
                with no_waiting():
                    optimizer.apply(g, variables)
    return optimizer, variables


@pytest.mark.parametrize("rate", [None, SCHEDULE], ids=["float", "schedule"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_step_does_not_wait_and_equals_that_of_a_cpu(recipe, dtype, rate):
    _, expected = trained(recipe, dtype, "cpu", rate=rate)
    optimizer, variables = trained(recipe, dtype, "cuda", rate=rate)
    assert all(v.value.is_cuda for v in variables)
    n = optimizer.gradient_accumulation_steps or 1
    assert int(optimizer.iterations) == 7 // n
    for on_gpu, on_cpu in zip(variables, expected):
        there, here = (backends.numbers(v).astype(np.float64) for v in (on_gpu, on_cpu))
        np.testing.assert_allclose(there, here, rtol=0, atol=UNIT[dtype])


def test_the_count_and_the_rate_stay_on_the_host():
    optimizer = Adam(0.1)
    optimizer.learning_rate = 0.2
    optimizer.iterations.assign(4)
    optimizer.iterations.assign_add(1)
    for scalar, held in ((optimizer.iterations, 5), (optimizer.learning_rate, 0.2)):
        assert scalar.value.device.type == "cpu"
        assert float(scalar) == pytest.approx(held)
