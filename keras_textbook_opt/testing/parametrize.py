"""A test for each check: the decorator `parametrize_with_checks` of pytest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from keras_textbook_opt.testing.conformance import (
    check_names,
    name_of,
    optimizer_checks_generator,
)
from keras_textbook_opt.testing.naming import shown

if TYPE_CHECKING:
    import pytest


def parametrize_with_checks(
    factories: Iterable[Any],
    *,
    expected_failed_checks: Callable[[Any], Mapping[str, str]] | None = None,
    select: str | list[str] | None = None,
    deselect: str | list[str] | None = None,
    baseline: Any = None,
    reference: Callable | None = None,
) -> pytest.MarkDecorator:
    """Make a test for each check of each optimizer, with a readable id.

        @parametrize_with_checks([MyLion, functools.partial(MyLion, weight_decay=0.1)])
        def test_my_optimizers(factory, check):
            check(factory)

    Args:
        factories: Optimizer classes, or callables that pass keyword arguments on.
        expected_failed_checks: A function of a factory that returns the names of the
            checks that are known to fail on it, each with the reason. A test that
            passes unexpectedly fails.
        select: Names, patterns or groups of checks, as at `check_optimizer`.
        deselect: The same for checks to leave out.
        baseline: As at `check_optimizer`; the test of an inherited failure is skipped.
        reference: As at `check_optimizer`.

    Raises:
        ValueError: `factories` is a single factory, or contains something else.
    """
    import pytest

    if callable(factories):
        raise ValueError(f"Expected a list of optimizers. Received: {factories!r}")
    cases = []
    for factory in factories:
        reasons = expected_failed_checks(factory) if expected_failed_checks else {}
        check_names(reasons)
        for _, check in optimizer_checks_generator(
            factory,
            select=select,
            deselect=deselect,
            baseline=baseline,
            reference=reference,
        ):
            name = name_of(check)
            marks = (
                [pytest.mark.xfail(reason=reasons[name], strict=True)]
                if name in reasons
                else []
            )
            cases.append(
                pytest.param(factory, check, marks=marks, id=f"{shown(factory)}-{name}")
            )
    return pytest.mark.parametrize("factory, check", cases)
