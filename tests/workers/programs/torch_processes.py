"""PyTorch processes that train cases under DDP.

`{index}.npz` in the folder has the variables of each case: by
`{case}/parallel/{variable}` after the training here, and by `{case}/alone/{variable}`
of one process.
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
from torch.nn.parallel import DistributedDataParallel

from tests.workers.cases import FITTED, IDS, LOOKUPS, ROWS, TARGETS, share
from tests.workers.results import by_place


def make_model() -> keras.Model:
    keras.utils.set_random_seed(2)
    ids = keras.Input((LOOKUPS,), dtype="int32")
    x = keras.layers.Embedding(ROWS, 2, embeddings_initializer="normal")(ids)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(3, activation="tanh")(x)
    return keras.Model(ids, keras.layers.Dense(1)(x))


def trained(name: str, alone: bool) -> dict[str, np.ndarray]:
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
    return by_place(model.variables, optimizer, keras.ops.convert_to_numpy)


def main(folder: Path, index: int, count: int, port: str, cases: list[str]):
    torch.set_num_threads(1)  # Many processes wait for each other on few processors.
    distributed.init_process_group(
        "gloo", f"tcp://localhost:{port}", rank=index, world_size=count
    )
    found: dict[str, Any] = {}
    for name in cases:
        for where in ("parallel", "alone"):
            for key, value in trained(name, alone=where == "alone").items():
                found[f"{name}/{where}/{key}"] = value
    np.savez(folder / f"{index}.npz", **found)
    distributed.barrier()


if __name__ == "__main__":
    folder, index, count, port, *cases = sys.argv[1:]
    main(Path(folder), int(index), int(count), port, cases)
    os._exit(0)
