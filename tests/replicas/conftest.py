"""What a process has left that trained on two replicas: few cases, or more."""

from pathlib import Path

import pytest

from tests import processes
from tests.backends import LONG


@pytest.fixture(scope="session", params=["few", pytest.param("more", marks=LONG)])
def on_replicas(request, tmp_path_factory) -> tuple[str, Path]:
    """The name of the cases, and the folder with what came of them."""
    folder = tmp_path_factory.mktemp("replicas")
    processes.run(("tests.programs.on_replicas", str(folder), request.param))
    return request.param, folder
