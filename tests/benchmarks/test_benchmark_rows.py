"""The rows of a benchmark are written, read and found as what they are."""

from dataclasses import replace

import pytest

pytest.importorskip("pandas")

from benchmarks import rows
from benchmarks.rows import Row

pytestmark = pytest.mark.once

ROW = Row("dense", "Adam", "ours", "torch", "200 of 64×64", 0.5, 1.25, "ms")
NAMES = {"part": "dense", "case": "Adam", "subject": "ours"}


def test_what_is_read_is_what_was_written(tmp_path):
    unnamed = replace(ROW, subject=rows.ratio_name("built-in", "ours"), unit="")
    written = rows.frame([ROW, unnamed, replace(ROW, case="1e5", value=123_456.0)])
    rows.write(written, tmp_path)
    assert rows.read(tmp_path).equals(written)


def test_a_folder_without_results_has_no_rows(tmp_path):
    assert len(rows.read(tmp_path)) == 0


def test_two_rows_of_the_same_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="measured twice"):
        rows.write(rows.frame([ROW, replace(ROW, value=2.0)]), tmp_path)
    assert not (tmp_path / rows.FILE).exists()


def test_a_part_is_replaced_as_a_whole_and_others_stay():
    other = replace(ROW, part="sparse")
    old = rows.frame([ROW, replace(ROW, case="SGD"), other])
    new = replace(ROW, value=2.0)
    expected = rows.frame([other, new])
    assert rows.with_part(old, [new]).equals(expected)


def test_the_median_is_the_one_row_of_its_names():
    lower = replace(ROW, quantile=0.25, value=1.0)
    found = rows.frame([lower, ROW, replace(ROW, size="ResNet50")])
    assert rows.median(found, size=ROW.size, **NAMES) == ROW.value
    assert rows.median(found, size="none", **NAMES) != ROW.value
    with pytest.raises(LookupError, match="2 rows"):
        rows.median(found, **NAMES)


def test_repeated_measurements_become_their_quartiles():
    names = {"part": "p", "case": "c", "subject": "s", "backend": "b", "size": "1"}
    found = rows.quartiles([1, 2, 3, 4, 5], unit="ms", **names)
    assert [(row.quantile, row.value) for row in found] == [
        (0.25, 2),
        (0.5, 3),
        (0.75, 4),
    ]
