"""A replica sends each row of a sparse gradient once, however often it was looked up.

What is sent is seen by a strategy that stands for the other replicas, and sends rows of
its own back, as TensorFlow does: those of one replica after those of another.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from keras_textbook_opt.rows import Rows

from keras_textbook_opt import SGD, backends
from keras_textbook_opt.gradients import Dense

pytestmark = pytest.mark.needs("rows")

WIDTH, COUNT = 2, 9
_random = np.random.default_rng(0)


def drawn(indices: list[int]) -> Rows:
    values = _random.normal(size=(len(indices), WIDTH)).astype("float32")
    return Rows(tf.constant(indices, "int32"), tf.constant(values))


class Others(NamedTuple):
    """The other replica, whose gradients come after those of this one."""

    gradients: list[Any]
    sent: list[Any]
    num_replicas_in_sync: int = 2

    def all_reduce(self, operation, gradients) -> list[Any]:
        assert operation == tf.distribute.ReduceOp.SUM
        self.sent.extend(gradients)
        return [
            self._together(a, b) if isinstance(a, tf.IndexedSlices) else a + b
            for a, b in zip(gradients, self.gradients, strict=True)
        ]

    @staticmethod
    def _together(a: tf.IndexedSlices, b: tf.IndexedSlices) -> tf.IndexedSlices:
        return tf.IndexedSlices(
            tf.concat([a.values, b.values], 0), tf.concat([a.indices, b.indices], 0)
        )


@pytest.fixture
def summed(monkeypatch):
    """Sum gradients with those of another replica: the sums, and what was sent."""

    def sum_with(here: list, there: list) -> tuple[list, list]:
        optimizer = SGD(0.1)
        others = Others([g.assignable() for g in there], sent=[])
        monkeypatch.setattr(optimizer, "_distribution_strategy", others)
        monkeypatch.setattr(tf.distribute, "get_replica_context", lambda: others)
        return backends.active.summed(optimizer, here), others.sent

    return sum_with


@pytest.mark.parametrize("indices", [[3, 1, 3, 3, 0, 1], [4] * 24, [2, 1], []])
def test_each_row_is_sent_once(summed, indices: list[int]):
    _, [sent] = summed([drawn(indices)], [drawn([1])])
    assert sorted(sent.indices.numpy()) == sorted(set(indices))
    assert sent.values.shape[0] == len(set(indices))


def test_rows_that_two_replicas_touch_are_summed(summed):
    here, there = drawn([3, 1, 3]), drawn([8, 3, 8, 0])
    [total], _ = summed([here], [there])
    expected = here.to_dense((COUNT, WIDTH)) + there.to_dense((COUNT, WIDTH))
    merged = total.merged()
    assert sorted(merged.indices.numpy()) == [0, 1, 3, 8]
    np.testing.assert_allclose(merged.to_dense((COUNT, WIDTH)), expected, rtol=1e-6)


def test_dense_gradients_are_sent_as_they_are(summed):
    here, there = tf.constant([1.0, 2.0]), tf.constant([3.0, 5.0])
    [total], [sent] = summed([Dense(here)], [Dense(there)])
    assert sent is here
    assert total.values.numpy().tolist() == [4.0, 7.0]
