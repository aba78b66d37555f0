"""Steps that branch, on replicas: TensorFlow allows no branch within a replica's step.

A step branches where gradients accumulate, or an average replaces its variable, once in
some steps. It is then taken once for all replicas, outside of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


def forbid_a_branch() -> bool:
    """Whether this is a replica's step and its updates meet in a `merge_call`."""
    return (
        keras.backend.backend() == "tensorflow"
        and not tf.distribute.in_cross_replica_context()
        and not tf.__internal__.distribute.strategy_supports_no_merge_call()
    )


def leave(step: Callable[[list], None], grads: list) -> None:
    """Call `step(grads)` outside of the replicas.

    The gradients are sums over the replicas, and so the first replica has them all.
    """

    def outside(strategy: Any, grads: list) -> None:
        step([strategy.experimental_local_results(g)[0] for g in grads])

    tf.distribute.get_replica_context().merge_call(outside, args=(grads,))


def are_left() -> bool:
    """Whether a step is being taken outside of the replicas."""
    return (
        keras.backend.backend() == "tensorflow"
        and tf.distribute.in_cross_replica_context()
    )
