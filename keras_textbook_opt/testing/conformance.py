"""All checks on one optimizer: `check_optimizer`, and a generator of them."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypedDict

from keras_textbook_opt.testing import registry
from keras_textbook_opt.testing.checks import equation
from keras_textbook_opt.testing.naming import shown
from keras_textbook_opt.testing.verdicts import CheckSkipped

Status = Literal["passed", "failed", "skipped", "xfail"]
Check = Callable[[Any], None]


class Result(TypedDict):
    """What one check said of one optimizer."""

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
) -> Iterator[tuple[Any, Check]]:
    """Yield `(factory, check)` for each check; `check(factory)` runs it.

    Args:
        factory: An optimizer class, or a callable that passes keyword arguments on to
            one.
        reference: The equation in NumPy, as at `check_optimizer`.
        select: A part of a check's name, a group of checks, or a list of these.

    Raises:
        ValueError: `factory` is no callable, such as an optimizer that is made already.
    """
    if not callable(factory):
        raise ValueError(
            "Expected a class or a function that makes an optimizer, such as `Adam` or "
            f"`functools.partial(Adam, beta_1=0.5)`. Received: {factory!r}"
        )
    for check in registry.selected(select):
        if reference is not None and check is equation.check_follows_the_reference:
            check = functools.partial(check, reference=reference)
        yield factory, check


def check_optimizer(
    factory: Any,
    *,
    expected_failed_checks: Mapping[str, str] | None = None,
    on_skip: Literal["warn"] | None = "warn",
    on_fail: Literal["raise", "warn"] | None = "raise",
    callback: Callable[..., None] | None = None,
    reference: Callable | None = None,
    select: str | list[str] | None = None,
) -> list[Result]:
    """Say which promises of a Keras optimizer an optimizer keeps.

    Args:
        factory: An optimizer class, or a callable that passes keyword arguments on to
            one. `learning_rate` is always among them.
        expected_failed_checks: Names of checks that are known to fail, each with the
            reason; their status is `"xfail"`, and nothing is raised.
        on_skip: `"warn"` of each check that proves nothing here, or `None`.
        on_fail: `"raise"` at the first failure, `"warn"` of each, or `None`.
        callback: Called after each check with the entries of its result by keyword.
        reference: The equation in NumPy: `reference(t, η, θ, g, *slots)` returns the
            new `θ` and the new slots; where no slots are given, it starts them.
        select: A part of a check's name, a group of checks, or a list of these.

    Returns:
        A dict for each check: `optimizer`, `check_name`, `status` (`"passed"`,
        `"failed"`, `"skipped"` or `"xfail"`), `exception`, `expected_to_fail`,
        `expected_to_fail_reason` and `seconds`.

    Raises:
        CheckFailed: A check has failed that was not expected to.
        ValueError: An argument is not one of those above.
    """
    _check_choice("on_skip", on_skip, ("warn", None))
    _check_choice("on_fail", on_fail, ("raise", "warn", None))
    reasons = dict(expected_failed_checks or {})
    _check_names(reasons)
    results = []
    for _, check in optimizer_checks_generator(
        factory, reference=reference, select=select
    ):
        result = _result(factory, check, reasons)
        results.append(result)
        if callback is not None:
            callback(**result)
        _report(result, on_skip, on_fail)
    return results


def _result(factory: Any, check: Check, reasons: Mapping[str, str]) -> Result:
    name = name_of(check)
    started = time.perf_counter()
    exception: Exception | None = None
    status: Status = "passed"
    try:
        check(factory)
    except CheckSkipped as skipped:
        status, exception = "skipped", skipped
    except Exception as failure:
        status, exception = "xfail" if name in reasons else "failed", failure
    return Result(
        optimizer=factory,
        check_name=name,
        status=status,
        exception=exception,
        expected_to_fail=name in reasons,
        expected_to_fail_reason=reasons.get(name),
        seconds=time.perf_counter() - started,
    )


def _report(result: Result, on_skip: str | None, on_fail: str | None) -> None:
    subject = f"{result['check_name']} on {shown(result['optimizer'])}"
    if result["status"] == "skipped" and on_skip == "warn":
        warnings.warn(f"{subject}: {result['exception']}", stacklevel=3)
    if result["status"] == "failed" and result["exception"] is not None:
        if on_fail == "raise":
            raise result["exception"]
        if on_fail == "warn":
            warnings.warn(f"{subject}: {result['exception']}", stacklevel=3)


def name_of(check: Check) -> str:
    """The name of a check, also of one that has been given its equation."""
    while isinstance(check, functools.partial):
        check = check.func
    return check.__name__


def _check_choice(name: str, value: Any, choices: tuple) -> None:
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, choices))}. Received: "
            f"{name}={value!r}"
        )


def _check_names(reasons: Mapping[str, str]) -> None:
    unknown = reasons.keys() - {check.__name__ for check in registry.CHECKS}
    if unknown:
        raise ValueError(
            "Expected names of checks in `expected_failed_checks`. Received: "
            f"{', '.join(sorted(unknown))}"
        )
