"""On a GPU of PyTorch a step never waits, and is the step that a CPU takes.

All but the last test run where there is such a GPU: `make test-torch` there.
"""

from contextlib import contextmanager

import keras
import numpy as np
import pytest
import torch

from keras_textbook_opt import SGD, Adam, Momentum, TextbookOptimizer
from keras_textbook_opt.backends.torch import HostScalar
from tests import backends
from tests.recipes import EXACT, Recipe

pytestmark = pytest.mark.needs("torch")
on_a_gpu = pytest.mark.needs("gpu")

SHAPES = [(3, 5), (1,), (4, 1), (2, 3, 4), (70_000,)]
FEATURES = [
    Recipe(Adam, {"use_ema": True, "ema_overwrite_frequency": 2}),
    Recipe(Momentum, {"gradient_accumulation_steps": 3, "use_ema": True}),
    Recipe(SGD, {"loss_scale_factor": 1024.0, "clipnorm": 0.5}),
    Recipe(Momentum, {"loss_scale_factor": 1024.0, "global_clipnorm": 0.5}),
    Recipe(Adam, {"learning_rate_multipliers": {"0": 0.5, "1": 0.0}}),
    Recipe(SGD, {"compensate": False}),
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


def trained(recipe, dtype, device, steps=7, waiting_after=1):
    """An optimizer and its variables after some steps, all after a few unwatched."""
    rng = np.random.default_rng(0)
    with keras.device(device):
        variables = [
            keras.Variable(rng.normal(size=shape), dtype=dtype, name=str(k))
            for k, shape in enumerate(SHAPES)
        ]
        optimizer = recipe.make()
        optimizer.build(variables)
        gradients = [
            [backends.gradient(rng.normal(size=s), s, dtype) for s in SHAPES]
            for _ in range(steps)
        ]
        for k, g in enumerate(gradients):
            if device == "cpu" or k < waiting_after:
                optimizer.apply(g, variables)
            else:
                with no_waiting():
                    optimizer.apply(g, variables)
    return optimizer, variables


@on_a_gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_step_does_not_wait_and_is_that_of_a_cpu(recipe, dtype):
    _, expected = trained(recipe, dtype, "cpu")
    optimizer, variables = trained(recipe, dtype, "cuda")
    assert all(v.value.is_cuda for v in variables)
    assert int(optimizer._iterations.value) == 7
    for on_gpu, on_cpu in zip(variables, expected):
        there, here = (backends.numbers(v).astype(np.float64) for v in (on_gpu, on_cpu))
        np.testing.assert_allclose(there, here, rtol=0, atol=UNIT[dtype])


@on_a_gpu
def test_a_schedule_does_not_wait():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
    rates = []

    class Noting(TextbookOptimizer):
        def step_size(self, η, t):
            rates.append(η)
            return η

        def apply_dense(self, g, θ, η):
            return θ - η * g

    variable = keras.Variable(np.zeros(3))
    optimizer = Noting(schedule)
    optimizer.build([variable])
    g = torch.ones(3, device="cuda")
    optimizer.apply([g], [variable])
    with no_waiting():
        for _ in range(3):
            optimizer.apply([g], [variable])
    assert [float(η) for η in rates] == pytest.approx(
        [0.1 * 0.5 ** (t / 2) for t in range(4)]
    )


@on_a_gpu
def test_the_count_and_the_rate_stay_on_the_host():
    optimizer = Adam(0.1)
    optimizer.learning_rate = 0.2
    optimizer.iterations.assign(4)
    optimizer.iterations.assign_add(1)
    for scalar, held in ((optimizer.iterations, 5), (optimizer.learning_rate, 0.2)):
        assert scalar.value.device.type == "cpu"
        assert float(scalar) == pytest.approx(held)


def test_a_scalar_of_the_host_stays_there():
    """`meta` stands for another device: nothing has a number there."""
    with keras.device("cpu"):
        scalar = keras.Variable(3, dtype="int32", trainable=False)
    scalar.__class__ = HostScalar
    with keras.device("meta"):
        scalar.assign_add(1)
        assert scalar._value.device.type == "cpu"
        assert int(scalar._value) == 4
        scalar.assign(7)
    assert int(scalar) == 7
