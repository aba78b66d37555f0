"""What one backend saved, another loads, and goes on as if it were its own."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.processes import run
from tests.programs import move_between_backends

OTHERS = ["jax"]
if importlib.util.find_spec("torch"):
    OTHERS.append("torch")
BACKENDS = ["tensorflow", *OTHERS]


@pytest.mark.long
def test_every_backend_goes_on_from_the_files_of_every_other(tmp_path: Path):
    move_between_backends.save(tmp_path)
    folder = str(tmp_path)
    run(
        *(
            ("tests.programs.move_between_backends", b, folder, *BACKENDS)
            for b in OTHERS
        )
    )
    move_between_backends.load(tmp_path, *BACKENDS)


def test_values_are_set_whatever_their_width():
    move_between_backends.check_set_weights()


def test_a_built_in_is_taken_over_and_back():
    move_between_backends.check_built_ins()
