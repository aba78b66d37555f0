"""A state that waits for its variables shows what it has, and bears to be changed.

On JAX and PyTorch `test_other_backends` says so.
"""

from __future__ import annotations

import pytest

from tests.programs import waiting_states
from tests.programs.waiting_states import CASES, CHECKS

pytestmark = pytest.mark.needs("tensorflow")

of_every_case = pytest.mark.parametrize("case", CASES, ids="".join)


@of_every_case
def test_it_shows_the_count_of_the_file_and_the_rate_of_a_schedule(case):
    waiting_states.check_what_it_shows(case)


@of_every_case
@pytest.mark.parametrize("eager", [True, False], ids=["eager", "graph"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__[6:])
def test_the_later_word_of_the_user_wins(check, case, eager: bool):
    check(case, eager)
