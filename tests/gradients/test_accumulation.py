"""Accumulating n micro-batches equals one step on the large batch.

A variable without a gradient in some of them gets the mean of what arrived: its sum,
divided by n. One without a gradient in all of them is left as it is.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_textbook_opt import SGD, Adam, Momentum
from tests.backends import COMPILED, HAS, Sparse, few_on_jax, gradient, numbers, step_in
from tests.recipes import Recipe

pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist")

SHAPES = [(5, 2), (3,), ()]
EMA: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.5}
OPTIONS: list[dict[str, Any]] = [
    {"clipnorm": 0.5, "weight_decay": 0.25},
    {"global_clipnorm": 0.5, **EMA},
    {"clipvalue": 0.25, **EMA, "ema_overwrite_frequency": 2, "loss_scale_factor": 4.0},
    {"learning_rate_multipliers": {"v1": 0.5, "v2": 0.0}, "weight_decay": 0.25, **EMA},
]
EQUATIONS: list[tuple[type, dict]] = [
    (SGD, {}),
    (Momentum, {"nesterov": True}),
    (Adam, {}),
    (Adam, {"amsgrad": True}),
]
if "rows" in HAS:
    EQUATIONS += [(Momentum, {"sparse_update": "lazy"})]
    EQUATIONS += [(Adam, {"sparse_update": "lazy"})]
RECIPES = [Recipe(cls, own | more) for cls, own in EQUATIONS for more in OPTIONS]


@st.composite
def updates(draw):
    """n, and the n micro-batches of each update: gradients of `SHAPES`, or None."""
    n = draw(st.integers(2, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    present = st.lists(st.booleans(), min_size=3, max_size=3).filter(any)
    micro = st.lists(present, min_size=n, max_size=n)
    return n, [
        [
            [_drawn(rng, k) if there else None for k, there in enumerate(each)]
            for each in m
        ]
        for m in draw(st.lists(micro, min_size=1, max_size=3))
    ]


def _drawn(rng, k: int) -> Any:
    if k == 0:
        return Sparse(rng.integers(0, 4, 3), rng.normal(size=(3, 2)))
    return rng.normal(size=SHAPES[k])


def large_batch(micro_batches: list[list]) -> list:
    """The mean over the micro-batches of each variable's gradient."""
    found: list[Any] = []
    for column in zip(*micro_batches):
        arrived, n = [g for g in column if g is not None], len(micro_batches)
        if not arrived:
            found.append(None)
        elif isinstance(arrived[0], Sparse):
            indices, values = map(np.concatenate, zip(*arrived))
            found.append(Sparse(indices, values / n))
        else:
            found.append(sum(arrived) / n)
    return found


class Run:
    def __init__(self, optimizer: Any):
        rng = np.random.default_rng(0)
        self.variables = [
            keras.Variable(rng.normal(size=s), name=f"v{k}")
            for k, s in enumerate(SHAPES)
        ]
        self.optimizer = optimizer
        optimizer.build(self.variables)

    def apply(self, gradients: list) -> None:
        scale = self.optimizer.loss_scale_factor or 1.0
        self.optimizer.apply(
            [_scaled(g, scale, s) for g, s in zip(gradients, SHAPES)], self.variables
        )

    def values(self) -> list[np.ndarray]:
        return [numbers(v) for v in self.variables]

    def ended(self) -> list[np.ndarray]:
        """The variables, the slots, and the averages, which replace the variables."""
        names = {SGD: [], Momentum: ["m"], Adam: ["m", "v"]}[type(self.optimizer)]
        slots = [self.optimizer.get_slot(v, n) for v in self.variables for n in names]
        found = [*self.values(), *map(numbers, slots)]
        self.optimizer.finalize_variable_values(self.variables)
        return found + self.values()


def _scaled(g: Any, scale: float, shape: tuple) -> Any:
    if g is None:
        return None
    g = Sparse(g.indices, g.values * scale) if isinstance(g, Sparse) else g * scale
    return gradient(g, shape, "float32")


@pytest.mark.parametrize("recipe", few_on_jax(RECIPES, slice(2, None, 5)), ids=str)
@given(run=updates())
def test_accumulation_equals_the_large_batch(recipe, run):
    n, steps = run
    small = Run(recipe.make(gradient_accumulation_steps=n))
    large = Run(recipe.make())
    for micro_batches in steps:
        for k, micro_batch in enumerate(micro_batches):
            before = small.values()
            small.apply(micro_batch)
            if k < n - 1:  # it only accumulates
                for a, b in zip(small.values(), before):
                    np.testing.assert_array_equal(a, b)
        batch = large_batch(micro_batches)
        large.apply(batch)
        assert int(small.optimizer.iterations) == int(large.optimizer.iterations)
    for a, b in zip(small.ended(), large.ended(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("recipe", [RECIPES[2], RECIPES[9]], ids=str)
def test_accumulation_equals_the_large_batch_in_a_compiled_step(recipe):
    rng = np.random.default_rng(3)
    small, large = (
        Run(recipe.make(**more)) for more in ({"gradient_accumulation_steps": 2}, {})
    )
    steps = [
        step_in(COMPILED[0], run.optimizer, run.variables) for run in (small, large)
    ]
    scale = recipe.arguments.get("loss_scale_factor", 1.0)
    for _ in range(4):
        micro_batches = [[_drawn(rng, k) for k in range(3)] for _ in range(2)]
        for step, each in zip(steps, (micro_batches, [large_batch(micro_batches)])):
            for gradients in each:
                step([_scaled(g, scale, s) for g, s in zip(gradients, SHAPES)])
    for a, b in zip(small.ended(), large.ended(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.needs("rows")
@pytest.mark.parametrize("recipe", RECIPES[-4:-3], ids=str)
def test_a_row_whose_sum_is_zero_counts_as_absent_from_a_lazy_step(recipe):
    run = Run(recipe.make(gradient_accumulation_steps=2))
    before, rest = run.values()[0], [np.ones(3), np.ones(())]
    for sign in (1.0, -1.0):
        rows = np.array([[sign, sign], [0.0, 0.0], [1.0, 1.0]])
        run.apply([Sparse(np.array([0, 4, 1]), rows), *rest])
    moved = (run.values()[0] != before).any(axis=1)
    assert moved.tolist() == [False, True, False, False, False]


def test_a_schedule_counts_micro_batches():
    """As in Keras: the rate of an update is that of its last micro-batch."""
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
        [0, 1, 2], [1.0, 2.0, 4.0, 8.0]
    )
    θ = keras.Variable([0.0])
    optimizer = SGD(schedule, gradient_accumulation_steps=2)
    for expected in (0.0, -2.0, -2.0, -10.0):
        optimizer.apply([np.array([1.0], "float32")], [θ])
        assert numbers(θ).tolist() == [expected]
