"""Hypothesis profiles, and which tests run on which backend."""

import ast
import os
import re

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis
import numpy as np
import pytest

from tests import backends

if backends.BACKEND == "numpy":
    np.seterr(all="ignore")  # the other backends do not warn of an overflow

hypothesis.settings.register_profile(
    "quick", max_examples=10, deadline=None, derandomize=True
)
hypothesis.settings.register_profile("thorough", max_examples=250, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_configure(config):
    """Keep the programs that JAX compiles for the tests that follow."""
    if backends.BACKEND != "jax":
        return
    import jax

    # Another process may be writing the file.
    ignored = "ignore:Error (reading|writing) persistent compilation cache"
    config.addinivalue_line("filterwarnings", ignored)
    jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_report_header():
    return f"backend of Keras: {backends.BACKEND}"


def pytest_ignore_collect(collection_path):
    """Do not import a module whose `pytestmark` needs what this backend lacks.

    Nor a module without tests, in which pytest would look for examples in docstrings.
    """
    if collection_path.suffix != ".py":
        return None
    if not collection_path.name.startswith("test_"):
        return True
    statements = map(ast.unparse, ast.parse(collection_path.read_text()).body)
    marks = [each for each in statements if each.startswith("pytestmark = ")]
    needs = {need for each in marks for need in re.findall(r"needs\('(\w+)'\)", each)}
    return _is_missing(needs, once=any("mark.once" in each for each in marks)) or None


def _is_missing(needs: set[str], once: bool) -> bool:
    """Whether this backend lacks a need, or the test runs on TensorFlow only."""
    assert needs <= backends.NEEDS, f"Expected some of {backends.NEEDS}, not {needs}"
    return not needs <= backends.HAS or (once and backends.BACKEND != "tensorflow")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Deselect tests that this backend cannot run; mark tests of whole runs as long."""
    dropped = []
    for item in items:
        needs = {need for mark in item.iter_markers("needs") for need in mark.args}
        if _is_missing(needs, once=item.get_closest_marker("once") is not None):
            dropped.append(item)
        if not {"short_run", "trips"}.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.long)
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in dropped]
