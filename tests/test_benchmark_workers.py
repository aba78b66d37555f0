"""The workers benchmark counts what travels, and its table says what was counted."""

from __future__ import annotations

import io
import json
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pandas")
pytest.importorskip("rich")
pytest.importorskip("tabulate")

from rich.console import Console

from benchmarks.workers import command, plans, plots, report
from benchmarks.workers.counts import Count
from benchmarks.workers.plans import FULL, QUICK
from benchmarks.workers.traffic import Traffic
from tests.conftest import COMMITTED

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("workers")]
# A row's numbers and its index; what the protocol adds is less than a tenth.
BYTES_OF_A_ROW = 4 * QUICK.width + 4
OVERHEAD = 1.1


on_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="the bytes of a connection are Linux's to count",
)


@pytest.fixture(scope="module")
def short_run(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("results")
    command.carry_out(QUICK, output, Console(file=io.StringIO()))
    return output


@on_linux
def test_rows_are_counted_once_or_as_often_as_they_were_looked_up(short_run: Path):
    [stream] = json.loads((short_run / report.JSON).read_text())["streams"]
    counted = stream["bytes_a_step"]
    # Each of two workers sends its rows; the shorter list is padded to the longer.
    repeats = 2 * QUICK.lookups * BYTES_OF_A_ROW
    merged = 2 * stream["distinct"] * BYTES_OF_A_ROW
    for contender in ("Adam, repeats sent", "keras.optimizers.Adam"):
        assert repeats < counted[contender] < OVERHEAD * repeats
    for contender in ("Adam", "Adam, clipped"):
        assert merged < counted[contender] < OVERHEAD * merged
    table = 4 * 2 * QUICK.rows * QUICK.width
    assert table < counted["keras.optimizers.Adam, clipped"] < OVERHEAD * table


@on_linux
def test_bytes_are_counted_whatever_connections_open_and_close():
    traffic = Traffic()
    with socket.create_server(("localhost", 0)) as server:
        before = traffic.settled()
        for k in range(1, 4):
            with socket.create_connection(server.getsockname()) as sender:
                receiver, _ = server.accept()
                with receiver:
                    sender.sendall(bytes(1000))
                    assert receiver.recv(1000, socket.MSG_WAITALL) == bytes(1000)
                    # Both ends are this process's: it has sent and received them.
                    assert traffic.settled() - before == pytest.approx(2000 * k, abs=k)
    assert traffic.settled() - before == pytest.approx(6000, abs=3)


def test_a_stream_is_the_same_at_every_call_and_differs_by_worker():
    first, again, other = (QUICK.stream(1.0, worker) for worker in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (QUICK.warm_up + QUICK.steps, QUICK.lookups)


def test_a_larger_exponent_repeats_more_rows():
    distinct = [FULL.distinct(exponent) for exponent in FULL.exponents]
    assert distinct == sorted(distinct, reverse=True)
    assert distinct[0] > 0.99 * FULL.lookups
    assert distinct[-1] < 0.2 * FULL.lookups


def test_the_committed_table_has_the_committed_figures():
    folder = COMMITTED / "workers"
    results = json.loads((folder / report.JSON).read_text())
    results["streams"] = tuple(report.Stream(**s) for s in results["streams"])
    results["counts"] = tuple(Count(**c) for c in results["counts"])
    assert results["plan"] == plans.FULL.name
    written = (folder / report.TABLE).read_text()
    assert report.table(report.Results(**results)) == written


def test_what_was_counted_is_what_the_formulas_say():
    """But for the protocol, which is a few hundred bytes of a message."""
    written = json.loads((COMMITTED / "workers" / report.JSON).read_text())
    counts = [Count(**count) for count in written["counts"]]
    assert {count.workers for count in counts} == {2, 3, 4}
    large = [count for count in counts if count.computed > 500_000]
    assert {count.gradient for count in large} == {plans.DENSE, plans.LAZY}
    assert all(1 < count.ratio < 1.01 for count in large)
    assert all(
        0 < count.more < 600 * count.messages for count in counts if count not in large
    )


@on_linux
def test_a_short_run_counts_what_the_formulas_say(short_run: Path):
    written = json.loads((short_run / report.JSON).read_text())
    counts = [Count(**count) for count in written["counts"]]
    assert {count.workers for count in counts} == set(QUICK.workers)
    assert len(counts) == len(QUICK.workers) * len(QUICK.cases)
    assert all(0 < count.more < 600 * count.messages for count in counts)
    assert (short_run / plots.NAME).stat().st_size > 10_000
