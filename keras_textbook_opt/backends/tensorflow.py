"""TensorFlow: kernels in place, rows, replicas, graphs, XLA, checkpoints."""

from __future__ import annotations

import contextlib
from typing import final

import keras
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla
from tensorflow.python.distribute import distribute_lib

from keras_textbook_opt.backends import tensorflow_kernels as kernels
from keras_textbook_opt.backends import tensorflow_programs as programs
from keras_textbook_opt.backends.plain import Backend

# Bits of exponent and mantissa.
BITS = {"float16": (5, 10), "bfloat16": (8, 7)}


@final
class TensorFlow(Backend):
    """What TensorFlow does in its own way."""

    has_rows = True

    # A step.

    def run(self, optimizer, updates, step):
        """On all replicas: a variable is updated where its copies are."""
        updates = [(g, _native(θ)) for g, θ in updates]
        if not tf.distribute.has_strategy():
            return self._run_here(optimizer, updates, step)

        def everywhere(strategy, updates, step):
            def update(θ, g, step):
                optimizer._update(g, θ, step)

            for g, θ in updates:
                strategy.extended.update(θ, update, args=(g, step), group=False)

        if tf.distribute.in_cross_replica_context():
            return everywhere(optimizer._distribution_strategy, updates, step)
        return tf.__internal__.distribute.interim.maybe_merge_call(
            everywhere, optimizer._distribution_strategy, updates, step
        )

    def _run_here(self, optimizer, updates, step):
        large: list = []
        others: list = []
        for g, θ in updates:
            is_large = programs.is_worth_one(optimizer, g, θ)
            (large if is_large else others).append((g, θ))
        run = super().run
        if large:
            programs.compiled(lambda: run(optimizer, large, step))
        run(optimizer, others, step)

    def summed(self, optimizer, gradients):
        """Rows travel to the other replicas, and so each is sent once."""
        if optimizer._distribution_strategy.num_replicas_in_sync == 1:
            return gradients
        replica = tf.distribute.get_replica_context()
        if replica is None:
            return gradients
        slices = [g.merged().assignable() for g in gradients]
        sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, slices)
        return [type(g).of(total) for g, total in zip(gradients, sums)]

    def take(self, optimizer, step, gradients, branches):
        """A replica's step must not branch if its updates meet in a `merge_call`.

        It is then taken once for all replicas, outside of them. The gradients are sums,
        and so the first replica has them all.
        """
        inside = not tf.distribute.in_cross_replica_context()
        no_merge_call = tf.__internal__.distribute.strategy_supports_no_merge_call
        if not (branches and inside) or no_merge_call():
            return step(gradients)

        def outside(strategy, gradients):
            first = [
                tf.nest.map_structure(
                    lambda x: strategy.experimental_local_results(x)[0], g
                )
                for g in gradients
            ]
            step(first)

        return tf.distribute.get_replica_context().merge_call(
            outside, args=(gradients,)
        )

    def kernel(self, name, optimizer, θ, slots):
        fits = kernels.applies(optimizer, θ, slots)
        return kernels.KERNELS.get(name) if fits else None

    def row_kernel(self, name, optimizer, θ, slots):
        fits = kernels.applies(optimizer, θ, slots)
        return kernels.ROW_KERNELS.get(name) if fits else None

    # Norms.

    def l2_loss(self, x):
        """Without the tensor `x²`."""
        return tf.nn.l2_loss(x)

    def compiles_branches(self):
        return kernels.under_xla()

    # Numbers.

    def rounded(self, x, dtype):
        """XLA may drop a cast there and back as of no effect."""
        if kernels.under_xla():
            held = xla.reduce_precision(x, *BITS[dtype])
            if dtype == "float16":
                # It takes the subnormals of float16, multiples of 2⁻²⁴, for zero.
                subnormal = tf.round(x * 2.0**24) / 2.0**24
                held = tf.where(tf.abs(x) < 2.0**-14, subnormal, held)
            return held
        return tf.cast(tf.cast(x, dtype), x.dtype)

    # State.

    def outside_the_graph(self):
        return tf.init_scope()

    @contextlib.contextmanager
    def outside_the_step(self, optimizer):
        """An assignment there reaches all replicas.

        In a replica's step, TensorFlow's scope alone would stay in the context of that
        replica.
        """
        strategy = optimizer._distribution_strategy
        with tf.init_scope():
            if strategy is None or tf.distribute.in_cross_replica_context():
                yield
            else:
                mode = distribute_lib._CrossReplicaThreadMode(strategy)
                distribute_lib._push_per_thread_mode(mode)
                try:
                    with strategy.scope():
                        yield
                finally:
                    distribute_lib._pop_per_thread_mode()

    def tracked(self, optimizer, name, variables):
        """In TensorFlow's wrapper, in the place of the list that had the name."""
        wrapped = tf.__internal__.tracking.wrap(variables)
        optimizer._track_trackable(wrapped, name, overwrite=True)
        return wrapped

    def in_a_checkpoint(self, write, read):
        return _Text(write, read)


@final
class _Text(tf.train.experimental.PythonState):
    """What `write()` returns when a checkpoint is saved goes to `read` at a restore."""

    def __init__(self, write, read):
        self._write, self._read = write, read

    def serialize(self):
        return self._write()

    def deserialize(self, text):
        self._read(tf.compat.as_text(text))


def _native(variable):
    return variable.value if isinstance(variable, keras.Variable) else variable
