"""The precision benchmark compares final losses in 16 bits with float32."""

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("cpuinfo")
pytest.importorskip("matplotlib")

from benchmarks import rows
from benchmarks.precision import command, pages, variants
from benchmarks.precision.tasks import TASKS
from benchmarks.precision.variants import FINAL, FROM_WIDE, NARROW, WIDE
from benchmarks.rows import find, spread
from benchmarks.training import initial_weights

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("benchmark_precision")]

of_each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
ADAM = [("Adam", WIDE), ("Adam", "bfloat16")]


@of_each_task
def test_a_task_has_a_loss_for_each_variant(task, monkeypatch):
    monkeypatch.setattr(command, "VARIANTS", ADAM)
    found = command.measure(replace(task, epochs=1), [0])
    assert len(find(found, case=FINAL)) == 2 and np.isfinite(found["value"]).all()
    (distance,) = find(found, case=FROM_WIDE)["value"]
    assert abs(distance) < variants.TOLERANCE


NEAR = [[1.049] * 3, [0.951] * 3, [9.0, 1.04, 0.9]]
FAR = [[1.051] * 3, [0.949] * 3, [math.nan, 1.0, 1.0], [math.inf] * 3]


@pytest.mark.parametrize("losses", [*NEAR, *FAR], ids=str)
def test_the_verdict_is_on_the_medians_and_on_both_sides(losses):
    names = {"part": "boston", "subject": "Adam, bfloat16"}
    found = rows.frame([command.distance(losses, [1.0] * 3, **names)])
    assert pages.verdict(found).startswith("Yes." if losses in NEAR else "**No**")


def test_a_loss_that_is_not_finite_is_shown_and_drawn(tmp_path):
    names = {"part": "boston", "subject": "Adam, bfloat16"}
    distance = command.distance([math.nan, 2.0], [1.0, 1.0], **names)
    loss = spread([math.nan, 2.0], case=FINAL, **names)
    rows.store(tmp_path, "boston", rows.frame([loss, distance]))
    assert "not finite" in pages.publish(tmp_path)
    assert (tmp_path / pages.PICTURE).stat().st_size > 0


@of_each_task
def test_the_whole_model_is_in_the_dtype_with_the_same_initial_weights(task):
    start = initial_weights(task.model, 3)
    for dtype in NARROW:
        model = task.model(dtype)
        assert {w.dtype for w in model.weights} == {dtype}
        model.set_weights(start)
        for narrow, wide in zip(model.get_weights(), start, strict=True):
            rounded = narrow.astype(WIDE)
            np.testing.assert_allclose(rounded, wide, rtol=2**-8, atol=2**-24)
