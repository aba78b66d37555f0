"""The tests have teeth: each fault, planted here, makes a test fail.

A fault is a patch of the package. The tests run eagerly and in this process, so that
the patch reaches every step that they take.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import pytest
from keras import ops

from keras_textbook_opt import SGD, Adam, Momentum, TextbookOptimizer, adam, rows
from keras_textbook_opt.backends import tensorflow_kernels as kernels
from keras_textbook_opt.gradients import Dense
from keras_textbook_opt.state.multipliers import Multipliers
from tests import processes
from tests.equations import test_equations
from tests.gradients import test_clips, test_sparse
from tests.keras import test_keras_features, test_keras_loops
from tests.recipes import EXACT, Recipe
from tests.settings import test_multipliers

pytestmark = pytest.mark.needs("tensorflow")


class Fault(NamedTuple):
    """`owner.name` becomes `planted`; then `test(**arguments)` has to fail."""

    owner: Any
    name: str
    planted: Callable
    test: Callable
    arguments: dict[str, Any]


def equation(optimizer: type, **arguments: Any) -> dict[str, Any]:
    return {"recipe": Recipe(optimizer, arguments), "mode": "eager"}


def config_without(cls: Any, key: str) -> Callable:
    complete = cls.get_config
    return lambda self: {k: v for k, v in complete(self).items() if k != key}


def swapped(self, g, θ, η, m, v):
    m = self.beta_2 * m + (1 - self.beta_2) * g
    v = self.beta_1 * v + (1 - self.beta_1) * ops.square(g)
    return θ - η * m / (ops.sqrt(v) + self.epsilon), m, v


def as_if_dense(self, g, θ, η, *slots):
    return self.dense_step(Dense(g.to_dense(θ.shape)), θ, η, *slots)


def epsilon_inside(self, g, θ, η, m, v):
    m = self.beta_1 * m + (1 - self.beta_1) * g
    v = self.beta_2 * v + (1 - self.beta_2) * ops.square(g)
    return θ - η * m / ops.sqrt(v + self.epsilon), m, v


def counted_from_0(self, η, dtype):
    η, t = ops.cast(η, dtype), ops.cast(self.iterations, dtype)
    return η, self.step_size(η, t)


def found_by_place(self, variables):
    return [*self.patterns.values(), *[1.0] * len(variables)][: len(variables)]


def found_last(self, path):
    return first(Multipliers(dict(reversed(self.patterns.items()))), path)


def nearly_zero(self, variables):
    return [factor or 1e-12 for factor in multiplied(self, variables)]


def decay_of_one_rate(self, θ, g, ηλ):
    decay(self, θ, g, ops.cast(self.learning_rate, ηλ.dtype) * self.weight_decay)


def merged_by_the_mean(self):
    sums, ones = merge(self), merge(self.with_values(ops.ones_like(self.values)))
    return sums.with_values(sums.values / ones.values)


merge = rows.Rows.merged
multiplied, first = Multipliers.of, Multipliers.first
decay = TextbookOptimizer._decay
dense, sparse = (
    test_equations.test_dense_steps_follow_the_equation,
    test_sparse.test_sparse_steps_follow_the_equation,
)
OF_EACH = (
    test_multipliers.test_the_steps_are_those_of_an_optimizer_for_each_variable,
    {
        "cls": Adam,
        "mode": "eager",
        "rate": "a number",
        "options": {"clipnorm": 0.5, "weight_decay": 0.25},
    },
)
HUGE = {"clip": "clipnorm", "c": 0.5, "mode": "eager"}
LAZY = {"sparse_update": "lazy"}
REBUILT = test_keras_loops.test_an_optimizer_rebuilt_from_its_config_steps_the_same
FAULTS = {
    "repeated rows are not merged": Fault(
        rows.Rows, "merged", lambda self: self, sparse, equation(Adam, **LAZY)
    ),
    "a norm counts repeated rows one by one": Fault(
        rows.Rows, "merged", lambda self: self, sparse, equation(SGD, clipnorm=0.5)
    ),
    "repeated rows are averaged": Fault(
        rows.Rows, "merged", merged_by_the_mean, sparse, equation(Momentum, **LAZY)
    ),
    "an exact step is a lazy one": Fault(
        Adam, "apply_sparse", Adam.row_step, sparse, equation(Adam)
    ),
    "a lazy step is an exact one": Fault(
        Momentum,
        "apply_sparse",
        as_if_dense,
        test_sparse.test_lazy_leaves_absent_rows_as_they_are_bit_for_bit,
        equation(Momentum, **LAZY, nesterov=True),
    ),
    "the betas are swapped": Fault(Adam, "apply_dense", swapped, dense, equation(Adam)),
    "epsilon stands inside the root": Fault(
        Adam, "apply_dense", epsilon_inside, dense, equation(Adam)
    ),
    "the bias is not corrected": Fault(
        Adam, "step_size", lambda self, η, t: η, dense, equation(Adam)
    ),
    "the first step counts as step 0": Fault(
        TextbookOptimizer,
        "_scalars",
        counted_from_0,
        dense,
        equation(Adam),
    ),
    "1 − βᵗ is a difference in float32": Fault(
        adam,
        "one_minus_power",
        lambda β, t: 1 - ops.power(β, t),
        test_equations.test_the_step_size_is_right_to_the_last_digits,
        {},
    ),
    "a clip's scale is lost on the way to the kernel": Fault(
        kernels, "_scaled", lambda η, g: η, dense, equation(SGD, clipnorm=0.5)
    ),
    "the largest v is forgotten": Fault(
        kernels.KERNELS,
        "adam",
        lambda optimizer, g, θ, η, m, v, v_hat: None,
        dense,
        equation(Adam, amsgrad=True, clipvalue=0.25),
    ),
    "the squares of a norm overflow": Fault(
        ops,
        "cond",
        lambda predicate, usual, other: usual(),
        test_clips.test_gradients_of_any_magnitude_are_clipped_to_the_same_length,
        HUGE,
    ),
    "weights do not decay": Fault(
        TextbookOptimizer,
        "_decay",
        lambda self, θ, g, ηλ: None,
        dense,
        equation(SGD, clipvalue=0.25, weight_decay=0.1),
    ),
    "absent rows decay in a lazy step": Fault(
        TextbookOptimizer,
        "_decay",
        lambda self, θ, g, ηλ: self.assign_sub(θ, ηλ * θ),
        sparse,
        equation(Adam, **LAZY, weight_decay=0.1),
    ),
    "what is excluded from weight decay decays": Fault(
        TextbookOptimizer,
        "_use_weight_decay",
        lambda self, variable: True,
        test_keras_features.test_what_is_excluded_from_weight_decay_does_not_decay,
        {"recipe": EXACT[0], "exclusion": "a variable"},
    ),
    "factors are found by place": Fault(Multipliers, "of", found_by_place, *OF_EACH),
    "all variables have one rate": Fault(
        Multipliers, "of", lambda self, variables: [1.0] * len(variables), *OF_EACH
    ),
    "the last pattern counts": Fault(Multipliers, "first", found_last, *OF_EACH),
    "decay is not scaled with the rate": Fault(
        TextbookOptimizer, "_decay", decay_of_one_rate, *OF_EACH
    ),
    "slots move at a factor of 0": Fault(
        Multipliers,
        "of",
        nearly_zero,
        test_multipliers.test_a_factor_of_zero_changes_nothing_to_the_bit,
        {"cls": Adam, "mode": "eager", "options": {"clipnorm": 0.5}},
    ),
    **{
        f"{key} is missing from the config": Fault(
            cls,
            "get_config",
            config_without(cls, key),
            REBUILT,
            {"recipe": Recipe(cls, {key: value})},
        )
        for cls, key, value in [
            (SGD, "clipnorm", 0.5),
            (SGD, "learning_rate_multipliers", {"": 0.5}),
            (Momentum, "momentum", 0.5),
            (Momentum, "nesterov", True),
            (Momentum, "sparse_update", "lazy"),
            (Adam, "beta_1", 0.5),
            (Adam, "beta_2", 0.5),
            (Adam, "epsilon", 1.0),
            (Adam, "amsgrad", True),
            (Adam, "sparse_update", "lazy"),
        ]
    },
}


@pytest.fixture
def one_failure_is_enough():
    """Hypothesis stops at the first failure, and leaves it as it is."""
    before = hypothesis.settings.default
    hypothesis.settings.register_profile(
        "planted",
        before,
        phases=[hypothesis.Phase.generate],
        max_examples=50,
        report_multiple_bugs=False,
    )
    hypothesis.settings.load_profile("planted")
    yield
    hypothesis.settings.register_profile("before", before)
    hypothesis.settings.load_profile("before")


@pytest.mark.long
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught(name, monkeypatch, one_failure_is_enough):
    fault = FAULTS[name]
    if isinstance(fault.owner, dict):
        monkeypatch.setitem(fault.owner, fault.name, fault.planted)
    else:
        monkeypatch.setattr(fault.owner, fault.name, fault.planted)
    with pytest.raises(AssertionError):
        fault.test(**fault.arguments)


@pytest.mark.long
def test_a_clip_before_the_sum_over_the_replicas_is_caught(tmp_path):
    processes.run(("tests.programs.clip_before_the_sum", str(tmp_path)))
    assert not any("error" in r for r in _reports(tmp_path))
    with np.load(tmp_path / "weights.npz") as weights:
        alone, replicas = (weights[k] for k in sorted(weights))
    assert np.abs(replicas - alone).max() > 1e-2


def _reports(folder) -> list[dict]:
    return list(json.loads((folder / "replicas.json").read_text()).values())
