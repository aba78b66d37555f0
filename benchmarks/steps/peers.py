"""The same step in other libraries, where they are installed."""

import importlib
import importlib.util
import itertools
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import machine
from benchmarks.steps import floor, sparse, timing
from benchmarks.steps.cases import Case
from benchmarks.steps.figures import (
    BUILTIN,
    GRAPH,
    LAZY,
    OURS,
    Measurement,
    Spread,
    ratio_name,
)
from benchmarks.steps.optimizers import (
    ADAM,
    EPSILON,
    LEARNING_RATE,
    PLAIN,
    arguments,
    title,
)
from benchmarks.steps.plans import TABLE_WIDTH, Layout, Plan, table_title
from benchmarks.steps.timing import Samples, Step
from benchmarks.steps.updates import (
    GRADIENT_SCALE,
    RowBatches,
    dense_step,
    gradients,
    row_batches,
    sparse_step,
)

PACKAGES = ("torch", "jax", "optax", "tf-keras")
CLIPNORM = "clipnorm"
TORCH = "torch Adam(fused=True)"
TORCH_SPARSE = "torch SparseAdam"
OPTAX = "optax adam, jitted"
LEGACY = "tf_keras legacy Adam"

# A waiting thread of PyTorch's would spin on a core that the next contender wants.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def cases(plan: Plan) -> list[Case]:
    dense = [
        Case(
            f"peers, {title(ADAM, option)}",
            partial(_measure_dense, plan, option),
        )
        for option in (PLAIN, CLIPNORM)
    ]
    return [*dense, Case("peers, sparse Adam", partial(_measure_sparse, plan))]


def missing() -> list[str]:
    """Return the peers that are not installed."""
    return [name for name in PACKAGES if not _installed(name.replace("-", "_"))]


def _measure_dense(plan: Plan, option: str) -> list[Measurement]:
    layout = Layout(1, plan.peer_parameters)
    shared = gradients([(layout.parameters,)])
    makers: dict[str, Callable[[], Step]] = {
        name: partial(_ours_or_builtin, make(**arguments(option)), shared)
        for name, make in ((OURS, ADAM.ours), (BUILTIN, ADAM.builtin))
    }
    if _installed("torch"):
        makers[TORCH] = partial(_torch_step, shared[0].numpy(), option)
    if _installed("jax") and _installed("optax"):
        makers[OPTAX] = partial(_optax_step, shared[0].numpy(), option)
    if _installed("tf_keras"):
        makers[LEGACY] = partial(_legacy_step, shared[0], option)
    samples = _samples(makers, plan)
    reads = 1 if option == PLAIN else 2
    moved = floor.dense(layout.parameters, ADAM.slots, reads_of_gradient=reads)
    return [
        Measurement(
            case=layout.title,
            optimizer=title(ADAM, option),
            mode=GRAPH,
            values={name: timing.spread(each) for name, each in samples.items()},
            ratios=_against(OURS, samples),
            bytes=dict.fromkeys(samples, moved),
        )
    ]


def _measure_sparse(plan: Plan) -> list[Measurement]:
    batches = row_batches(plan.peer_rows, TABLE_WIDTH, plan.touched)
    makers: dict[str, Callable[[], Step]] = {
        name: partial(sparse_step, make(), batches)
        for name, make in sparse.optimizers(ADAM).items()
    }
    if _installed("torch"):
        makers[TORCH_SPARSE] = partial(_torch_sparse_step, batches)
    if _installed("tf_keras"):
        makers[LEGACY] = partial(_legacy_sparse_step, batches)
    samples = _samples(makers, plan)
    lazy = sparse.moved(ADAM, batches, LAZY)
    exact = sparse.moved(ADAM, batches, BUILTIN)
    return [
        Measurement(
            case=table_title(plan.peer_rows),
            optimizer=ADAM.name,
            mode=GRAPH,
            values={name: timing.spread(each) for name, each in samples.items()},
            ratios=_against(LAZY, samples),
            bytes={
                name: lazy if name in (LAZY, TORCH_SPARSE) else exact
                for name in samples
            },
        )
    ]


def _samples(makers: dict[str, Callable[[], Step]], plan: Plan) -> Samples:
    steps = {name: make() for name, make in makers.items()}
    return timing.interleaved(steps, plan.repeats)


def _against(ours: str, samples: Samples) -> dict[str, Spread]:
    return {
        ratio_name(name, ours): timing.ratio(samples[name], samples[ours])
        for name in samples
        if name != ours
    }


def _ours_or_builtin(optimizer: Any, shared: list[tf.Tensor]) -> Step:
    return dense_step(optimizer, shared, jit_compile=False)


def _torch_step(gradient: np.ndarray, option: str) -> Step:
    torch = _torch()
    parameter = torch.nn.Parameter(torch.randn(gradient.shape))
    optimizer = torch.optim.Adam([parameter], LEARNING_RATE, eps=EPSILON, fused=True)
    original = torch.from_numpy(gradient.copy())
    # PyTorch clips the gradient in place, so a gradient of norm 1 would come next.
    parameter.grad = original.clone()
    limit = arguments(option).get(CLIPNORM)

    def step() -> None:
        if limit is not None:
            torch.nn.utils.clip_grad_norm_([parameter], limit)
        optimizer.step()

    return step


def _torch_sparse_step(batches: RowBatches) -> Step:
    torch = _torch()
    table = torch.nn.Parameter(torch.randn(batches.shape) * GRADIENT_SCALE)
    optimizer = torch.optim.SparseAdam([table], LEARNING_RATE, eps=EPSILON)
    pool = itertools.cycle(
        [
            torch.sparse_coo_tensor(ids[None], values, batches.shape)
            for ids, values in zip(
                torch.from_numpy(batches.ids.numpy().astype(np.int64)),
                torch.from_numpy(batches.values.numpy().copy()),
            )
        ]
    )

    def step() -> None:
        table.grad = next(pool)
        optimizer.step()

    return step


def _optax_step(gradient: np.ndarray, option: str) -> Step:
    jax, optax = map(importlib.import_module, ("jax", "optax"))
    optimizer = optax.adam(LEARNING_RATE, eps=EPSILON)
    if option != PLAIN:
        clip = optax.clip_by_global_norm(arguments(option)[CLIPNORM])
        optimizer = optax.chain(clip, optimizer)

    def update(parameter: Any, state: Any, gradient: Any) -> Any:
        updates, state = optimizer.update(gradient, state, parameter)
        return optax.apply_updates(parameter, updates), state

    jitted = jax.jit(update, donate_argnums=(0, 1))
    g = jax.numpy.asarray(gradient)
    parameter = jax.random.normal(jax.random.key(0), gradient.shape)
    kept = [parameter, optimizer.init(parameter)]
    del parameter

    def step() -> None:
        kept[:] = jitted(*kept, g)
        jax.block_until_ready(kept)

    return step


def _legacy_step(gradient: tf.Tensor, option: str) -> Step:
    variable = tf.Variable(tf.random.normal(gradient.shape))
    optimizer = _legacy_adam(**arguments(option))

    @tf.function
    def update(gradient):
        optimizer.apply_gradients([(gradient, variable)])

    def step() -> None:
        update(gradient)
        optimizer.iterations.numpy()

    return step


def _legacy_sparse_step(batches: RowBatches) -> Step:
    table = tf.Variable(tf.random.normal(batches.shape))
    optimizer = _legacy_adam()

    @tf.function
    def update(ids, values):
        slices = tf.IndexedSlices(values, ids, tf.constant(batches.shape))
        optimizer.apply_gradients([(slices, table)])

    pool = itertools.cycle(
        list(zip(tf.unstack(batches.ids), tf.unstack(batches.values)))
    )

    def step() -> None:
        update(*next(pool))
        optimizer.iterations.numpy()

    return step


def _legacy_adam(**options: float) -> Any:
    legacy = importlib.import_module("tf_keras").optimizers.legacy
    return legacy.Adam(LEARNING_RATE, epsilon=EPSILON, **options)


def _torch() -> Any:
    torch = importlib.import_module("torch")
    torch.set_num_threads(machine.cores())
    torch.sparse.check_sparse_tensor_invariants.disable()
    return torch


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
