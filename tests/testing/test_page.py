"""Each check says what is promised, why and how to mend it, and so does the page."""

import inspect

import pytest

from benchmarks import readme
from benchmarks.conformance.listed import listed
from keras_textbook_opt.testing import CHECKS, registry

pytestmark = pytest.mark.once

of_every_check = pytest.mark.parametrize(
    "check", CHECKS, ids=lambda check: check.__name__
)


@of_every_check
def test_a_check_says_what_is_promised_why_and_how_to_mend_it(check):
    assert check.__name__.startswith("check_")
    assert registry.sentence(check).endswith(".")
    assert registry.section(check, "Why").endswith(".")
    assert registry.section(check, "Mend").endswith(".")


def test_no_two_checks_have_one_name():
    assert len({check.__name__ for check in CHECKS}) == len(CHECKS)


def test_the_page_is_that_of_these_checks():
    """`python -m benchmarks readme` renews it."""
    written = (readme.ROOT / "docs" / "checks.md").read_text()
    assert written == readme.renewed(written)
    assert all(f"**`{check.__name__}`**" in written for check in CHECKS)


def test_an_entry_has_the_three_parts_of_the_docstring():
    check = CHECKS[0]
    promise, *_ = (inspect.getdoc(check) or "").splitlines()
    entry = next(line for line in listed().splitlines() if check.__name__ in line)
    assert entry == f"- **`{check.__name__}`** {promise}"
    assert "*Why:*" in listed() and "*To mend it:*" in listed()
