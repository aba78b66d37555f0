"""A file that one process saved is continued in another, on any backend."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends import BACKEND
from tests.processes import run
from tests.programs import other_process

pytestmark = [pytest.mark.long, pytest.mark.needs("fit")]
PROGRAM = "tests.programs.other_process"
OTHERS = {"torch": ["tensorflow", "jax"], "tensorflow": ["jax"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    other_process.save(folder)
    return folder


def test_a_fresh_process_continues_bit_for_bit(folder: Path):
    run((PROGRAM, BACKEND, "resume", str(folder), BACKEND))


@pytest.mark.parametrize("other", OTHERS.get(BACKEND, []))
def test_two_backends_continue_from_each_other(other: str, folder: Path):
    run((PROGRAM, other, "save", str(folder)))
    run((PROGRAM, other, "resume", str(folder), BACKEND))
    other_process.resume(folder, other)
