"""Whole training steps of models, as `train_on_batch` and `fit` take them."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, losses

from benchmarks import suite, timing
from benchmarks.boston.data import mlp
from benchmarks.steps import cases
from benchmarks.steps.cases import BUILTIN, LAZY, OURS
from benchmarks.steps.pairs import Pair, compare
from benchmarks.steps.plans import MLP, MOBILENET, TOWERS, TRANSFORMER, Plan
from benchmarks.steps.sizes import CHAPTER, TABLE_WIDTH, zipf

CLASSES = 10
WORDS, LENGTH, WIDTH = 10_000, 64, 128
CROSS_ENTROPY = losses.SparseCategoricalCrossentropy(from_logits=True)


class Task(NamedTuple):
    """A model without an optimizer, its loss, and the data of an epoch."""

    make: Callable[[], Any]
    loss: Any
    inputs: Any
    targets: Any
    batch: int


def measure(plan: Plan, backend: Any, on_one_core: bool) -> Iterator[Pair]:
    name = keras.backend.backend()
    for model, its_cases in (plan.on_one_core if on_one_core else plan.models).items():
        task = two_towers(plan.tower_rows) if model == TOWERS else TASKS[model]()
        for case in its_cases:
            suite.say(f"  {name}: {model}, {case}")
            made = {OURS: cases.ours(case), BUILTIN: cases.builtin(case)}
            if model == TOWERS and name == "tensorflow" and "SGD" not in case:
                made[LAZY] = cases.ours(case, sparse_update="lazy")
            names = {"size": model, "case": case, "backend": name}
            yield from _measure(plan, task, made, names)
            keras.backend.clear_session()


def _measure(
    plan: Plan, task: Task, optimizers: Mapping[str, Any], names: Mapping[str, str]
) -> Iterator[Pair]:
    steps, epochs = {}, {}
    data = task.inputs, task.targets
    first_batch = keras.tree.map_structure(lambda array: array[: task.batch], data)
    for subject, optimizer in optimizers.items():
        # A first step excludes the work that a process does once for such a model.
        twin = type(optimizer).from_config(optimizer.get_config())
        _compiled(task, twin).train_on_batch(*first_batch)
        model = _compiled(task, optimizer)
        steps[subject] = partial(model.train_on_batch, *first_batch)
        settings = {"batch_size": task.batch, "shuffle": False, "verbose": 0}
        epochs[subject] = partial(model.fit, *data, **settings)
    first = {subject: [timing.milliseconds(step)] for subject, step in steps.items()}
    batches = timing.interleaved(steps, plan.repeats)
    count = len(task.targets) // task.batch
    fit = {
        subject: [time / count for time in times]
        for subject, times in timing.interleaved(epochs, plan.of_fit).items()
    }
    samples = {"train_on_batch": batches, "fit": fit, "first step": first}
    for what, each in samples.items():
        for subject in optimizers.keys() - {BUILTIN}:
            yield compare(each, subject, BUILTIN, what=what, **names)


def _compiled(task: Task, optimizer: Any) -> Any:
    model = task.make()
    model.compile(optimizer, task.loss)
    return model


def chapter() -> Task:
    return _drawn(mlp, "mse", (13,), batch=32, steps=96)


def wide_mlp() -> Task:
    def make() -> Any:
        hidden = [layers.Dense(512, activation="relu") for _ in range(2)]
        return keras.Sequential([keras.Input((784,)), *hidden, layers.Dense(CLASSES)])

    return _drawn(make, CROSS_ENTROPY, (784,), batch=128, steps=20)


def mobilenet() -> Task:
    model = partial(keras.applications.MobileNetV2, weights=None, classes=CLASSES)
    make = partial(model, input_shape=(32, 32, 3), classifier_activation=None)
    return _drawn(make, CROSS_ENTROPY, (32, 32, 3), batch=8, steps=4)


def transformer() -> Task:
    """A classifier of texts."""

    def make() -> Any:
        words = keras.Input((LENGTH,), dtype="int32")
        x = layers.Embedding(WORDS, WIDTH)(words)
        for _ in range(2):
            attention = layers.MultiHeadAttention(4, WIDTH // 4)
            x = layers.LayerNormalization()(x + attention(x, x))
            hidden = layers.Dense(2 * WIDTH, activation="relu")(x)
            x = layers.LayerNormalization()(x + layers.Dense(WIDTH)(hidden))
        last = layers.Dense(CLASSES)
        return keras.Model(words, last(layers.GlobalAveragePooling1D()(x)))

    task = _drawn(make, CROSS_ENTROPY, (LENGTH,), batch=8, steps=12)
    words = zipf(WORDS, task.inputs.shape, np.random.default_rng(0))
    return task._replace(inputs=words)


def two_towers(rows: int) -> Task:
    """A recommender: how does this user rate that item?"""

    def tower(ids: Any) -> Any:
        x = layers.Embedding(rows, TABLE_WIDTH)(ids)
        x = layers.Dense(2 * TABLE_WIDTH, activation="relu")(x)
        return layers.Dense(TABLE_WIDTH)(x)

    def make() -> Any:
        ids = [keras.Input((), dtype="int32") for _ in range(2)]
        return keras.Model(ids, layers.Dot(axes=1)([tower(each) for each in ids]))

    task, generator = _drawn(make, "mse", (), 1024, steps=4), np.random.default_rng(0)
    ids = [zipf(rows, task.inputs.shape, generator) for _ in range(2)]
    return task._replace(inputs=ids)


def _drawn(
    make: Any, loss: Any, shape: tuple[int, ...], batch: int, steps: int
) -> Task:
    """Return a task of random numbers and classes."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((batch * steps, *shape), np.float32)
    return Task(make, loss, x, generator.integers(0, CLASSES, batch * steps), batch)


TASKS: Mapping[str, Callable[[], Task]] = {
    CHAPTER: chapter,
    MLP: wide_mlp,
    TRANSFORMER: transformer,
    MOBILENET: mobilenet,
}
