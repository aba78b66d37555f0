"""A kernel computes the equation for which it stands, and no other.

The same steps are taken twice: as they are, and with every kernel withheld.
"""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_textbook_opt import SGD, Adam, Momentum, backends
from keras_textbook_opt.backends.plain import Backend
from tests.backends import BACKEND, HAS, gradient, numbers

pytestmark = pytest.mark.skipif(
    BACKEND not in ("tensorflow", "torch"), reason="no kernels there"
)
on_tensorflow = pytest.mark.needs("tensorflow")


def without_kernels():
    patch = pytest.MonkeyPatch()
    patch.setattr(backends, "active", Backend())
    return patch


# The edges of the hyperparameters' ranges.

BETAS = [0.0, 1e-6, 0.1, 0.49, 0.5, 0.9, 0.999, 0.9999999]
EDGES: dict[str, list] = {
    "beta_1": BETAS,
    "beta_2": BETAS,
    "epsilon": [2e-38, 1e-30, 1e-8, 1.0, 1e30],
    "momentum": [0.0, 1e-30, 1e-6, 0.5, 0.9, 0.9999999, 1.0],
    "learning_rate": [0.0, 2e-38, 1e-20, 1e-8, 0.1, 1e6, 1e20],
    "nesterov": [False, True],
    "amsgrad": [False, True],
    "clipnorm": [None, 1e-3, 1e9],
}
NAMES: dict[type, list[str]] = {
    SGD: ["learning_rate", "clipnorm"],
    Momentum: ["learning_rate", "momentum", "nesterov", "clipnorm"],
    Adam: ["learning_rate", "beta_1", "beta_2", "epsilon", "amsgrad", "clipnorm"],
}


@st.composite
def at_the_edges(draw, cls: type):
    """Arguments, and gradients: a spike for some elements, then small ones."""
    arguments = {name: draw(st.sampled_from(EDGES[name])) for name in NAMES[cls]}
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spike = draw(st.sampled_from([1e8, 1e12, 1e18]))
    sizes = [draw(st.sampled_from([0, 1e-12, 1e-6, 1e-3, 1.0])) for _ in range(6)]
    sizes[draw(st.integers(0, 3))] = spike
    signs = rng.choice([-1, 1], size=4)
    return arguments, [signs * rng.uniform(0.5, 1, size=4) * size for size in sizes]


@pytest.mark.parametrize("cls", [SGD, Momentum, Adam])
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]))
def test_kernel_and_formula_agree_at_the_edges(cls, data, dtype):
    """To 2e-6 of each element: gradients keep their signs, so that nothing cancels."""
    arguments, gradients = data.draw(at_the_edges(cls))
    fast = taken(cls(**arguments), gradients, dtype)
    patch = without_kernels()
    try:
        plain = taken(cls(**arguments), gradients, dtype)
    finally:
        patch.undo()
    unit = 2e-6 if dtype == "float32" else 1e-14
    for after, expected in zip(fast, plain, strict=True):
        np.testing.assert_allclose(after, expected, rtol=unit, atol=2e-38)


def taken(optimizer, gradients, dtype: str) -> list[np.ndarray]:
    """The variable, which starts at 0, and its slots after each step."""
    θ = keras.Variable(np.zeros(4), dtype=dtype)
    optimizer.build([θ])
    slots = [v for v in optimizer.variables if tuple(v.shape) == (4,)]
    after = []
    for g in gradients:
        optimizer.apply([gradient(g, (4,), dtype)], [θ])
        after += [numbers(v) for v in (θ, *slots)]
    return after


def test_a_subclass_with_its_own_equation_gets_no_kernel_of_its_parent():
    class Halved(SGD):  # type: ignore[misc]
        def apply_dense(self, g, θ, η):
            return θ - η * g / 2

    θ = [keras.Variable([1.0]) for _ in range(3)]
    Halved(1.0).apply([[1.0]] * 3, θ)
    assert [numbers(v).item() for v in θ] == [0.5] * 3


# TensorFlow's training kernels.

KERNELS = [
    (SGD, {}, "ResourceApplyGradientDescent"),
    (Momentum, {"nesterov": True}, "ResourceApplyKerasMomentum"),
    (Adam, {}, "ResourceApplyAdam"),
    (Adam, {"amsgrad": True}, "ResourceApplyAdamWithAmsgrad"),
    (SGD, {"clipnorm": 1.0}, "ResourceApplyGradientDescent"),
    (Momentum, {"global_clipnorm": 1.0}, "ResourceApplyKerasMomentum"),
]


@on_tensorflow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("cls", "arguments", "kernel"), KERNELS)
def test_a_step_is_one_kernel(cls, arguments, kernel, dtype):
    """A clip by norm scales a scalar of the kernel: no tensor but the gradient's."""
    found = operations(cls(**arguments), dtype)
    assert kernel in found
    assert found.isdisjoint({"Mul[7]", "Square[7]"})


def operations(optimizer, dtype: str) -> set[str]:
    """The kinds of operations in the graph of one step, with the size of 7's."""
    import tensorflow as tf

    θ = keras.Variable(np.ones(7), dtype=dtype)
    optimizer.build([θ])
    step = tf.function(lambda g: optimizer.apply([g], [θ]))
    graph = step.get_concrete_function(tf.TensorSpec([7], dtype)).graph
    found = graph.get_operations()
    sizes = {op.type + "[7]" for op in found for x in op.outputs if x.shape == [7]}
    return sizes | {op.type for op in found}


@on_tensorflow
def test_a_small_beta_2_uses_the_formula():
    """The kernel rounds `v + (1 − β₂)·(g² − v)`, in which some of `v` is left."""
    optimizer = Adam(1.0, beta_1=0.0, beta_2=0.0, epsilon=1e-30)
    θ = keras.Variable([0.0, 0.0])
    for g in (1e6, 1e-6):
        θ.assign([0.0, 0.0])
        optimizer.apply([[g, g]], [θ])
    np.testing.assert_allclose(θ.numpy(), -1.0, rtol=1e-6)


# Tensors of PyTorch that a list of tensors must not be confused by.


def torch_tensors() -> dict:
    import torch

    class Marked(torch.Tensor):
        pass

    square = torch.arange(9.0).reshape(3, 3)
    return {
        "transposed": square.T,
        "strided": torch.arange(18.0).reshape(3, 6)[:, ::2],
        "expanded": torch.ones(1, 3).expand(3, 3),
        "of a subclass": square.as_subclass(Marked),
        "sparse": square.to_sparse(),
        "float64": square.double(),
        "bfloat16": square.bfloat16(),
        "a parameter": torch.nn.Parameter(square.clone()),
    }


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", torch_tensors() if "torch" in HAS else [])
@pytest.mark.parametrize("cls", [SGD, Momentum, Adam])
def test_a_gradient_of_any_layout_is_that_of_its_numbers(cls, name):
    import torch

    g = torch_tensors()[name]
    dense = g.detach().to_dense().float().clone().contiguous().as_subclass(torch.Tensor)
    odd, plain = ([keras.Variable(np.ones((3, 3))) for _ in range(3)] for _ in "ab")
    for each, θ in ((g, odd), (dense, plain)):
        optimizer = cls(0.1, clipnorm=1.0)
        for _ in range(2):
            optimizer.apply([each, dense, dense], θ)
    for a, b in zip(odd, plain, strict=True):
        np.testing.assert_allclose(numbers(a), numbers(b), rtol=1e-6)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("cls", [SGD, Momentum, Adam])
def test_autograd_notices_a_step_between_forward_and_backward(cls):
    import torch

    variables = [keras.Variable(np.ones(n)) for n in (6, 70_000)]
    θ = [v.value for v in variables]
    loss = sum((x * x).sum() for x in θ)
    cls(0.1, clipnorm=1.0).apply([torch.ones(n) for n in (6, 70_000)], variables)
    assert all(x.requires_grad and x.is_leaf for x in θ)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.needs("torch")
def test_a_gradient_is_left_unchanged():
    import torch

    for cls in (SGD, Momentum, Adam):
        for settings in ({}, {"clipnorm": 0.1}, {"gradient_accumulation_steps": 2}):
            g = [torch.ones(5) for _ in range(3)]
            optimizer, θ = cls(0.1, **settings), [keras.Variable(np.ones(5)) for _ in g]
            for _ in range(2):
                optimizer.apply(g, θ)
            assert all(torch.equal(x, torch.ones(5)) for x in g)
