"""The workers benchmark counts what travels, and its table says what was counted."""

import io
import socket
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("cpuinfo")
pytest.importorskip("matplotlib")
pytest.importorskip("typer")

from rich.console import Console

from benchmarks import rows
from benchmarks.workers import command, plans, plots
from benchmarks.workers.counts import counts
from benchmarks.workers.plans import FULL, QUICK, WIDTH
from benchmarks.workers.traffic import Traffic
from tests.conftest import COMMITTED

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("workers")]
STREAM = QUICK.cases[-1]
# A row's numbers and its index; what the protocol adds is less than a tenth.
BYTES_OF_A_ROW = 4 * WIDTH + 4
OVERHEAD = 1.1
A_MESSAGE_MORE = 600


on_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="the bytes of a connection are Linux's to count",
)


def counted(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What a folder has of the streams, and of the other cases."""
    found = counts(rows.read(folder))
    by_formula = found["case"].isin(plans.BY_FORMULA)
    return found[~by_formula], found[by_formula]


def is_of_the_protocol(more: pd.DataFrame) -> bool:
    """Whether it is more than was computed by a few hundred bytes of a message."""
    most = A_MESSAGE_MORE * more["messages"]
    return bool(more["more"].between(0, most, inclusive="neither").all())


@pytest.fixture(scope="module")
def short_run(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("results")
    assert command.carry_out(QUICK, output, Console(file=io.StringIO())) == 0
    return output


@on_linux
def test_rows_are_counted_once_or_as_often_as_they_were_looked_up(short_run: Path):
    streams, _ = counted(short_run)
    sent = streams.set_index("subject")["sent"]
    # Each of two workers sends its rows; the shorter list is padded to the longer.
    repeats = 2 * STREAM.touched * BYTES_OF_A_ROW
    merged = 2 * STREAM.different() * BYTES_OF_A_ROW
    for contender in ("Adam, repeats sent", "keras.optimizers.Adam"):
        assert repeats < sent[contender] < OVERHEAD * repeats
    for contender in ("Adam", "Adam, clipped"):
        assert merged < sent[contender] < OVERHEAD * merged
    table = 4 * 2 * STREAM.rows * WIDTH
    assert table < sent["keras.optimizers.Adam, clipped"] < OVERHEAD * table


@on_linux
def test_a_short_run_counts_what_the_formulas_say(short_run: Path):
    _, others = counted(short_run)
    assert set(others["workers"]) == set(QUICK.workers)
    assert len(others) == len(QUICK.workers) * len(plans.BY_FORMULA)
    assert is_of_the_protocol(others)
    assert (short_run / plots.NAME).stat().st_size > 10_000


class Failing(plans.Case):
    """A case that the second worker cannot take, while the first waits for it."""

    def ids(self, worker: int) -> np.ndarray:
        if worker:
            raise ValueError("not the second")
        return super().ids(worker)


@on_linux
@pytest.mark.long
def test_a_worker_that_fails_ends_the_run_and_says_why():
    plan = plans.Plan("failing", (Failing(**vars(STREAM)),))
    with pytest.raises(ValueError, match="not the second"):
        command.of(plan, 2, lambda _: None)


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
    first, again, other = (STREAM.ids(worker) for worker in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (plans.WARM_UP + plans.STEPS, STREAM.touched)


def test_a_larger_exponent_repeats_more_rows():
    streams = [case for case in FULL.cases if case.is_stream]
    by_exponent = {stream.exponent: stream for stream in streams}
    different = [by_exponent[each].different() for each in sorted(by_exponent)]
    assert different == sorted(different, reverse=True)
    assert different[0] > 0.99 * STREAM.touched
    assert different[-1] < 0.2 * STREAM.touched


def test_the_rows_of_a_case_are_different_and_the_same_in_each_step():
    case = next(case for case in QUICK.cases if case.name == plans.EXACT)
    ids = case.ids(0)
    assert ids.shape == (plans.WARM_UP + plans.STEPS, case.touched)
    assert all(set(of_step) == set(ids[0]) for of_step in ids)
    assert len(set(ids[0])) == case.touched


def test_what_was_counted_is_what_the_formulas_say():
    """But for the protocol, which is a few hundred bytes of a message."""
    _, others = counted(COMMITTED / "workers")
    assert set(others["workers"]) == {2, 3, 4}
    is_large = others["computed"] > 500_000
    large = others[is_large]
    assert set(large["case"]) == {plans.DENSE, plans.LAZY}
    assert (large["sent"] / large["computed"]).between(1, 1.01).all()
    assert is_of_the_protocol(others[~is_large])
