"""One of the PyTorch processes that train cases under `DistributedDataParallel`.

`{index}.npz` in the folder has the variables of each case after the training here, by
`{case}/processes/{variable}`, and by `{case}/alone/{variable}` those of every case that
was this process's turn.
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

from tests.workers.cases import FITTED, IDS, LOOKUPS, ROWS, TARGETS, Case, share


def make_model() -> keras.Model:
    keras.utils.set_random_seed(2)
    ids = keras.Input((LOOKUPS,), dtype="int32")
    x = keras.layers.Embedding(ROWS, 2, embeddings_initializer="normal")(ids)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(3, activation="tanh")(x)
    return keras.Model(ids, keras.layers.Dense(1)(x))


def train(case: Case, parallel: bool) -> dict[str, np.ndarray]:
    """Train on this process's shares of the batches, or alone on whole ones."""
    model, optimizer = make_model(), case.make_optimizer()
    forward: Any = DistributedDataParallel(model) if parallel else model
    variables = model.trainable_variables
    optimizer.build(variables)
    index, count = distributed.get_rank(), distributed.get_world_size()
    for batch in zip(IDS, TARGETS):
        shares = [share(a, index, count) if parallel else a for a in batch]
        ids, targets = map(torch.from_numpy, shares)
        model.zero_grad()
        ((forward(ids) - targets) ** 2).mean().backward()
        gradients = [v.value.grad for v in variables]
        with torch.no_grad():
            optimizer.apply(gradients, variables)
    optimizer.finalize_variable_values(variables)
    found = {"model": model.variables, "optimizer": optimizer.variables}
    return {
        f"{kind}/{place}": keras.ops.convert_to_numpy(variable)
        for kind, kept in found.items()
        for place, variable in enumerate(kept)
    }


def main(folder: Path, cases: list[str], index: int, count: int, port: str) -> None:
    torch.set_num_threads(1)  # Many processes wait for each other on few processors.
    distributed.init_process_group(
        "gloo", f"tcp://localhost:{port}", rank=index, world_size=count
    )
    found: dict[str, Any] = {}
    for name in cases:
        for key, value in train(FITTED[name], parallel=True).items():
            found[f"{name}/processes/{key}"] = value
    for name in cases[index::count]:
        for key, value in train(FITTED[name], parallel=False).items():
            found[f"{name}/alone/{key}"] = value
    np.savez(folder / f"{index}.npz", **found)
    distributed.barrier()


if __name__ == "__main__":
    folder, index, count, port, *cases = sys.argv[1:]
    main(Path(folder), cases, int(index), int(count), port)
    os._exit(0)
