"""All checks on one optimizer: `check_optimizer`, and a generator of them."""

from __future__ import annotations

import contextlib
import functools
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Literal, TypedDict

from keras_textbook_opt.testing import registry
from keras_textbook_opt.testing.checks import equation, processes
from keras_textbook_opt.testing.naming import shown
from keras_textbook_opt.testing.verdicts import CheckFailed, CheckSkipped, Inherited

Status = Literal["passed", "failed", "skipped", "inherited", "xfail", "xpass", "error"]
FAILURES = ("failed", "xpass", "error")
"""The statuses of a run that fails."""
Check = Callable[[Any], None]


class Result(TypedDict):
    """The outcome of one check of one optimizer."""

    optimizer: Any
    check_name: str
    status: Status
    exception: Exception | None
    expected_to_fail: bool
    expected_to_fail_reason: str | None
    seconds: float


def optimizer_checks_generator(
    factory: Any,
    *,
    reference: Callable | None = None,
    select: str | list[str] | None = None,
    deselect: str | list[str] | None = None,
    baseline: Any = None,
) -> Iterator[tuple[Any, Check]]:
    """Yield `(factory, check)` for each check; `check(factory)` runs it.

    Args:
        factory: An optimizer class, or a callable that passes keyword arguments on to
            one.
        reference: The equation in NumPy, as at `check_optimizer`.
        select: Names, patterns or groups of checks, as at `check_optimizer`.
        deselect: The same for checks to leave out.
        baseline: As at `check_optimizer`. An inherited failure raises `Inherited`,
            which pytest reports as skipped.

    Raises:
        ValueError: `factory` is not callable, for example an optimizer instance.
    """
    baselines = _as_list(baseline)
    for each in [factory, *baselines]:
        _check_factory(each)
    for check in registry.selected(select, deselect):
        if reference is not None and check is equation.check_reference:
            check = functools.partial(check, reference=reference)
        if baselines:
            check = functools.partial(_unless_inherited, check, baselines)
        yield factory, check


def _check_factory(factory: Any) -> None:
    if not callable(factory):
        raise ValueError(
            "Expected a class or a function that makes an optimizer, such as `Adam` or "
            f"`functools.partial(Adam, beta_1=0.5)`. Received: {factory!r}"
        )


def _as_list(baseline: Any) -> list:
    if baseline is None:
        return []
    return list(baseline) if isinstance(baseline, Iterable) else [baseline]


def _unless_inherited(check: Check, baselines: list, factory: Any) -> None:
    """Run a check. A failure that a baseline has as well is `Inherited`."""
    try:
        check(factory)
    except CheckFailed as failed:
        for baseline in baselines:
            if failed.reasons <= _reasons(name_of(check), baseline):
                raise Inherited(f"{shown(baseline)} fails as well") from failed
        raise


@functools.cache
def _reasons(name: str, baseline: Any) -> frozenset[str]:
    """Why a check fails on a baseline; nothing if it does not fail."""
    [check] = registry.selected(name)
    try:
        check(baseline)
    except CheckFailed as failed:
        return failed.reasons
    except Exception:  # skipped there
        return frozenset()
    return frozenset()


def check_optimizer(
    factory: Any,
    *,
    expected_failed_checks: Mapping[str, str] | None = None,
    on_skip: Literal["warn"] | None = "warn",
    on_fail: Literal["raise", "warn"] | None = "raise",
    callback: Callable[..., None] | None = None,
    reference: Callable | None = None,
    select: str | list[str] | None = None,
    deselect: str | list[str] | None = None,
    baseline: Any = None,
) -> list[Result]:
    """Run conformance checks on an optimizer.

    Args:
        factory: An optimizer class, or a callable that passes keyword arguments on to
            one. `learning_rate` is always among them.
        expected_failed_checks: Names of checks that are known to fail, each with the
            reason; their status is `"xfail"`. One that passes is a failure, with the
            status `"xpass"`.
        on_skip: `"warn"` of each check that does not apply, or `None`.
        on_fail: `"raise"` at the first failure, `"warn"` of each, or `None`.
        callback: Called after each check with the entries of its result by keyword.
        reference: The equation in NumPy: `reference(t, η, θ, g, *slots)` returns the
            new `θ` and the new slots. It starts the slots if none are given.
        select: A check's name, a pattern such as `"check_sparse_*"`, a group such as
            `"group:state"`, `"quick"`, or a list of these.
        deselect: The same for checks to leave out.
        baseline: An optimizer class to compare with, or a list of them. A check that
            fails on it for the same reason has the status `"inherited"` and is not a
            failure.

    Returns:
        A dict for each check: `optimizer`, `check_name`, `status` (`"passed"`,
        `"failed"`, `"skipped"`, `"inherited"`, `"xfail"`, `"xpass"`, or `"error"` for a
        bug of the checker), `exception`, `expected_to_fail`, `expected_to_fail_reason`
        and `seconds`.

    Raises:
        CheckFailed: A check fails that was not expected to, or the reverse.
        ValueError: An argument is not one of those above.
    """
    _check_choice("on_skip", on_skip, ("warn", None))
    _check_choice("on_fail", on_fail, ("raise", "warn", None))
    checks = optimizer_checks_generator(
        factory,
        reference=reference,
        select=select,
        deselect=deselect,
        baseline=baseline,
    )
    results = []
    with contextlib.closing(results_of(checks, expected_failed_checks or {})) as found:
        for result in found:
            results.append(result)
            if callback is not None:
                callback(**result)
            _report(result, on_skip, on_fail)
    return results


def results_of(
    checks: Iterable[tuple[Any, Check]], reasons: Mapping[str, str]
) -> Generator[Result, None, None]:
    """Run checks one by one; close the iterator to end the process beside them.

    Raises:
        ValueError: `reasons` names something else than checks.
    """
    check_names(reasons)
    pairs = list(checks)
    with contextlib.ExitStack() as started:
        if any(_group(check) == "processes" for _, check in pairs):
            started.enter_context(processes.running(pairs[0][0]))
        for factory, check in pairs:
            yield _result(factory, check, reasons)


def _result(factory: Any, check: Check, reasons: Mapping[str, str]) -> Result:
    name = name_of(check)
    started = time.perf_counter()
    status, exception = _outcome(factory, check)
    if name in reasons and status in ("failed", "inherited"):
        status = "xfail"
    if name in reasons and status == "passed":
        status, exception = "xpass", _passes(name, reasons[name])
    return Result(
        optimizer=factory,
        check_name=name,
        status=status,
        exception=exception,
        expected_to_fail=name in reasons,
        expected_to_fail_reason=reasons.get(name),
        seconds=time.perf_counter() - started,
    )


def _outcome(factory: Any, check: Check) -> tuple[Status, Exception | None]:
    try:
        check(factory)
    except Inherited as inherited:
        return "inherited", inherited
    except CheckSkipped as skipped:
        return "skipped", skipped
    except CheckFailed as failure:
        return "failed", failure
    except Exception as error:
        return "error", error
    return "passed", None


def _passes(name: str, reason: str) -> CheckFailed:
    failed = CheckFailed(f"passes, but was expected to fail ({reason}).")
    failed.fix = f"Remove {name} from the expected failures."
    return failed


def _report(result: Result, on_skip: str | None, on_fail: str | None) -> None:
    subject = f"{result['check_name']} on {shown(result['optimizer'])}"
    if result["status"] == "skipped" and on_skip == "warn":
        warnings.warn(f"{subject}: {result['exception']}", stacklevel=3)
    if result["status"] in FAILURES and result["exception"] is not None:
        if on_fail == "raise":
            raise result["exception"]
        if on_fail == "warn":
            warnings.warn(f"{subject}: {result['exception']}", stacklevel=3)


def name_of(check: Check) -> str:
    """The name of a check, also of one with a reference or a baseline."""
    return _inner(check).__name__


def _inner(check: Check) -> Check:
    while isinstance(check, functools.partial):
        check = check.args[0] if check.args else check.func
    return check


def _group(check: Check) -> str:
    return registry.group(_inner(check))


def _check_choice(name: str, value: Any, choices: tuple) -> None:
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, choices))}. Received: "
            f"{name}={value!r}"
        )


def check_names(reasons: Mapping[str, str]) -> None:
    """Raise a `ValueError` unless all names are names of checks."""
    unknown = reasons.keys() - {check.__name__ for check in registry.CHECKS}
    if unknown:
        raise ValueError(
            "Expected names of checks as expected failures. Received: "
            f"{', '.join(sorted(unknown))}"
        )
