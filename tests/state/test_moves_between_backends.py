"""What one backend saved, another loads, and goes on as if it were its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends import BACKEND
from tests.processes import run
from tests.programs import move_between_backends


@pytest.mark.long
@pytest.mark.once
def test_every_backend_goes_on_from_the_files_of_every_other(tmp_path: Path):
    assert_goes_on(["jax"], tmp_path)


@pytest.mark.needs("torch")
def test_pytorch_goes_on_from_the_files_of_the_others(tmp_path: Path):
    assert_goes_on(["tensorflow", "jax"], tmp_path)


def assert_goes_on(others: list[str], folder: Path) -> None:
    move_between_backends.save(folder)
    program, backends = "tests.programs.move_between_backends", [BACKEND, *others]
    run(*((program, other, str(folder), *backends) for other in others))
    move_between_backends.load(folder, *backends)


def test_values_are_set_whatever_their_width():
    move_between_backends.check_set_weights()


def test_a_built_in_is_taken_over_and_back():
    move_between_backends.check_built_ins()
