"""`python -m benchmarks.steps.memory_probe 33554432`: one step's peak of memory.

Prints, as JSON, by optimizer and contender, the bytes of tensors beyond those that
live before the step, at the peak of the step; nothing where TensorFlow does not count.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

# The allocator that counts. It serves a power of two without a rest.
os.environ["TF_CPU_ALLOCATOR_USE_BFC"] = "1"
DEVICE = "CPU:0"
WARM_UP = 2


def main(parameters: int) -> None:
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    try:
        tf.config.experimental.get_memory_info(DEVICE)
    except ValueError:
        print(json.dumps({}))
        return

    from benchmarks.steps.figures import BUILTIN, OURS
    from benchmarks.steps.memory import optimizers

    found = {
        name: {
            OURS: _extra_bytes(make.ours, parameters),
            BUILTIN: _extra_bytes(make.builtin, parameters),
        }
        for name, make in optimizers().items()
    }
    print(json.dumps(found))


def _extra_bytes(make_optimizer: Callable[[], Any], parameters: int) -> int:
    import tensorflow as tf

    from benchmarks.steps.updates import dense_step, gradients

    step = dense_step(make_optimizer(), gradients([(parameters,)]), jit_compile=False)
    for _ in range(WARM_UP):
        step()
    memory = tf.config.experimental
    memory.reset_memory_stats(DEVICE)
    before = memory.get_memory_info(DEVICE)["current"]
    step()
    return memory.get_memory_info(DEVICE)["peak"] - before


if __name__ == "__main__":
    main(int(sys.argv[1]))
