"""Train on two processes with PyTorch's DistributedDataParallel.

    python examples/torch_ddp.py

DDP averages the gradients while `backward` runs. The optimizer is called after it, on
the same averages in every process: clips, averages and accumulation are those of one.
"""

import os
import tempfile

os.environ["KERAS_BACKEND"] = "torch"

import keras
import torch
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from keras_textbook_opt import Adam

PROCESSES, EPOCHS, STEPS, BATCH = 2, 5, 100, 64


def make_model() -> keras.Model:
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(64, activation="tanh") for _ in range(2)]
    return keras.Sequential([keras.Input((2,)), *hidden, keras.layers.Dense(1)])


def ring(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of the plane, and whether they lie in a ring."""
    points = torch.randn(BATCH, 2, generator=generator)
    radius = points.norm(dim=1, keepdim=True)
    return points, ((radius > 0.7) & (radius < 1.5)).float()


def train(rank: int, meeting: str) -> None:
    distributed.init_process_group(
        "gloo", f"file://{meeting}", rank=rank, world_size=PROCESSES
    )
    torch.set_num_threads(1)
    model = make_model()
    parallel = DistributedDataParallel(model)
    variables = model.trainable_variables
    optimizer = Adam(0.01, clipnorm=1.0)
    generator = torch.Generator().manual_seed(rank)
    for epoch in range(EPOCHS):
        hits = torch.zeros(())
        for _ in range(STEPS):
            points, inside = ring(generator)
            logits = parallel(points)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, inside)
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                optimizer.apply([v.value.grad for v in variables], variables)
            hits += ((logits > 0) == (inside > 0)).float().mean() / STEPS
        distributed.all_reduce(hits)
        if rank == 0:
            print(
                f"epoch {epoch + 1} of {EPOCHS}: {hits / PROCESSES:.1%} right",
                flush=True,
            )
    check_that_all_have_the_same(variables)
    distributed.barrier()
    os._exit(0)  # gloo's threads were seen to keep a process from its end


def check_that_all_have_the_same(variables: list) -> None:
    for variable in variables:
        here = variable.value.detach()
        first = here.clone()
        distributed.broadcast(first, src=0)
        assert torch.equal(here, first)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(train, (f"{folder}/meeting",), nprocs=PROCESSES)
