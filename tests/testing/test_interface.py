"""`check_optimizer` and `parametrize_with_checks`: results, errors and warnings."""

import functools

import keras
import numpy as np
import pytest

from keras_textbook_opt import SGD, Adam
from keras_textbook_opt.testing import (
    CHECKS,
    CheckFailed,
    CheckSkipped,
    check_optimizer,
    naming,
    optimizer_checks_generator,
    parametrize_with_checks,
    registry,
    verdicts,
)
from keras_textbook_opt.testing.checks import (
    contract,
    equation,
    processes,
    validation,
)
from tests import reference
from tests.testing import messages

COUNTING = "check_iterations"
ALIKE = "check_steps_are_reproducible"
FOLLOWING = "check_reference"


class Uphill(keras.optimizers.Optimizer):
    """Gradient ascent that counts each variable as a step."""

    def update_step(self, gradient, variable, learning_rate):
        variable.assign_add(learning_rate * gradient)
        self._iterations.assign_add(1)


def statuses(factory, **arguments):
    results = check_optimizer(factory, on_fail=None, on_skip=None, **arguments)
    return {result["check_name"]: result["status"] for result in results}


def test_result_has_name_and_status():
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


def test_first_failure_is_raised_with_fix_and_code():
    with pytest.raises(CheckFailed, match="Expected ½‖θ‖² to fall") as failure:
        check_optimizer(Uphill)
    name = "check_fifty_steps_reduce_loss"
    imports = f"import {__name__}; from {contract.__name__} import {name}"
    assert failure.value.code == (imports, f"{name}({__name__}.Uphill)")
    assert "\nFix: Subtract the step" in str(failure.value)


def equation_of_another(t, η, θ, g):
    return θ - 2 * η * g


@pytest.mark.parametrize(
    "factory, given, fails",
    [
        (Uphill, {}, contract.check_iterations),
        (
            functools.partial(Uphill, name="up"),
            {},
            contract.check_fifty_steps_reduce_loss,
        ),
        (
            SGD,
            {"reference": equation_of_another},
            equation.check_reference,
        ),
        (keras.optimizers.SGD, {}, validation.check_invalid_settings),
    ],
)
def test_failure_is_reproduced_by_its_two_lines(factory, given, fails):
    with pytest.raises(CheckFailed) as failure:
        fails(factory, **given)
    with pytest.raises(CheckFailed) as again:
        messages.run_again(failure.value)
    assert str(again.value) == str(failure.value)


def test_local_class_is_written_by_its_name():
    class Local(Uphill):
        pass

    assert naming.written(Local) == ([], Local.__qualname__)
    assert naming.written(functools.partial(Local, 0.1)) == (
        ["functools"],
        f"functools.partial({Local.__qualname__}, 0.1)",
    )


def test_failures_are_warned_or_returned():
    with pytest.warns(UserWarning, match=f"{COUNTING} on Uphill: Expected"):
        results = check_optimizer(Uphill, on_fail="warn", select=COUNTING)
    assert [each["status"] for each in results] == ["failed"]
    assert isinstance(results[0]["exception"], CheckFailed)
    assert statuses(Uphill, select=[COUNTING, ALIKE]) == {
        ALIKE: "passed",
        COUNTING: "failed",
    }


def test_expected_failure_is_xfail_and_strict():
    reasons = {COUNTING: "counts variables"}
    [result] = check_optimizer(Uphill, expected_failed_checks=reasons, select=COUNTING)
    assert result["status"] == "xfail"
    assert result["expected_to_fail_reason"] == "counts variables"
    with pytest.raises(CheckFailed, match="passes, but was expected to fail"):
        check_optimizer(SGD, expected_failed_checks=reasons, select=COUNTING)


class AlsoUphill(Uphill):
    def __init__(self, learning_rate=0.1, beta=0.5, **settings):
        super().__init__(learning_rate=learning_rate, **settings)
        self.beta = beta


def test_failure_of_the_baseline_is_inherited():
    select = [COUNTING, ALIKE]
    found = statuses(AlsoUphill, select=select, baseline=Uphill)
    assert found == {COUNTING: "inherited", ALIKE: "passed"}
    assert statuses(AlsoUphill, select=COUNTING, baseline=SGD) == {COUNTING: "failed"}


def test_failure_for_another_reason_is_not_inherited():
    own = "check_invalid_hyperparameters"
    found = statuses(AlsoUphill, select=own, baseline=keras.optimizers.SGD)
    assert found == {own: "failed"}


def test_skipped_check_says_why():
    with pytest.warns(
        UserWarning, match=f"{FOLLOWING} on SGD: not applicable: no equation given"
    ):
        [result] = check_optimizer(SGD, select=FOLLOWING)
    assert result["status"] == "skipped"
    assert isinstance(result["exception"], CheckSkipped)


def test_callback_receives_each_result():
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
        {"select": "state"},
        {"deselect": "check_of_nothing"},
        {"expected_failed_checks": {"check_of_nothing": "because"}},
    ],
)
def test_invalid_arguments_raise(wrong):
    with pytest.raises(ValueError):
        check_optimizer(SGD, **wrong)


@pytest.mark.parametrize(
    "wrong", [Adam(), "adam", None], ids=["an optimizer", "a name", "None"]
)
def test_factory_that_is_not_callable_raises(wrong):
    with pytest.raises(ValueError, match="Expected a class or a function"):
        check_optimizer(wrong, select=COUNTING, on_skip=None)
    with pytest.raises(ValueError, match="Expected a class or a function"):
        parametrize_with_checks([wrong])


def test_single_factory_raises():
    with pytest.raises(ValueError, match="Expected a list"):
        parametrize_with_checks(Adam)


def names(**selection):
    return [check.__name__ for _, check in optimizer_checks_generator(SGD, **selection)]


def test_checks_are_selected_by_group_name_and_pattern():
    assert COUNTING in names(select="group:contract")
    assert FOLLOWING not in names(select="group:contract")
    assert names(select="check_iterations") == [COUNTING]
    assert len(names(select="check_sparse_*")) == 14
    assert COUNTING not in names(select="quick", deselect=COUNTING)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_check_has_promise_reason_and_fix(check):
    assert check.__name__.startswith("check_")
    assert registry.sentence(check).endswith(".")
    assert registry.section(check, "Why").endswith(".")
    assert registry.section(check, "Fix").endswith(".")


def test_check_names_are_unique():
    assert len(set(names())) == len(CHECKS)


def test_constructor_that_raises_fails_one_check():
    def never(**arguments):
        raise RuntimeError("no optimizer today")

    found = statuses(never)
    failed = [name for name, status in found.items() if status == "failed"]
    assert failed == ["check_learning_rate_moves_variables"]
    assert set(found.values()) == {"failed", "skipped"}


def test_constructor_with_another_argument_fails_one_check():
    found = check_optimizer(
        keras.optimizers.LossScaleOptimizer, on_fail=None, on_skip=None, select="quick"
    )
    [failed] = [each for each in found if each["status"] != "skipped"]
    assert "cannot be made: TypeError" in str(failed["exception"])


def test_messages_of_one_failure_are_the_same_without_details():
    some = "<Variable path=sequential/kernel, shape=(4, 3), value=[[-1.3 nan]]> at 0x7f"
    other = "<Variable path=sequential_2/kernel, shape=(5,), value=[2e-3]> at 0x1a2"
    assert verdicts.without_details(some) == verdicts.without_details(other)
    some, other = "no file /tmp/tmpx1/model.h5", "no file /tmp/tmp_ab/model.h5"
    assert verdicts.without_details(some) == verdicts.without_details(other)


@pytest.mark.needs("fit")
def test_process_ends_with_the_run():
    with processes.running(SGD):
        [process] = processes._RUNNING.values()
        assert process.poll() is None
    assert process.poll() is not None


def test_bug_of_a_check_is_not_a_fault_of_the_optimizer(monkeypatch):
    monkeypatch.setattr(contract, "assert_same", None)
    [result] = check_optimizer(SGD, select=ALIKE, on_fail=None)
    assert result["status"] == "error"
    assert "the checker has a bug, please report it" in str(result["exception"])


ADAM = functools.partial(reference.adam, β_1=0.9, β_2=0.999, ε=1e-8)


def adam(t, η, θ, g, m=0.0, v=0.0):
    return ADAM(θ, m, v, g, t=t, η=η)


def adam_of_swapped_betas(t, η, θ, g, m=0.0, v=0.0):
    return reference.adam(θ, m, v, g, t=t, η=η, β_1=0.999, β_2=0.9, ε=1e-8)


def adam_with_epsilon_inside_the_root(t, η, θ, g, m=0.0, v=0.0):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
    η_t = η * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    return θ - η_t * m / np.sqrt(v + 1e-7), m, v


def test_reference_is_compared():
    assert statuses(Adam, reference=adam, select=FOLLOWING) == {FOLLOWING: "passed"}
    for wrong in (adam_of_swapped_betas, adam_with_epsilon_inside_the_root):
        with pytest.raises(CheckFailed, match=r"differ by .* % of the movement"):
            check_optimizer(Adam, reference=wrong, select="group:equation")
    assert equation.check_reference.__name__ == FOLLOWING


@parametrize_with_checks([SGD, functools.partial(Adam, amsgrad=True)], select=COUNTING)
def test_parametrized_checks_run(factory, check):
    check(factory)


def test_parametrized_ids_have_factory_and_check():
    factories = [SGD, functools.partial(Adam, amsgrad=True)]
    mark = parametrize_with_checks(factories, select=COUNTING)
    assert [case.id for case in mark.args[1]] == [
        f"SGD-{COUNTING}",
        f"Adam(amsgrad=True)-{COUNTING}",
    ]


def test_expected_failures_become_strict_marks():
    mark = parametrize_with_checks(
        [Uphill], expected_failed_checks=lambda _: {COUNTING: "why"}, select=COUNTING
    )
    [case] = mark.args[1]
    assert [(m.name, m.kwargs) for m in case.marks] == [
        ("xfail", {"reason": "why", "strict": True})
    ]
