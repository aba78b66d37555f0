"""Whole training steps, through the function that `model.fit` calls for each."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import timing
from benchmarks.rows import Row
from benchmarks.steps import on_tensorflow
from benchmarks.steps.contender import Work, timed
from benchmarks.steps.networks import BOSTON, Network, network
from benchmarks.steps.optimizers import ADAM, MAIN, Case
from benchmarks.steps.plans import MODELS, TENSORFLOW, Plan


def work(plan: Plan, backend: Any) -> Iterator[Work]:
    for name in plan.models:
        for equation in MAIN if name == BOSTON else (ADAM,):
            yield f"{name}, {equation.name}", _measure(plan, name, Case(equation))


def _measure(plan: Plan, name: str, case: Case) -> Iterator[Row]:
    its = network(name, plan.tower_rows)
    makers = case.makers_by_rows() if its.looks_up else case.makers()
    models = {subject: its.make() for subject in makers}
    for subject, model in models.items():
        model.compile(optimizer=makers[subject](), loss=its.loss)
        model.make_train_function()
    # The update of a model changes it: its steps are timed before.
    done = {}
    for what, of in (("step", _step), ("update", _update)):
        steps = {subject: of(its, model) for subject, model in models.items()}
        done[what] = timing.interleaved(steps, plan.repeats)
    names = {"part": MODELS, "backend": TENSORFLOW, "size": name}
    for what, samples in done.items():
        yield from timed(samples, case=f"{case.name}: {what}", **names)
    names |= {"case": f"{case.name}: update ÷ step", "unit": ""}
    for subject in models:
        update, step = (np.median(done[what][subject]) for what in ("update", "step"))
        yield Row(subject=subject, quantile=0.5, value=float(update / step), **names)


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
