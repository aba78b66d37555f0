"""The benchmark of steps measures what it says, judges it, and keeps it."""

import gc
import io
import math
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("pandas")
pytest.importorskip("rich")
pytest.importorskip("tabulate")
pytest.importorskip("typer")

from rich.console import Console
from typer.testing import CliRunner

from benchmarks import __main__ as main
from benchmarks import rows, setting
from benchmarks.rows import Row
from benchmarks.steps import (
    bandwidth,
    command,
    dense,
    on_tensorflow,
    optimizers,
    pages,
    peers,
    plots,
    requirements,
    sizes,
    sparse,
)
from benchmarks.steps.batches import Batches, zipf
from benchmarks.steps.contender import (
    BEST,
    FLOOR,
    Contender,
    check_same_step,
)
from benchmarks.steps.optimizers import (
    ADAM,
    BUILTIN,
    LAZY,
    MAIN,
    OPTIONS,
    OURS,
    WITHOUT,
    Case,
)
from benchmarks.steps.plans import (
    DENSE,
    FULL,
    PARTS,
    QUICK,
    SPARSE,
    TENSORFLOW,
    Plan,
)
from benchmarks.steps.requirements import LIMITS, NAMES
from benchmarks.timing import Repeats
from tests.processes import ROOT

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("benchmark_steps")]

SPEEDUP, COST = rows.ratio_name(BUILTIN, OURS), rows.ratio_name(OURS, WITHOUT)
PNG = b"\x89PNG\r\n\x1a\n"
ONCE = Repeats(warm_up=0, at_least=1, at_most=1, seconds=0)
ROW = Row("dense", "Adam", OURS, "tensorflow", "1 of 10", 0.5, 1.0, "ms")
NO_FLOOR = bandwidth.Floor(lambda written: ())
PLACE = dense.Place(on_tensorflow, "", "3 of 4", (), NO_FLOOR)


# What is timed.


@pytest.mark.parametrize("option", OPTIONS)
def test_ours_the_built_in_and_peers_take_the_case_s_step(option):
    found = list(PLACE.measure(Case(ADAM, option), ONCE))
    subjects = {OURS, BUILTIN, SPEEDUP}
    assert {row.subject for row in found} == subjects | (
        {WITHOUT, COST} if option else set()
    )
    assert {row.case for row in found} == {Case(ADAM, option).name}


def test_a_contender_of_another_step_is_not_timed():
    same = {OURS: contender(1.0), BUILTIN: contender(1.0 + 5e-7)}
    check_same_step(same)
    for other in (1.0 + 1e-5, math.nan):
        with pytest.raises(AssertionError, match="peer steps elsewhere"):
            check_same_step(same | {"peer": contender(other)})


def test_a_step_is_one_step_and_gives_its_memory_back():
    optimizer, variable = Case(ADAM).ours(), keras.Variable([1.0, 2.0])
    optimizer.build([variable])

    g = on_tensorflow.tensors([np.ones(2)], "float32")

    def step_twice():
        step = on_tensorflow.contender(optimizer, [variable], g).step
        step()
        step()
        assert int(optimizer.iterations) == 2
        assert variable.value.read_value().numpy().size == 2

    step_twice()
    gc.collect()
    assert variable.value.read_value().numpy().size == 0


def test_peers_that_are_missing_or_take_another_step_are_left_out(monkeypatch):
    its_peers = partial(peers.of, values=[], gradients=[], libraries=["tf_keras"])
    monkeypatch.setattr(peers, "find_spec", lambda module: True)
    assert set(its_peers(Case(ADAM, "clipnorm"))) == {peers.LEGACY}
    assert not its_peers(Case(ADAM, "bfloat16"))
    monkeypatch.setattr(peers, "find_spec", lambda module: None)
    assert not its_peers(Case(ADAM))


def test_the_lists_of_variables():
    assert sizes.shapes("200 of 64×64") == [(64, 64)] * 200
    assert sizes.shapes("1 of 20,000,000") == [(20_000_000,)]
    model = keras.applications.ResNet50(weights=None)
    convolutions = [it for it in model.layers if isinstance(it, keras.layers.Conv2D)]
    biases = sum(layer.bias.shape[0] for layer in convolutions)
    trained = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert sizes.elements("ResNet50") == trained - biases


def test_a_batch_s_first_ids_are_distinct_and_others_follow_zipf_s_law():
    batches = Batches(rows=1000, width=2, touched=100)
    assert len(set(batches.ids[0])) == 100
    assert len(set(batches.ids[1])) < 100
    ids = zipf(1000, (200, 1000), np.random.default_rng(0))
    frequencies = np.sort(np.bincount(ids.ravel(), minlength=1000))[::-1]
    assert frequencies[0] / frequencies[9] == pytest.approx(7, rel=0.2)


@pytest.mark.parametrize("equation", MAIN, ids=lambda it: it.name)
def test_all_take_the_same_step_by_rows(equation):
    batches = Batches(rows=20, width=2, touched=5)
    makers = sparse.contenders(Case(equation), batches)
    assert BUILTIN in makers and (LAZY in makers) == bool(equation.slots)
    check_same_step({name: make() for name, make in makers.items()})


# The floor.


@pytest.mark.parametrize(
    ("its_case", "reads", "writes"),
    [
        (Case(optimizers.SGD), 2, 1),
        (Case(optimizers.SGD, "clipnorm"), 3, 1),
        (Case(optimizers.MOMENTUM), 3, 2),
        (Case(ADAM), 4, 3),
        (Case(ADAM, "ema"), 5, 4),
        (Case(optimizers.AMSGRAD), 5, 4),
    ],
    ids=lambda it: getattr(it, "name", None),
)
def test_an_update_moves(its_case, reads, writes):
    moves = bandwidth.moves(its_case)
    assert moves.read + moves.written + moves.norms == reads
    assert moves.written == writes


def test_the_floor_is_the_best_try_of_the_best_loop(monkeypatch):
    slow, fast = (lambda: "slow"), (lambda: "fast")
    tries = {slow: [9.0, 8.0], fast: [6.0, 7.0]}
    monkeypatch.setattr(bandwidth, "_fastest", lambda loop: min(tries[loop]))
    floor = bandwidth.Floor(lambda written: [(slow, 3), (fast, 3)])
    moves = bandwidth.moves(Case(optimizers.SGD, "clipnorm"))
    floor.try_again(moves)
    assert floor.milliseconds(moves) == (1 + 2 + 1) * 6 / 3
    tries[slow] = [3.0, 4.0]
    floor.try_again(moves)
    assert floor.milliseconds(moves) == (1 + 2 + 1) * 3 / 3


def test_loops_on_the_processor_write_each_array_they_are_said_to():
    arrays = [np.ones(100_001, np.float32)]
    for loop, moved in bandwidth.on_processor(arrays, 2):
        gradient, *before = [array.copy() for array in arrays]
        loop()
        assert moved == 5
        assert (arrays[0] == gradient).all()
        for old, new in zip(before, arrays[1:], strict=True):
            assert (new == old + 1).all()


# The run.


def test_the_parent_and_the_pages_import_no_backend():
    program = "import sys; from benchmarks.steps import command; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {"tensorflow", "jax", "torch", "keras"}.isdisjoint(done.stdout.split())


def test_ctrl_c_keeps_the_parts_that_were_complete(probes, tmp_path):
    probes[SPARSE] = KeyboardInterrupt
    assert run("--quick", "--output", str(tmp_path)).exit_code == 130
    assert set(rows.read(tmp_path)["part"]) == {DENSE}
    assert list(setting.read(tmp_path)) == [DENSE]


def test_a_part_is_measured_anew_and_the_others_stay(probes, tmp_path):
    assert run("--quick", "--output", str(tmp_path)).exit_code == 0
    before = rows.read(tmp_path)
    assert list(before["part"].unique()) == list(PARTS)
    probes[SPARSE] = 2.0
    ended = run("--quick", "--only", SPARSE, "--output", str(tmp_path))
    assert ended.exit_code == 0
    after = rows.read(tmp_path)
    changed = before["part"] == SPARSE
    assert (after["value"] == before["value"].mask(changed, 2.0)).all()


def test_a_folder_of_another_plan_is_refused(probes, tmp_path):
    setting.write({"models": {"plan": FULL.name}}, tmp_path)
    assert run("--quick", "--output", str(tmp_path)).exit_code == 2
    assert list(setting.read(tmp_path)) == ["models"]


def test_a_backend_that_is_not_installed_is_left_out(monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda it: it != TENSORFLOW or None)
    assert command.backends(DENSE) == ["jax", "torch"]
    assert command.backends(SPARSE) == []


def test_a_process_that_fails_is_an_error_that_says_why():
    with pytest.raises(ModuleNotFoundError, match="on_abacus"):
        command.on_backend(QUICK, "abacus", DENSE, lambda steps, title: None)


def test_a_process_that_is_ended_is_an_error_that_says_which():
    class Fatal(Plan):
        def __reduce__(self):
            return os._exit, (9,)

    with pytest.raises(RuntimeError, match="dense on tensorflow was ended"):
        command.on_backend(Fatal(), TENSORFLOW, DENSE, lambda steps, title: None)


@pytest.mark.long
@pytest.mark.parametrize("part", PARTS)
def test_a_quick_run_measures_the_part_and_draws_it(part, tmp_path):
    assert not command.carry_out(QUICK, [part], tmp_path, Console(file=io.StringIO()))
    found = rows.read(tmp_path)
    assert set(found["part"]) == {part}
    assert (found["value"] >= 0).all()
    backends = {backend.partition(",")[0] for backend in found["backend"]}
    assert backends == set(command.backends(part))
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    for plot in tmp_path.glob("*.png"):
        assert f"({plot.name})" in page
        assert plot.read_bytes().startswith(PNG)
    assert (part == DENSE) == (tmp_path / "dense.png").exists()
    assert "no verdict" in (tmp_path / "table.md").read_text()


# The verdicts.


def test_every_requirement_is_reached_where_every_figure_is_at_its_limit():
    assert set(requirements.verdicts(at_their_limits()).values()) == {"reached"}


@pytest.mark.parametrize("line", LIMITS.index)
def test_a_planted_slow_figure_is_not_reached(line):
    planted, its = at_their_limits(), LIMITS.loc[line]
    planted.loc[line, "value"] += -0.02 if its["bound"] == "at least" else 0.02
    (other,) = set(requirements.verdicts(planted).items()) - set(
        requirements.verdicts(at_their_limits()).items()
    )
    assert other == (its["title"], "not reached")
    (shown,) = [it for it in pages.table(planted, {}).splitlines() if "not" in it]
    assert f"| {its['title']} " in shown


def test_what_was_not_measured_is_not_reached_either():
    nothing = requirements.verdicts(rows.frame([]))
    assert set(nothing.values()) == {"not measured"}


def test_every_requirement_is_on_a_row_that_was_measured():
    committed = requirements.verdicts(rows.read(main.RESULTS / "steps"))
    assert "not measured" not in committed.values()


def test_every_requirement_is_on_a_case_of_the_full_plan():
    planned = {
        (each.name, size)
        for size, options in FULL.dense.items()
        for each in optimizers.cases(options)
    }
    of_dense = rows.find(LIMITS, part=DENSE)
    assert set(zip(of_dense["case"], of_dense["size"])) <= planned


def test_the_nearest_to_its_floor_is_named():
    at = replace(ROW, case="SGD", subject="peer", value=3.0)
    floors = [replace(it, subject=FLOOR, quantile=BEST) for it in (ROW, at)]
    found = rows.frame([replace(ROW, value=2.0), at, replace(floors[0]), floors[1]])
    ratio, whose = pages.nearest_to_floor(found)
    assert (ratio, whose) == (1.0, "peer, SGD, tensorflow, 1 of 10")


def contender(value: float) -> Contender:
    return Contender(lambda: None, lambda: [np.array([value])])


@pytest.fixture
def probes(monkeypatch):
    """What the processes measure, by part: a figure, or an exception."""
    found: dict = dict.fromkeys(PARTS, 1.0)

    def on_backend(plan, backend, part, advance):
        if isinstance(found[part], type):
            raise found[part]
        row = replace(ROW, part=part, backend=backend, value=found[part])
        advance(1, part)
        return "none", [row]

    monkeypatch.setattr(command, "on_backend", on_backend)
    monkeypatch.setattr(plots, "write", lambda found, output: [])
    return found


def run(*arguments):
    return CliRunner().invoke(main.app, ["steps", *arguments])


def at_their_limits():
    """Rows in which each figure is at its limit."""
    return LIMITS[NAMES].assign(quantile=0.5, value=LIMITS["limit"], unit="")
