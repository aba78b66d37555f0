"""The workers benchmark counts what travels, and its table says what was counted."""

import io
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cpuinfo")
pytest.importorskip("matplotlib")
pytest.importorskip("typer")

from rich.console import Console

from benchmarks import report, rows
from benchmarks.workers import command, pages, plots
from benchmarks.workers.counts import Count, counts
from benchmarks.workers.plans import DENSE, FULL, LAZY, QUICK, Plan
from benchmarks.workers.traffic import Traffic
from tests.conftest import COMMITTED

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("workers")]
# A row's numbers and its index; what the protocol adds is less than a tenth.
BYTES_OF_A_ROW = 4 * QUICK.width + 4
OVERHEAD = 1.1
A_MESSAGE_MORE = 600


on_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="the bytes of a connection are Linux's to count",
)


def counted(folder: Path, plan: Plan) -> tuple[list[Count], list[Count]]:
    """What a folder has of the streams, and of the other cases."""
    found = counts(rows.read(folder), plan)
    streams = [count for count in found if count.case.exponent is not None]
    return streams, [count for count in found if count not in streams]


@pytest.fixture(scope="module")
def short_run(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("results")
    assert command.carry_out(QUICK, output, Console(file=io.StringIO())) == 0
    return output


@on_linux
def test_rows_are_counted_once_or_as_often_as_they_were_looked_up(short_run: Path):
    streams, _ = counted(short_run, QUICK)
    sent = {count.case.contender: count.sent for count in streams}
    # Each of two workers sends its rows; the shorter list is padded to the longer.
    repeats = 2 * QUICK.lookups * BYTES_OF_A_ROW
    merged = 2 * QUICK.different(streams[0].case) * BYTES_OF_A_ROW
    for contender in ("Adam, repeats sent", "keras.optimizers.Adam"):
        assert repeats < sent[contender] < OVERHEAD * repeats
    for contender in ("Adam", "Adam, clipped"):
        assert merged < sent[contender] < OVERHEAD * merged
    table = 4 * 2 * QUICK.rows * QUICK.width
    assert table < sent["keras.optimizers.Adam, clipped"] < OVERHEAD * table


@on_linux
def test_a_short_run_counts_what_the_formulas_say(short_run: Path):
    _, others = counted(short_run, QUICK)
    assert {count.workers for count in others} == set(QUICK.workers)
    assert len(others) == len(QUICK.workers) * len(QUICK.cases(QUICK.workers[-1]))
    assert all(0 < count.more < A_MESSAGE_MORE * count.messages for count in others)
    assert (short_run / plots.NAME).stat().st_size > 10_000


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
    stream = QUICK.streams[0]
    first, again, other = (stream.ids(worker, 8) for worker in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (8, QUICK.lookups)


def test_a_larger_exponent_repeats_more_rows():
    streams = {stream.exponent: stream for stream in FULL.streams}
    different = [FULL.different(stream) for stream in streams.values()]
    assert different == sorted(different, reverse=True)
    assert different[0] > 0.99 * FULL.lookups
    assert different[-1] < 0.2 * FULL.lookups


def test_the_rows_of_a_case_are_different_and_the_same_in_each_step():
    *_, case = QUICK.cases(QUICK.workers[-1])
    ids = case.ids(0, 3)
    assert ids.shape == (3, QUICK.exact) and len(np.unique(ids)) == QUICK.exact


def test_the_committed_table_has_the_committed_figures():
    streams, _ = counted(COMMITTED / "workers", FULL)
    written = (COMMITTED / "workers" / report.TABLE).read_text()
    assert pages.table(streams, FULL) == written.strip()


def test_what_was_counted_is_what_the_formulas_say():
    """But for the protocol, which is a few hundred bytes of a message."""
    _, others = counted(COMMITTED / "workers", FULL)
    assert {count.workers for count in others} == {2, 3, 4}
    large = [count for count in others if count.computed > 500_000]
    assert {count.case.gradient for count in large} == {DENSE, LAZY}
    assert all(1 < count.ratio < 1.01 for count in large)
    small = [count for count in others if count not in large]
    assert all(0 < count.more < A_MESSAGE_MORE * count.messages for count in small)
