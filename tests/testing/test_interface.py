"""What `check_optimizer` and its kin return, raise, warn of and call."""

import functools

import keras
import pytest

from keras_textbook_opt import SGD, Adam
from keras_textbook_opt.testing import (
    CheckFailed,
    CheckSkipped,
    check_optimizer,
    naming,
    optimizer_checks_generator,
    parametrize_with_checks,
)
from keras_textbook_opt.testing.checks import clips, contract, equation
from tests import reference
from tests.testing import messages

COUNTING = "check_iterations_count_the_steps"
ALIKE = "check_two_instances_step_alike"
FOLLOWING = "check_follows_the_reference"


class Uphill(keras.optimizers.Optimizer):
    """Gradient ascent that counts each variable as a step."""

    def update_step(self, gradient, variable, learning_rate):
        variable.assign_add(learning_rate * gradient)
        self._iterations.assign_add(1)


def statuses(factory, **arguments):
    results = check_optimizer(factory, on_fail=None, on_skip=None, **arguments)
    return {result["check_name"]: result["status"] for result in results}


def test_a_result_says_what_was_checked_and_how_it_went():
    [result] = check_optimizer(Adam, select=COUNTING)
    assert result["seconds"] > 0
    assert result | {"seconds": 0} == {
        "optimizer": Adam,
        "check_name": COUNTING,
        "status": "passed",
        "exception": None,
        "expected_to_fail": False,
        "expected_to_fail_reason": None,
        "seconds": 0,
    }


def test_the_first_failure_is_raised_and_says_how_to_mend_and_to_see_it_again():
    with pytest.raises(CheckFailed, match="Expected ½‖θ‖² to fall") as failure:
        check_optimizer(Uphill)
    *_, line, call = str(failure.value).splitlines()
    assert "To mend it: Subtract the step" in str(failure.value)
    name = "check_fifty_steps_descend"
    assert line.strip() == f"import {__name__}; from {contract.__name__} import {name}"
    assert call.strip() == f"{name}({__name__}.Uphill)"


def equation_of_another(t, η, θ, g):
    return θ - 2 * η * g


@pytest.mark.parametrize(
    "factory, given, fails",
    [
        (Uphill, {}, contract.check_iterations_count_the_steps),
        (functools.partial(Uphill, name="up"), {}, contract.check_fifty_steps_descend),
        (
            SGD,
            {"reference": equation_of_another},
            equation.check_follows_the_reference,
        ),
        (keras.optimizers.SGD, {}, clips.check_huge_gradients_keep_their_direction),
    ],
)
def test_a_failure_has_its_size_and_two_lines_that_raise_it_again(
    factory, given, fails
):
    with pytest.raises(CheckFailed) as failure:
        fails(factory, **given)
    assert messages.has_its_size(failure.value)
    with pytest.raises(CheckFailed) as again:
        messages.run_again(failure.value)
    assert str(again.value) == str(failure.value)


def test_what_no_other_place_can_import_is_written_by_its_name():
    class Local(Uphill):
        pass

    assert naming.written(Local) == ([], Local.__qualname__)
    assert naming.written(functools.partial(Local, 0.1)) == (
        ["functools"],
        f"functools.partial({Local.__qualname__}, 0.1)",
    )


def test_failures_are_warned_of_or_kept():
    with pytest.warns(UserWarning, match=f"{COUNTING} on Uphill: Expected"):
        results = check_optimizer(Uphill, on_fail="warn", select=COUNTING)
    assert [each["status"] for each in results] == ["failed"]
    assert isinstance(results[0]["exception"], CheckFailed)
    assert statuses(Uphill, select=[COUNTING, ALIKE]) == {
        ALIKE: "passed",
        COUNTING: "failed",
    }


def test_an_expected_failure_is_no_failure():
    reasons = {COUNTING: "counts variables"}
    [result] = check_optimizer(Uphill, expected_failed_checks=reasons, select=COUNTING)
    assert result["status"] == "xfail"
    assert result["expected_to_fail"]
    assert result["expected_to_fail_reason"] == "counts variables"
    [result] = check_optimizer(SGD, expected_failed_checks=reasons, select=COUNTING)
    assert result["status"] == "passed"
    assert result["expected_to_fail"]


def test_what_is_skipped_says_what_it_waits_for():
    with pytest.warns(UserWarning, match=f"{FOLLOWING} on SGD: waits for the equation"):
        [result] = check_optimizer(SGD, select=FOLLOWING)
    assert result["status"] == "skipped"
    assert isinstance(result["exception"], CheckSkipped)


def test_the_callback_gets_each_result_as_it_comes():
    seen = []
    results = check_optimizer(
        SGD, select=[COUNTING, ALIKE], callback=lambda **result: seen.append(result)
    )
    assert seen == results


@pytest.mark.parametrize(
    "wrong",
    [
        {"on_fail": "stop"},
        {"on_skip": "raise"},
        {"select": "check_of_nothing"},
        {"expected_failed_checks": {"check_of_nothing": "because"}},
    ],
)
def test_arguments_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="Received"):
        check_optimizer(SGD, **wrong)


@pytest.mark.parametrize("wrong", [Adam(), "adam", None], ids=repr)
def test_what_makes_no_optimizer_is_refused_and_passes_for_none(wrong):
    with pytest.raises(ValueError, match="Expected a class or a function"):
        check_optimizer(wrong, select=COUNTING, on_skip=None)
    with pytest.raises(ValueError, match="Expected a class or a function"):
        parametrize_with_checks([wrong])


def test_one_optimizer_is_no_list():
    with pytest.raises(ValueError, match="Expected a list"):
        parametrize_with_checks(Adam)


def test_a_group_is_selected_by_its_name():
    names = {c.__name__ for _, c in optimizer_checks_generator(SGD, select="contract")}
    assert COUNTING in names
    assert FOLLOWING not in names


def test_what_cannot_be_made_fails_one_check_and_the_others_wait_for_it():
    def never(**arguments):
        raise RuntimeError("no optimizer today")

    found = statuses(never)
    failed = [name for name, status in found.items() if status == "failed"]
    assert failed == ["check_a_rate_moves_the_variables"]
    assert set(found.values()) == {"failed", "skipped"}


@pytest.mark.parametrize("wrong", [None, []])
def test_a_bug_of_a_check_is_no_fault_of_the_optimizer(monkeypatch, wrong):
    """Also one that shows in what it calls of NumPy."""
    monkeypatch.setattr(contract, "START", wrong)
    with pytest.raises((TypeError, ValueError)) as bug:
        contract.check_two_instances_step_alike(SGD)
    assert not isinstance(bug.value, CheckFailed)


ADAM = functools.partial(reference.adam, β_1=0.9, β_2=0.999, ε=1e-8)


def adam(t, η, θ, g, m=0.0, v=0.0):
    return ADAM(θ, m, v, g, t=t, η=η)


def adam_of_swapped_betas(t, η, θ, g, m=0.0, v=0.0):
    return reference.adam(θ, m, v, g, t=t, η=η, β_1=0.999, β_2=0.9, ε=1e-8)


def test_the_equation_is_followed_or_not():
    assert statuses(Adam, reference=adam, select=FOLLOWING) == {FOLLOWING: "passed"}
    with pytest.raises(CheckFailed, match=r"off by .* of the movement after 6 steps"):
        check_optimizer(Adam, reference=adam_of_swapped_betas, select="equation")
    assert equation.check_follows_the_reference.__name__ == FOLLOWING


@parametrize_with_checks([SGD, functools.partial(Adam, amsgrad=True)], select=COUNTING)
def test_a_test_is_made_for_each_check(factory, check):
    check(factory)


def test_the_ids_of_these_tests_read_well():
    factories = [SGD, functools.partial(Adam, amsgrad=True)]
    mark = parametrize_with_checks(factories, select=COUNTING)
    assert [case.id for case in mark.args[1]] == [
        f"SGD-{COUNTING}",
        f"Adam(amsgrad=True)-{COUNTING}",
    ]


def test_expected_failures_become_marks():
    mark = parametrize_with_checks(
        [Uphill], expected_failed_checks=lambda _: {COUNTING: "why"}, select=COUNTING
    )
    [case] = mark.args[1]
    assert [(m.name, m.kwargs) for m in case.marks] == [("xfail", {"reason": "why"})]
