"""What one backend saved, another loads, and goes on as if it were its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import run
from tests.programs import move_between_backends

pytestmark = pytest.mark.needs("tensorflow")


@pytest.mark.parametrize(
    "others",
    [
        pytest.param(["jax"], marks=pytest.mark.long),
        pytest.param(["jax", "torch"], marks=pytest.mark.torch),
    ],
    ids=" ".join,
)
def test_every_backend_goes_on_from_the_files_of_every_other(
    others: list[str], tmp_path: Path
):
    backends, folder = ["tensorflow", *others], str(tmp_path)
    move_between_backends.save(tmp_path)
    program = "tests.programs.move_between_backends"
    run(*((program, backend, folder, *backends) for backend in others))
    move_between_backends.load(tmp_path, *backends)


def test_values_are_set_whatever_their_width():
    move_between_backends.check_set_weights()


def test_a_built_in_is_taken_over_and_back():
    move_between_backends.check_built_ins()
