"""The peak of the memory that one step takes beyond what lives between steps."""

import os

# The allocator that counts. It serves a power of two without a rest.
os.environ["TF_CPU_ALLOCATOR_USE_BFC"] = "1"

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.rows import Row
from benchmarks.steps.contender import Work
from benchmarks.steps.optimizers import AMSGRAD, MAIN, PLAIN, Case
from benchmarks.steps.plans import MEMORY, TENSORFLOW, Plan

WARM_UP = 2


def work(plan: Plan, backend: Any) -> Iterator[Work]:
    """Nothing where TensorFlow does not count."""
    device = "GPU:0" if plan.accelerator else "CPU:0"
    try:
        tf.config.experimental.get_memory_info(device)
    except ValueError:
        return
    options = (PLAIN, "clipnorm", "weight_decay")
    cases = [Case(equation, option) for equation in MAIN for option in options]
    for each in (*cases, Case(AMSGRAD)):
        measured = _measure(plan.memory_parameters, each, backend, device)
        yield f"extra memory of a step, {each.name}", measured


def _measure(parameters: int, case: Case, backend: Any, device: str) -> Iterator[Row]:
    gradient = np.full(parameters, 0.05, np.float32)
    names = {"part": MEMORY, "case": case.name, "backend": TENSORFLOW}
    names |= {"size": f"1 of {parameters:,}", "unit": "copies of the gradient"}
    for subject, make in case.makers().items():
        copies = _extra_bytes(make(), gradient, backend, device) / gradient.nbytes
        yield Row(subject=subject, quantile=0.5, value=copies, **names)


def _extra_bytes(optimizer: Any, gradient: Any, backend: Any, device: str) -> int:
    variables = [keras.Variable(tf.zeros(len(gradient)))]
    optimizer.build(variables)
    g = backend.tensors([gradient], "float32")
    step = backend.contender(optimizer, variables, g).step
    for _ in range(WARM_UP):
        step()
    memory = tf.config.experimental
    memory.reset_memory_stats(device)
    before = memory.get_memory_info(device)["current"]
    step()
    return memory.get_memory_info(device)["peak"] - before
