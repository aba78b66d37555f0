"""The benchmark of steps measures what it says, judges it, and keeps it."""

import io
import json
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import keras
import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("pandas")
pytest.importorskip("rich")
pytest.importorskip("tabulate")
pytest.importorskip("typer")

import tensorflow as tf
from rich.console import Console
from typer.testing import CliRunner

from benchmarks import __main__ as main
from benchmarks.steps import (
    bandwidth,
    command,
    dense,
    elsewhere,
    elsewhere_probe,
    floor,
    models,
    networks,
    peers,
    plots,
    report,
    requirements,
    timing,
    updates,
)
from benchmarks.steps.cases import Case
from benchmarks.steps.contenders import Contender
from benchmarks.steps.figures import (
    BUILTIN,
    GRAPH,
    LAZY,
    OURS,
    Measurement,
    Part,
    Results,
    Spread,
)
from benchmarks.steps.optimizers import ADAM, MOMENTUM_PAIR, PAIRS, PLAIN, SGD
from benchmarks.steps.plans import FULL, QUICK, TWO_TOWERS, Layout
from benchmarks.steps.requirements import REQUIREMENTS, Requirement

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("benchmark_steps")]

PNG = b"\x89PNG\r\n\x1a\n"
SHORT = replace(QUICK, options=(PLAIN,), table_rows=(500,), models=(TWO_TOWERS,))


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    output = tmp_path_factory.mktemp("results")
    parts = list(command.PARTS)
    assert command.carry_out(SHORT, parts, output, Console(file=io.StringIO()))
    return output


@pytest.fixture(scope="module")
def results(short_run):
    return json.loads((short_run / report.JSON).read_text(encoding="utf-8"))


def test_a_run_measures_every_part(results):
    parts = ["dense", "sparse", "models", "memory", "peers", "jax", "torch"]
    assert list(results["parts"]) == parts
    for name, part in results["parts"].items():
        assert part["measurements"] or (name == "torch" and not find_spec("torch"))
        assert part["bandwidth"] > 0
        assert part["date"]
        assert part["machine"]["cores"] >= 1
        assert set(part["versions"]) >= {"python", "keras", "tensorflow", "torch"}


def test_the_report_s_figures_are_those_of_the_json_file(short_run, results):
    report_lines = (short_run / report.REPORT).read_text(encoding="utf-8").splitlines()
    rows = [cells(line) for line in report_lines if line.startswith("|")]
    for part in results["parts"].values():
        for measurement in part["measurements"]:
            start = [measurement["case"], measurement["optimizer"]]
            written = {cell for row in rows if row[:2] == start for cell in row}
            figures = measurement["values"] | measurement["ratios"]
            for figure in figures.values():
                assert report.spread(Spread(**figure)) in written


def test_every_row_but_memory_s_shows_its_distance_from_the_floor(results):
    for name, part in results["parts"].items():
        for measurement in part["measurements"]:
            expected = set() if name == "memory" else set(measurement["values"])
            assert set(measurement["bytes"]) == expected


def test_a_run_draws_the_plots_that_its_report_shows(short_run):
    shown = (short_run / report.REPORT).read_text(encoding="utf-8")
    for name in ("dense.png", "sparse.png", "jax.png"):
        assert f"({name})" in shown
        assert (short_run / name).read_bytes().startswith(PNG)


def test_a_run_with_other_sizes_gives_no_verdict(short_run):
    table = (short_run / report.TABLE).read_text(encoding="utf-8")
    assert "no verdict" in table
    assert requirements.REACHED not in table


def test_what_was_read_from_json_is_what_was_written(short_run, tmp_path):
    read = report.read(short_run)
    report.write(read, plots.names(read), tmp_path)
    for name in (report.JSON, report.REPORT, report.TABLE):
        assert (tmp_path / name).read_text() == (short_run / name).read_text()


def test_every_requirement_is_reached_where_every_figure_is_at_its_limit():
    assert {each.verdict(at_their_limits()) for each in REQUIREMENTS} == {"reached"}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda each: each.case)
def test_a_planted_slow_figure_is_not_reached(requirement):
    for label in requirement.figures:
        planted = at_their_limits(but=(requirement, label))
        assert requirement.verdict(planted) == "not reached"
        row = next(
            cells(line)
            for line in report.table(planted).splitlines()
            if cells(line)[:1] == [requirement.case]
        )
        assert row[-1] == "not reached"


def test_what_was_not_measured_is_not_reached_either():
    assert {each.verdict(Results({})) for each in REQUIREMENTS} == {"not measured"}
    assert "not measured" in report.table(Results({}))


@pytest.mark.parametrize(
    ("pair", "reads_of_gradient", "bytes_a_parameter"),
    [
        (SGD, 1, 12),
        (SGD, 2, 16),
        (MOMENTUM_PAIR, 1, 20),
        (MOMENTUM_PAIR, 2, 24),
        (ADAM, 1, 28),
        (ADAM, 2, 32),
    ],
)
def test_the_floor_of_a_dense_step(pair, reads_of_gradient, bytes_a_parameter):
    moved = floor.dense(1000, pair.slots, reads_of_gradient)
    assert moved == 1000 * bytes_a_parameter


def test_the_floor_of_a_sparse_step():
    table, touched = 1000, 10
    assert floor.lazy(touched, ADAM.slots) == 28 * touched
    assert floor.exact(table, touched, ADAM.slots) == 24 * table + 4 * touched
    assert floor.exact(table, touched, SGD.slots) == 12 * touched


def test_the_floor_of_a_model_s_update():
    network = networks.two_towers(100)
    model = network.make()
    towers = 2 * (32 * 64 + 64 + 64 * 32 + 32)
    ids = [lookups.reshape(-1, network.batch) for lookups in network.lookups]
    distinct = sum(int(np.median([len(set(row)) for row in each])) for each in ids)
    expected = 28 * towers + 28 * 32 * distinct
    assert models.moved(network, model, ADAM, LAZY) == expected
    expected = 28 * towers + 24 * 2 * 100 * 32 + 4 * 32 * distinct
    assert models.moved(network, model, ADAM, BUILTIN) == expected


def test_the_floor_is_bytes_over_bandwidth():
    measurement = measured("case", "Adam", {OURS: 1.0}, {})
    measurement = replace(measurement, bytes={OURS: 28_000_000})
    part = part_of(measurement, bandwidth=14e9)
    assert part.floor(measurement, OURS) == pytest.approx(2.0)
    assert part.floor(measurement, BUILTIN) is None


def test_an_option_s_own_cost_is_over_the_step_without_it():
    plan = replace(QUICK, layouts=(Layout(2, 10),), options=(PLAIN, "clipnorm"))
    plain, clipped = dense.cases(plan)[0].measure()
    assert set(plain.ratios) == {dense.SPEEDUP}
    assert set(clipped.ratios) == {dense.SPEEDUP, dense.COST}
    assert clipped.optimizer == "SGD + clipnorm"
    assert (plain.bytes[OURS], clipped.bytes[OURS]) == (240, 320)


def test_multipliers_stand_beside_the_built_in_without_them():
    plan = replace(QUICK, layouts=(Layout(2, 10),), options=(PLAIN, "multipliers"))
    _, multiplied = dense.cases(plan)[0].measure()
    assert multiplied.optimizer == "SGD + multipliers"
    assert set(multiplied.ratios) == {dense.SPEEDUP, dense.COST}
    assert multiplied.bytes[OURS] == 240


def test_a_monitor_costs_what_it_adds_to_the_step_with_the_same_clip():
    options = (PLAIN, "clipnorm", "monitor", "clipnorm + monitor")
    plan = replace(QUICK, layouts=(Layout(2, 10),), options=options)
    *_, watched, clipped = dense.cases(plan)[0].measure()
    assert watched.optimizer == "SGD + monitor"
    assert clipped.optimizer == "SGD + clipnorm + monitor"
    for each in (watched, clipped):
        assert set(each.ratios) == {dense.SPEEDUP, dense.COST}
        assert each.bytes[OURS] == 320


def test_contenders_step_in_turn_and_warm_up_is_not_counted():
    order: list[str] = []
    steps = {name: partial(order.append, name) for name in "AB"}
    samples = timing.interleaved(steps, timing.Repeats(2, 3, 3, 0))
    assert order == ["A", "B"] * 2 + ["A", "A", "B", "B"] * 3
    assert {name: len(each) for name, each in samples.items()} == {"A": 3, "B": 3}


def test_the_ratio_is_the_median_of_the_ratios_of_the_rounds():
    assert timing.ratio([2, 30, 8], [1, 10, 2]).median == 3
    assert timing.spread([1, 2, 3, 4, 5]) == Spread(3, 2, 4)


def test_one_after_the_other_keeps_one_contender_at_a_time():
    alive: list[str] = []

    class Contender:
        def __init__(self, name):
            alive.append(name)
            assert alive == [name]

        def __call__(self):
            pass

        def __del__(self):
            alive.pop()

    makers = {name: partial(Contender, name) for name in "AB"}
    timing.one_after_the_other(makers, timing.Repeats(1, 1, 1, 0))


def test_ids_follow_zipf_s_law_and_change_from_step_to_step():
    ids = updates.zipf(1000, (200, 1000), np.random.default_rng(0))
    assert ids.min() >= 0
    assert ids.max() < 1000
    frequencies = np.sort(np.bincount(ids.ravel(), minlength=1000))[::-1]
    assert frequencies[0] / frequencies[9] == pytest.approx(7, rel=0.2)
    assert not np.array_equal(ids[0], ids[1])


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_a_step_is_one_step(pair):
    optimizer = pair.ours()
    step = updates.dense_step(optimizer, updates.gradients([(3,)]), jit_compile=False)
    step()
    step()
    assert int(optimizer.iterations) == 2


def test_a_step_that_is_out_of_use_gives_its_memory_back():
    variable = keras.Variable([1.0, 2.0])

    def step():
        pass

    updates.empty_with(step, [variable])
    assert variable.value.read_value().shape == (2,)
    del step
    assert int(tf.size(variable.value.read_value())) == 0


def test_the_bandwidth_is_what_a_plus_b_moves():
    assert bandwidth.MOVES * bandwidth.FLOAT_BYTES == 12
    assert bandwidth.bytes_per_second(100_000, 3) > 0


def test_ctrl_c_keeps_the_parts_that_were_complete(fake_parts, tmp_path):
    fake_parts["sparse"] = interrupted
    ended = run("--quick", "--output", str(tmp_path))
    assert ended.exit_code == 130
    assert list(report.read(tmp_path).parts) == ["dense"]


def test_a_part_is_merged_into_the_results(fake_parts, tmp_path):
    assert run("--quick", "--output", str(tmp_path)).exit_code == 0
    before = report.read(tmp_path).parts
    fake_parts["models"] = partial(fake_cases, 2.0)
    ended = run("--quick", "--only", "models", "--output", str(tmp_path))
    assert ended.exit_code == 0
    after = report.read(tmp_path).parts
    assert list(after) == list(before)
    assert after["models"].measurements[0].values[OURS].median == 2.0
    for name in ("dense", "sparse", "memory", "peers", "jax", "torch"):
        assert after[name] == before[name]


def test_a_quick_run_leaves_the_results_of_a_full_one_alone(fake_parts, tmp_path):
    full = Results({"models": part_of(measured("case", "Adam", {OURS: 1.0}, {}))})
    report.write(full, [], tmp_path)
    ended = run("--quick", "--output", str(tmp_path))
    assert ended.exit_code == 2
    assert report.read(tmp_path) == full


@pytest.mark.long
@pytest.mark.parametrize("quick", [False, True])
def test_a_run_writes_to_build_unless_told_where(quick, fake_parts, results_folder):
    ended = run(*["--quick"] * quick)
    assert ended.exit_code == 0
    assert ended.output.rstrip().endswith(f"the results are in {results_folder()}")


def test_peers_that_are_missing_are_left_out(monkeypatch):
    monkeypatch.setattr(peers, "_installed", lambda module: False)
    on_dense, _, on_rows = [
        case.measure()[0] for case in peers.cases(replace(QUICK, peer_rows=100))
    ]
    assert set(on_dense.values) == {OURS, BUILTIN}
    assert set(on_rows.values) == {"exact", LAZY, BUILTIN}


def contender(value: float) -> Contender:
    return Contender(lambda: None, lambda: [np.array([value])])


def test_contenders_of_another_step_are_not_timed():
    same = {OURS: contender(1.0), BUILTIN: contender(1.0 + 1e-7)}
    elsewhere_probe.check_all_take_the_same_step(same)
    with pytest.raises(AssertionError, match="peer"):
        elsewhere_probe.check_all_take_the_same_step(
            same | {"peer": contender(1.0 + 1e-5)}
        )


def test_the_lists_of_variables():
    assert elsewhere.shapes("200 of 64×64") == [(64, 64)] * 200
    count = sum(int(np.prod(shape)) for shape in elsewhere.shapes("ResNet50"))
    model = keras.applications.ResNet50(weights=None)
    biases = sum(
        layer.bias.shape[0]
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    )
    trained = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert count == trained - biases


@pytest.fixture
def fake_parts(monkeypatch):
    """The command with parts that take no time; a test may replace them by name."""
    parts = dict.fromkeys(command.PARTS, partial(fake_cases, 1.0))
    monkeypatch.setattr(command, "PARTS", parts)
    monkeypatch.setattr(main, "_use_tensorflow_on_the_processor", lambda: None)
    monkeypatch.setattr(plots, "write", lambda results, output: None)
    monkeypatch.setattr(bandwidth, "bytes_per_second", lambda *sizes: 1e9)
    return parts


def run(*arguments):
    return CliRunner().invoke(main.app, ["steps", *arguments])


def fake_cases(milliseconds, plan):
    return [Case("fake", lambda: [measured("case", "Adam", {OURS: milliseconds}, {})])]


def interrupted(plan):
    def interrupt():
        raise KeyboardInterrupt

    return [Case("interrupted", interrupt)]


def measured(case, optimizer, values, ratios, mode=GRAPH):
    return Measurement(case, optimizer, mode, spreads(values), spreads(ratios), {})


def spreads(figures):
    return {name: Spread(each, each, each) for name, each in figures.items()}


def part_of(*measurements, bandwidth=1e9, plan=FULL.name):
    return Part(plan, "today", 1.0, 0.0, bandwidth, {}, machine(), measurements)


def machine():
    return {"processor": "none", "cores": 2, "memory_gib": 1.0, "system": "none"}


def at_their_limits(but: tuple[Requirement, str] | None = None) -> Results:
    """Results in which each figure is at its limit, or one of them just beyond."""
    parts: dict[str, list[Measurement]] = {}
    for requirement in REQUIREMENTS:
        for label, figure in requirement.figures.items():
            value = requirement.limit
            if (requirement, label) == but:
                value += -0.02 if requirement.at_least else 0.02
            parts.setdefault(figure.part, []).append(
                measured(
                    figure.case,
                    figure.optimizer,
                    {figure.name: value},
                    {},
                    figure.mode,
                )
            )
    return Results({name: part_of(*each) for name, each in merged(parts).items()})


def merged(parts):
    """The measurements with all values of one case, optimizer and mode in one."""
    found: dict = {}
    for part, measurements in parts.items():
        for each in measurements:
            key = (each.case, each.optimizer, each.mode)
            old = found.setdefault(part, {}).setdefault(key, each)
            found[part][key] = replace(old, values={**old.values, **each.values})
    return {part: list(each.values()) for part, each in found.items()}


def cells(row):
    return [cell.strip() for cell in row.strip("|").split("|")]
