"""The benchmark of steps times equal steps, compares them, and checks its limits."""

import math
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import keras
import numpy as np
import pytest

pytest.importorskip("cpuinfo")
pytest.importorskip("matplotlib")

from benchmarks import rows, suite
from benchmarks.steps import (
    command,
    embeddings,
    limits,
    on_tensorflow,
    pages,
    sizes,
    update,
)
from benchmarks.steps.cases import BUILTIN, LAZY, MAIN, OURS, SIX
from benchmarks.steps.pairs import Contender, Pair, check_same_step, compare
from benchmarks.steps.plans import IN_FULL, PARTS, PLANS
from benchmarks.timing import Repeats

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("benchmark_steps")]

ONCE = Repeats(at_least=1, at_most=1, seconds=0, warm_up=0)
PLAN = replace(
    PLANS[suite.QUICK],
    update={"3 of 4": (*SIX, "AMSGrad")},
    eager=("3 of 4",),
    in_16_bits="3 of 4",
    repeats=ONCE,
)
PAIR = Pair("fit", "torch", "MLP", "Adam", OURS, BUILTIN, "ms", 2.0, 3.0, 1.5, 1.4, 1.6)


def frame(*pairs: Pair):
    return rows.frame(pairs).assign(part="models", cores="2")


def test_ours_and_the_built_in_take_the_same_step_in_each_case():
    found = rows.frame(update.measure(PLAN, on_tensorflow))
    plain = rows.find(found, what="update", other=BUILTIN)
    assert set(plain["case"]) == {*SIX, "AMSGrad"}
    assert set(plain["backend"]) == {"tensorflow", "tensorflow, XLA"}
    narrow = rows.find(found, what="update in 16 bits")
    assert set(narrow["case"]) == set(MAIN)
    assert {"first step", "eager step"} < set(found["what"])


@pytest.mark.parametrize("case", MAIN)
def test_sparse_contenders_take_the_same_first_step(case):
    found = embeddings.contenders(case, embeddings.Batches(rows=20, touched=5))
    assert (LAZY in found) == (case != "SGD")
    check_same_step(found)


def test_a_contender_with_another_step_is_refused():
    def contender(value: float) -> Contender:
        return Contender(lambda: None, lambda: [np.array([value])])

    same = {OURS: contender(1.0), BUILTIN: contender(1.0 + 5e-7)}
    assert set(check_same_step(same)) == {OURS, BUILTIN}
    for other in (1.0 + 1e-5, math.nan):
        with pytest.raises(AssertionError, match="peer takes another step"):
            check_same_step(same | {"peer": contender(other)})


def test_free_empties_the_variables():
    make = partial(update.contender, on_tensorflow, "", "2 of 3")
    contender = make(keras.optimizers.Adam(1e-3))
    contender.step()
    (first, _) = contender.values()
    assert first.shape == (3,)
    contender.free()
    assert [value.size for value in contender.values()] == [0, 0]


def test_a_pair_has_the_median_of_the_ratios_of_each_round():
    samples = {OURS: [1.0, 2.0, 4.0], BUILTIN: [3.0, 2.0, 8.0]}
    names = {"what": "fit", "backend": "jax", "size": "MLP", "case": "Adam"}
    pair = compare(samples, OURS, BUILTIN, **names)
    assert (pair.value, pair.other_value, pair.ratio) == (2.0, 3.0, 2.0)
    assert (pair.low, pair.high) == (1.5, 2.5)


def test_lists_of_variables_have_the_shapes_of_their_titles():
    assert sizes.shapes("200 of 64×64") == [(64, 64)] * 200
    assert sizes.shapes("1 of 20,000,000") == [(20_000_000,)]
    odd = sizes.shapes(sizes.ODD)
    assert len(odd) == 120 and {len(shape) for shape in odd} == {0, 1, 2, 3}
    assert sizes.rows_of(sizes.table_title(10**6)) == 10**6


def test_every_limit_is_on_a_row_of_the_full_plan():
    whats = {"train_on_batch", "fit", "first step", "update", "eager step", "load"}
    whats |= {"update in 16 bits", "lazy update"}
    tables = {sizes.table_title(each) for each in IN_FULL.table_rows}
    known = {"", "two tables", *IN_FULL.models, *IN_FULL.update, *tables}
    for limit in limits.LIMITS.to_dict("records"):
        assert limit["what"] in whats and limit["size"] in known


def test_a_row_below_its_limit_is_printed():
    slow = replace(PAIR, ratio=0.5, case="SGD")
    printed = limits.check(frame(PAIR, slow))
    assert "0.50 < 0.97  torch, 2 cores, MLP" in printed
    assert "fit: SGD (built-in over ours)" in printed and "1.50" not in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_the_sentence_on_slower_rows_names_the_worst():
    rows_ = [PAIR, replace(PAIR, ratio=0.8), replace(PAIR, ratio=0.5, case="SGD")]
    said = pages.slower(frame(*rows_), "models")
    assert said == "PyTorch: 2 of 3 rows, at worst 0.50× (MLP, SGD)"
    assert pages.slower(frame(PAIR), "models") == "none"


def test_the_section_on_models_is_there_once_they_are_measured():
    assert pages.models(rows.frame([PAIR]).assign(part="update")) == ""
    section = pages.models(frame(PAIR, replace(PAIR, ratio=0.5)))
    assert "0.50× to 1.50×" in section and "/models.png)" in section


@pytest.mark.long
@pytest.mark.parametrize("part", PARTS)
def test_a_quick_run_measures_the_part_on_each_backend(part, tmp_path):
    suite.carry_out({part: command.parts(suite.QUICK)[part]}, suite.QUICK, tmp_path)
    found = rows.read(tmp_path)
    assert set(found["part"]) == {part} and (found["value"] > 0).all()
    backends = {backend.partition(",")[0] for backend in found["backend"]}
    assert backends == {it for it in PARTS[part] if find_spec(it)}
    pages.publish(tmp_path)
