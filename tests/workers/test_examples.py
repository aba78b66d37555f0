"""The examples run as they are written, and train."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

pytestmark = [pytest.mark.workers, pytest.mark.xdist_group("workers")]
EXAMPLES = ROOT / "examples"


def run(name: str, *arguments: str) -> str:
    """The output of the example."""
    program = [sys.executable, str(EXAMPLES / name), *arguments]
    settings = os.environ | {"PYTHONPATH": str(ROOT)}
    del settings["KERAS_BACKEND"]
    return subprocess.run(
        program,
        env=settings,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    ).stdout


def numbers(pattern: str, printed: str) -> list[float]:
    return [float(number) for number in re.findall(pattern, printed)]


@pytest.mark.needs("tensorflow")
def test_a_killed_worker_does_not_change_the_weights_at_the_end(tmp_path: Path):
    undisturbed = run("supervise.py", "2", str(tmp_path / "undisturbed"))
    killed = run("supervise.py", "2", str(tmp_path / "killed"), "--kill-after-epoch=2")
    assert "a worker died: starting all again" in killed
    assert killed.splitlines()[-1] == undisturbed.splitlines()[-1]
    losses = numbers(r"loss (\S+)", undisturbed)
    assert len(losses) == 6
    assert losses[-1] < losses[0] / 2


@pytest.mark.needs("jax")
@pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="Keras has an OrbaxCheckpoint since 3.13, which wants Python 3.11",
)
def test_a_split_model_resumes_from_its_save(tmp_path: Path):
    printed = run("jax_sharded.py", str(tmp_path / "saves"))
    assert "m beside a kernel of (32, 256): (32, 64)" in printed
    assert "resumes after step 96" in printed
    losses = numbers(r"loss: (\S+)", printed)
    assert len(losses) == 5
    assert losses[3] < 1.1 * losses[2]


@pytest.mark.needs("torch")
def test_processes_of_pytorch_train_together():
    right = numbers(r"epoch \d of 5: (\S+)% right", run("torch_ddp.py"))
    assert len(right) == 5
    assert right[-1] > 85
