"""Whole training steps, through the function that `model.fit` calls for each."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.steps import floor, sparse, timing
from benchmarks.steps.cases import Case
from benchmarks.steps.figures import BUILTIN, GRAPH, OURS, Measurement
from benchmarks.steps.networks import Network, networks
from benchmarks.steps.optimizers import ADAM, PAIRS, Pair
from benchmarks.steps.plans import BOSTON, Plan
from benchmarks.steps.timing import Step
from benchmarks.steps.updates import empty_with


def cases(plan: Plan) -> list[Case]:
    makers = networks(plan)
    return [
        Case(f"{name}, {pair.name}", partial(_measure, plan, name, makers[name], pair))
        for name in plan.models
        for pair in (PAIRS if name == BOSTON else (ADAM,))
    ]


def _measure(
    plan: Plan, name: str, make_network: Callable[[], Network], pair: Pair
) -> list[Measurement]:
    network = make_network()
    models = {
        contender: _compiled(network, optimizer())
        for contender, optimizer in _optimizers(network, pair).items()
    }
    samples = timing.interleaved(
        {contender: _step(network, model) for contender, model in models.items()},
        plan.repeats,
    )
    return [
        Measurement(
            case=name,
            optimizer=pair.name,
            mode=GRAPH,
            values={who: timing.spread(each) for who, each in samples.items()},
            ratios=sparse.ratios(samples),
            bytes={who: moved(network, models[who], pair, who) for who in samples},
        )
    ]


def _optimizers(network: Network, pair: Pair) -> Mapping[str, Callable[[], Any]]:
    if network.lookups:
        return sparse.optimizers(pair)
    return {OURS: pair.ours, BUILTIN: pair.builtin}


def _compiled(network: Network, optimizer: Any) -> Any:
    model = network.make()
    model.compile(optimizer=optimizer, loss=network.loss)
    model.make_train_function()
    return model


def _step(network: Network, model: Any) -> Step:
    batches = (
        tf.data.Dataset.from_tensor_slices((network.inputs, network.targets))
        .batch(network.batch, drop_remainder=True)
        .cache()
        .repeat()
        .prefetch(2)
    )
    iterator = iter(batches)

    def step() -> None:
        model.train_function(iterator)
        model.optimizer.iterations.numpy()

    empty_with(step, [*model.variables, *model.optimizer.variables])
    return step


def moved(network: Network, model: Any, pair: Pair, contender: str) -> int:
    """Return the bytes that the optimizer's part of the step must move."""
    tables = _table_bytes(network, model, pair, contender)
    total = 0
    for variable in model.trainable_variables:
        dense = floor.dense(int(np.prod(variable.shape)), pair.slots)
        total += tables.get(variable.path, dense)
    return total


def _table_bytes(
    network: Network, model: Any, pair: Pair, contender: str
) -> dict[str, int]:
    """Return the bytes of each embedding table by the path of its variable."""
    tables = [
        layer.embeddings
        for layer in model.layers
        if isinstance(layer, keras.layers.Embedding)
    ]
    return {
        table.path: sparse.moved_bytes(
            pair, tuple(table.shape), _distinct(ids, network.batch), contender
        )
        for table, ids in zip(tables, network.lookups, strict=True)
    }


def _distinct(ids: np.ndarray, batch: int) -> int:
    """Return the number of different ids in a batch, the median over the batches."""
    batches = ids.reshape(len(ids) // batch, -1)
    return int(np.median([len(np.unique(each)) for each in batches]))
