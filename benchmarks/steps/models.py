"""Whole training steps, through the function that `model.fit` calls for each."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import timing
from benchmarks.rows import Row
from benchmarks.steps import on_tensorflow, sparse
from benchmarks.steps.names import BUILTIN, OURS
from benchmarks.steps.networks import Network, networks
from benchmarks.steps.optimizers import ADAM, MAIN, Case, case
from benchmarks.steps.plans import BOSTON, MODELS, TENSORFLOW, Plan
from benchmarks.steps.work import Work, against, timed

STEP, UPDATE, SHARE = "step", "update", "update ÷ step"


def work(plan: Plan, backend: Any) -> Iterator[Work]:
    makers = networks(plan)
    for name in plan.models:
        for equation in MAIN if name == BOSTON else (ADAM,):
            measure = partial(_measure, plan, name, makers[name], case(equation))
            yield Work(f"{name}, {equation.name}", measure)


def _measure(
    plan: Plan, name: str, make_network: Callable[[], Network], case: Case
) -> Iterator[Row]:
    network = make_network()
    models = {
        subject: _compiled(network, make())
        for subject, make in _optimizers(network, case).items()
    }
    # The update of a model changes it: its steps are timed before.
    done = {
        what: timing.interleaved(
            {subject: make(network, model) for subject, model in models.items()},
            plan.repeats,
        )
        for what, make in ((STEP, _step), (UPDATE, _update))
    }
    names = {"part": MODELS, "backend": TENSORFLOW, "size": name}
    for what, samples in done.items():
        ratios = against(models.keys() - {BUILTIN}, samples)
        yield from timed(samples, ratios, case=f"{case.name}: {what}", **names)
    for subject in models:
        update, step = (np.median(done[what][subject]) for what in (UPDATE, STEP))
        yield Row(
            case=f"{case.name}: {SHARE}",
            subject=subject,
            quantile=0.5,
            value=float(update / step),
            unit="",
            **names,
        )


def _optimizers(network: Network, case: Case) -> Mapping[str, Callable[[], Any]]:
    ours = sparse.ours(case) if network.looks_up else {OURS: case.ours}
    return {**ours, BUILTIN: case.builtin}


def _compiled(network: Network, optimizer: Any) -> Any:
    model = network.make()
    model.compile(optimizer=optimizer, loss=network.loss)
    model.make_train_function()
    return model


def _step(network: Network, model: Any) -> timing.Step:
    iterator = iter(_batches(network).cache().repeat().prefetch(2))

    def step() -> None:
        model.train_function(iterator)
        on_tensorflow.wait()

    return step


def _update(network: Network, model: Any) -> timing.Step:
    """Return the optimizer's part of a step, on the gradients of the first batch."""
    x, y = next(iter(_batches(network)))

    @tf.function
    def gradients() -> Any:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True))
        return tape.gradient(loss, [v.value for v in model.trainable_variables])

    found = gradients()
    return on_tensorflow.compiled(
        lambda g: model.optimizer.apply(g, model.trainable_variables), found
    )


def _batches(network: Network) -> Any:
    data = tf.data.Dataset.from_tensor_slices((network.inputs, network.targets))
    return data.batch(network.batch, drop_remainder=True)
