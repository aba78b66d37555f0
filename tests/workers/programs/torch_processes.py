"""PyTorch processes that train cases, `parallel` (DDP) or `split` (DTensors).

`{index}.npz` in the folder has the variables of each case, whole: by
`{case}/{way}/{variable}` after the training here, and by `{case}/alone/{variable}` of
one process.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from tests.trainer import kept
from tests.workers.cases import (
    FITTED,
    IDS,
    LOOKUPS,
    ROWS,
    SPLIT,
    STEPS,
    TARGETS,
    Case,
    share,
)
from tests.workers.results import by_place


def whole(variables: list, optimizer: Any) -> dict[str, np.ndarray]:
    def array(tensor: Any) -> np.ndarray:
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        return np.array(full.detach().float())

    return by_place(variables, optimizer, lambda variable: array(variable.value))


# A model whose batches are split over processes.


def make_model() -> keras.Model:
    keras.utils.set_random_seed(2)
    ids = keras.Input((LOOKUPS,), dtype="int32")
    x = keras.layers.Embedding(ROWS, 2, embeddings_initializer="normal")(ids)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(3, activation="tanh")(x)
    return keras.Model(ids, keras.layers.Dense(1)(x))


def parallel(name: str, alone: bool) -> dict[str, np.ndarray]:
    """Train on this process's shares of the batches, or alone on whole ones."""
    model, optimizer = make_model(), FITTED[name].make_optimizer()
    forward: Any = model if alone else DistributedDataParallel(model)
    variables = model.trainable_variables
    optimizer.build(variables)
    index, count = distributed.get_rank(), distributed.get_world_size()
    for batch in zip(IDS, TARGETS):
        shares = [a if alone else share(a, index, count) for a in batch]
        ids, targets = map(torch.from_numpy, shares)
        model.zero_grad()
        ((forward(ids) - targets) ** 2).mean().backward()
        gradients = [v.value.grad for v in variables]
        with torch.no_grad():
            optimizer.apply(gradients, variables)
    optimizer.finalize_variable_values(variables)
    return whole(model.variables, optimizer)


# Variables that are split over processes. Five rows are no multiple of two processes.

SHAPES = [(5, 3), (3, 4), (4, 3), (4,), (2,)]
PLACES: list[Any] = [Shard(0), Shard(1), Shard(0), Replicate(), None]
DTYPES = [torch.float32, torch.float32, torch.bfloat16, torch.float32, torch.float32]


def drawn(random: np.random.Generator, mesh: DeviceMesh | None) -> list[torch.Tensor]:
    tensors = []
    for shape, place, dtype in zip(SHAPES, PLACES, DTYPES):
        tensor = torch.tensor(random.normal(size=shape), dtype=dtype)
        is_whole = place is None or mesh is None
        tensors.append(tensor if is_whole else distribute_tensor(tensor, mesh, [place]))
    return tensors


def split(name: str, alone: bool) -> dict[str, np.ndarray]:
    """Train variables whose state is split as they are."""
    case: Case = SPLIT[name]
    random = np.random.default_rng(3)
    mesh = None if alone else init_device_mesh("cpu", (distributed.get_world_size(),))
    variables, optimizer = [], case.make_optimizer()
    for value in drawn(random, mesh):
        dtype = keras.backend.standardize_dtype(value.dtype)
        variables.append(keras.Variable(np.zeros(tuple(value.shape)), dtype=dtype))
        variables[-1]._value = torch.nn.Parameter(value)
    optimizer.build(variables)
    for _ in range(STEPS):
        with torch.no_grad():
            optimizer.apply(drawn(random, mesh), variables)
    for variable, place in zip(variables, PLACES, strict=True):
        for kind, state in kept(optimizer, variable).items():
            placements = getattr(state.value, "placements", None)
            assert placements == (None if alone else place and (place,)), kind
    return whole(variables, optimizer)


def main(way: str, folder: Path, index: int, count: int, port: str, cases: list[str]):
    torch.set_num_threads(1)  # Many processes wait for each other on few processors.
    distributed.init_process_group(
        "gloo", f"tcp://localhost:{port}", rank=index, world_size=count
    )
    train = {"parallel": parallel, "split": split}[way]
    found: dict[str, Any] = {}
    for name in cases:
        for where in (way, "alone"):
            for key, value in train(name, alone=where == "alone").items():
                found[f"{name}/{where}/{key}"] = value
    np.savez(folder / f"{index}.npz", **found)
    distributed.barrier()


if __name__ == "__main__":
    way, folder, index, count, port, *cases = sys.argv[1:]
    main(way, Path(folder), int(index), int(count), port, cases)
    os._exit(0)
