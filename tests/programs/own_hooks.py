"""Optimizers as a user writes them, whose equations are wrong on repeated rows."""

import tensorflow as tf

from keras_textbook_opt import TextbookOptimizer


class OwnEquation(TextbookOptimizer):
    """`m ← m + g²`, `θ ← θ − η·g²`; `counts` says how often each row was listed."""

    def __init__(self, learning_rate, rows=4, **settings):
        super().__init__(learning_rate, **settings)
        self.rows = rows
        self.counts = tf.Variable(tf.zeros(rows))

    def create_slots(self, variables):
        for variable in variables:
            self.add_slot(variable, "m")

    def apply_dense(self, g, θ, η, m):
        return θ - η * g * g, m + g * g

    def apply_sparse(self, g, θ, η, m):
        self.count(g)
        return super().apply_sparse(g, θ, η, m)

    def count(self, g):
        ones = tf.ones_like(g.indices, "float32")
        self.counts.assign(tf.math.unsorted_segment_sum(ones, g.indices, self.rows))


class OwnRows(OwnEquation):
    """The same, with rows that are squared one by one."""

    def apply_sparse(self, g, θ, η, m):
        self.count(g)
        squares = g.with_values(g.values**2).to_dense(θ.shape)
        return θ - η * squares, m + squares
