"""Train variables that are split over processes as `DTensor`s, and the same unsplit.

`{index}.npz` in the folder has all of a case, whole: by `{case}/split/{variable}` and
by `{case}/alone/{variable}`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from tests.trainer import kept
from tests.workers.cases import SPLIT, STEPS, Case


class Spec(NamedTuple):
    """The shape of a variable, where it is, and its dtype."""

    shape: tuple[int, ...]
    place: Any
    dtype: torch.dtype = torch.float32


# Five rows are no multiple of two processes. The last is not split.
SPECS = [
    Spec((5, 3), Shard(0)),
    Spec((3, 4), Shard(1)),
    Spec((4, 3), Shard(0), torch.bfloat16),
    Spec((4,), Replicate()),
    Spec((2,), None),
]


class Arrays:
    """The same values and gradients for every run."""

    def __init__(self) -> None:
        random = np.random.default_rng(3)

        def draw() -> list[np.ndarray]:
            return [random.normal(size=spec.shape) for spec in SPECS]

        self.values, self.gradients = draw(), [draw() for _ in range(STEPS)]


def placed(array: np.ndarray, spec: Spec, mesh: DeviceMesh | None) -> torch.Tensor:
    tensor = torch.tensor(array, dtype=spec.dtype)
    if spec.place is None or mesh is None:
        return tensor
    return distribute_tensor(tensor, mesh, [spec.place])


def trained(
    case: Case, arrays: Arrays, mesh: DeviceMesh | None
) -> tuple[list[keras.Variable], Any]:
    variables, optimizer = [], case.make_optimizer()
    for array, spec in zip(arrays.values, SPECS):
        value = placed(array, spec, mesh)
        variable = keras.Variable(
            array, dtype=keras.backend.standardize_dtype(value.dtype)
        )
        variable._value = torch.nn.Parameter(value)
        variables.append(variable)
    optimizer.build(variables)
    for gradients in arrays.gradients:
        tensors = [placed(g, spec, mesh) for g, spec in zip(gradients, SPECS)]
        with torch.no_grad():
            optimizer.apply(tensors, variables)
    return variables, optimizer


def whole(variables: list, optimizer: Any) -> dict[str, np.ndarray]:
    def array(tensor: Any) -> np.ndarray:
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        return np.array(full.detach().float())

    kinds = {"model": variables, "optimizer": optimizer.variables}
    return {
        f"{kind}/{place}": array(variable._value)
        for kind, kept in kinds.items()
        for place, variable in enumerate(kept)
    }


def check_placements(variables: list, optimizer: Any) -> None:
    """The state of a variable is split as it is."""
    for variable, spec in zip(variables, SPECS, strict=True):
        for kind, place in kept(optimizer, variable).items():
            placements = getattr(place._value, "placements", None)
            assert placements == (spec.place and (spec.place,)), kind


def main(folder: Path, index: int, count: int, port: str) -> None:
    torch.set_num_threads(1)  # Many processes wait for each other on few processors.
    distributed.init_process_group(
        "gloo", f"tcp://localhost:{port}", rank=index, world_size=count
    )
    mesh = init_device_mesh("cpu", (count,))
    arrays, found = Arrays(), dict[str, Any]()
    for name, case in SPLIT.items():
        variables, optimizer = trained(case, arrays, mesh)
        check_placements(variables, optimizer)
        ends = {"split": whole(variables, optimizer)}
        ends["alone"] = whole(*trained(case, arrays, None))
        for where, values in ends.items():
            found |= {f"{name}/{where}/{k}": value for k, value in values.items()}
    np.savez(folder / f"{index}.npz", **found)
    distributed.barrier()


if __name__ == "__main__":
    folder, index, count, port = sys.argv[1:]
    main(Path(folder), int(index), int(count), port)
    os._exit(0)
