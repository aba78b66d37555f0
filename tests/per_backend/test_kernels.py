"""A kernel computes the equation that carries its name, and no other.

The trainer's variables are stepped twice: as they are, and with every kernel withheld.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_textbook_opt import SGD, Adam, Momentum, backends
from keras_textbook_opt.backends.plain import Plain
from tests.backends import COMPILED
from tests.equations.test_equations import SPECS, dense_runs
from tests.gradients.test_sparse import SPECS as SPARSE_SPECS
from tests.gradients.test_sparse import TABLES, sparse_runs
from tests.oracle import Oracle
from tests.recipes import EXACT, Recipe
from tests.trainer import Trainer, trainer

pytestmark = pytest.mark.needs("tensorflow")


@pytest.fixture(scope="module")
def formulas():
    """Trainers whose steps are traced, and taken, without kernels."""
    trainers = {}

    def formula(recipe: Recipe, mode: str, specs: tuple, sparse: tuple = ()) -> Trainer:
        key = (str(recipe), mode, sparse)
        if key not in trainers:
            trainers[key] = Trainer(recipe, mode, specs, sparse)
        return trainers[key]

    return formula


@pytest.mark.parametrize("mode", COMPILED)
@pytest.mark.parametrize("recipe", EXACT, ids=str)
@given(run=dense_runs())
def test_kernel_and_equation_agree_on_dense_gradients(recipe, mode, formulas, run):
    values, gradients = run
    fast, plain = trainer(recipe, mode, SPECS), formulas(recipe, mode, SPECS)
    fast.run(values, gradients)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "active", Plain())
        plain.run(values, gradients)
    assert_agree(fast, plain, reached(recipe, values, gradients))


@pytest.mark.parametrize("recipe", [r for r in EXACT if r.optimizer is SGD], ids=str)
@given(run=sparse_runs())
def test_kernel_and_equation_agree_on_rows(recipe, formulas, run):
    values, gradients = run
    fast = trainer(recipe, "graph", SPARSE_SPECS, TABLES)
    plain = formulas(recipe, "graph", SPARSE_SPECS, TABLES)
    fast.run(values, gradients)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "active", Plain())
        plain.run(values, gradients)
    assert_agree(fast, plain, reached(recipe, values, gradients))


def assert_agree(fast: Trainer, plain: Trainer, oracle: Oracle) -> None:
    """To 2e-6 at float32: some ulps of the largest of the values that a step rounds."""
    for k, (a, b) in enumerate(zip(fast.variables, plain.variables, strict=True)):
        unit = 2e-6 if a.dtype == "float32" else 1e-12
        assert_close(a, b, unit, oracle.reach[k])
        for name, reach in oracle.slot_reach[k].items():
            slot = fast.optimizer.get_slot(a, name)
            assert_close(slot, plain.optimizer.get_slot(b, name), unit, reach)


def assert_close(a, b, unit: float, reach: float) -> None:
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=unit, atol=unit * reach)


def reached(recipe: Recipe, values, gradients) -> Oracle:
    oracle = Oracle(recipe, values)
    for step in gradients:
        oracle.step(step)
    return oracle


# The edges of the hyperparameters' ranges.

EDGES: dict[str, list] = {
    "beta_1": [0.0, 1e-6, 0.1, 0.49, 0.5, 0.9, 0.9999999],
    "beta_2": [0.0, 1e-6, 0.1, 0.49, 0.5, 0.9, 0.999, 0.9999999],
    "epsilon": [2e-38, 1e-30, 1e-8, 1.0, 1e30],
    "momentum": [0.0, 1e-30, 1e-6, 0.5, 0.9, 0.9999999, 1.0],
    "learning_rate": [0.0, 2e-38, 1e-20, 1e-8, 0.1, 1e6, 1e20],
}
OF: dict[type, dict[str, list[bool]]] = {
    SGD: {},
    Momentum: {"nesterov": [False, True]},
    Adam: {"amsgrad": [False, True]},
}
NAMES: dict[type, list[str]] = {
    SGD: [],
    Momentum: ["momentum"],
    Adam: ["beta_1", "beta_2", "epsilon"],
}


@st.composite
def at_the_edges(draw, cls: type):
    """Arguments, and gradients: a spike for some elements, then small ones."""
    arguments = {
        name: draw(st.sampled_from(EDGES[name]))
        for name in ["learning_rate", *NAMES[cls]]
    }
    arguments |= {name: draw(st.sampled_from(of)) for name, of in OF[cls].items()}
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spike = draw(st.sampled_from([1e8, 1e12, 1e18]))
    sizes = [draw(st.sampled_from([0, 1e-12, 1e-6, 1e-3, 1.0])) for _ in range(6)]
    sizes[draw(st.integers(0, 3))] = spike
    signs = rng.choice([-1, 1], size=4)
    return arguments, [signs * rng.uniform(0.5, 1, size=4) * size for size in sizes]


@pytest.mark.parametrize("cls", [SGD, Momentum, Adam])
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]))
def test_kernel_and_equation_agree_at_the_edges(cls, data, dtype):
    """To 2e-6 of each element: gradients keep their signs, so that nothing cancels."""
    arguments, gradients = data.draw(at_the_edges(cls))
    fast = taken(cls(**arguments), gradients, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "active", Plain())
        plain = taken(cls(**arguments), gradients, dtype)
    unit = 2e-6 if dtype == "float32" else 1e-14
    for after, expected in zip(fast, plain, strict=True):
        np.testing.assert_allclose(after, expected, rtol=unit, atol=2e-38)


def taken(optimizer, gradients, dtype: str) -> list[np.ndarray]:
    """The variable, which starts at 0, and its slots after each step."""
    θ = keras.Variable(np.zeros(4), dtype=dtype)
    optimizer.build([θ])
    slots = [v for v in optimizer.variables if v.shape == (4,)]
    after = []
    for g in gradients:
        optimizer.apply([tf.constant(g, dtype)], [θ])
        after += [v.numpy() for v in (θ, *slots)]
    return after


KERNELS = [
    (SGD(), "ResourceApplyGradientDescent"),
    (Momentum(), "ResourceApplyKerasMomentum"),
    (Momentum(nesterov=True), "ResourceApplyKerasMomentum"),
    (Adam(), "ResourceApplyAdam"),
    (Adam(amsgrad=True), "ResourceApplyAdamWithAmsgrad"),
    (SGD(clipnorm=1.0), "ResourceApplyGradientDescent"),
    (Momentum(global_clipnorm=1.0), "ResourceApplyKerasMomentum"),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("optimizer", "kernel"), KERNELS)
def test_the_kernel_runs_where_it_applies(optimizer, kernel, dtype):
    assert kernel in operations(
        type(optimizer).from_config(optimizer.get_config()), dtype
    )


def test_a_clip_by_norm_writes_no_scaled_gradient():
    """Its scale goes into the scalars of the kernel: no tensor but the gradient's."""
    for optimizer in (SGD(clipnorm=1.0), Momentum(global_clipnorm=1.0)):
        assert operations(optimizer, "float32").isdisjoint({"Mul[7]", "Square[7]"})


def test_small_beta_2_takes_the_equation():
    """There `v + (1 − β₂)·(g² − v)`, as the kernel rounds it, keeps a rest of `v`."""
    optimizer = Adam(1.0, beta_1=0.0, beta_2=0.0, epsilon=1e-30)
    θ = keras.Variable([0.0, 0.0])
    for g in (1e6, 1e-6):
        θ.assign([0.0, 0.0])
        optimizer.apply([[g, g]], [θ])
    np.testing.assert_allclose(θ.numpy(), -1.0, rtol=1e-6)


def test_a_subclass_with_its_own_equation_gets_no_kernel_of_its_parent():
    class Halved(SGD):  # type: ignore[misc]
        def apply_dense(self, g, θ, η):
            return θ - η * g / 2

    θ = keras.Variable([1.0])
    Halved(1.0).apply([[1.0]], [θ])
    assert θ.numpy() == [0.5]
    assert not any("Resource" in kind for kind in operations(Halved(), "float32"))


def operations(optimizer, dtype: str) -> set[str]:
    """The kinds of operations in the graph of one step, with the size of 7's."""
    θ = keras.Variable(np.ones(7), dtype=dtype)
    optimizer.build([θ])
    step = tf.function(lambda g: optimizer.apply([g], [θ]))
    graph = step.get_concrete_function(tf.TensorSpec([7], dtype)).graph
    sizes = {
        op.type + "[7]"
        for op in graph.get_operations()
        for x in op.outputs
        if x.shape == [7]
    }
    return sizes | {op.type for op in graph.get_operations()}
