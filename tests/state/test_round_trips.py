"""An optimizer that was saved and loaded trains on as if it had never stopped.

One fresh process saves, another one loads and trains on, a third one does not even
know the package. Weights are compared bit by bit, step by step.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests import processes
from tests.programs.round_trip_recipes import (
    AFRESH,
    OPTIMIZERS,
    RECIPES,
    RESUMED,
    SERVED,
    UNKNOWN,
    Recipe,
)

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("round_trips")]
STEPS = 5
TELLING = [(recipe, name) for recipe in RECIPES for name in recipe.what_tells]
by_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.label)


@dataclass(frozen=True)
class Trips:
    """What the processes left in their folder."""

    folder: Path

    def array(self, file: str, case: str) -> np.ndarray:
        with np.load(self.folder / f"{file}.npz") as arrays:
            return arrays[case]

    def note(self, file: str) -> dict:
        return json.loads((self.folder / f"{file}.json").read_text())

    def assert_came_back(self, case: str, optimizer: str, name: str) -> None:
        report = self.note("read")[case]
        assert "error" not in report, report["error"]
        module = f"keras_textbook_opt.{optimizer.lower()}"
        assert report == {"class": f"{module}.{optimizer}", "name": name}


@pytest.fixture(scope="module")
def trips(tmp_path_factory) -> Trips:
    folder = tmp_path_factory.mktemp("round_trips")
    write, read, serve = (
        f"tests.programs.{action}_round_trips" for action in ("write", "read", "serve")
    )
    processes.run((write, str(folder)))
    processes.run((read, str(folder)), (serve, str(folder)))
    return Trips(folder)


@by_recipe
@pytest.mark.parametrize("route", RESUMED)
def test_training_goes_on(trips: Trips, recipe: Recipe, route: str):
    case = f"{recipe.label}/{route}"
    trips.assert_came_back(case, recipe.optimizer, recipe.label)
    never_stopped = trips.array("truth", f"{recipe.label}/steps")[STEPS:]
    np.testing.assert_array_equal(trips.array("read", case), never_stopped)


@by_recipe
@pytest.mark.parametrize("route", AFRESH)
def test_a_twin_takes_the_same_steps(trips: Trips, recipe: Recipe, route: str):
    case = f"{recipe.label}/{route}"
    trips.assert_came_back(case, recipe.optimizer, recipe.label)
    original = trips.array("truth", f"{recipe.label}/steps")[:STEPS]
    np.testing.assert_array_equal(trips.array("read", case)[:STEPS], original)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_registered_name_is_the_optimizer(trips: Trips, optimizer: str):
    trips.assert_came_back(optimizer, optimizer, optimizer.lower())
    original = trips.array("truth", f"{optimizer}/steps")
    np.testing.assert_array_equal(trips.array("read", optimizer), original)


@by_recipe
@pytest.mark.parametrize("route", SERVED)
def test_a_saved_model_serves_the_same_outputs(
    trips: Trips, recipe: Recipe, route: str
):
    outputs = trips.array("served", f"{recipe.label}/{route}")
    expected = trips.array("truth", f"{recipe.label}/outputs")
    np.testing.assert_array_equal(outputs, expected)


@pytest.mark.parametrize("way", UNKNOWN)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_without_the_package_nothing_comes_back_as_keras_own(
    trips: Trips, optimizer: str, way: str
):
    assert not trips.note("unknown")[f"{optimizer}/{way}"].startswith("keras.")


@pytest.mark.parametrize(
    ("recipe", "argument"), TELLING, ids=[f"{r.label}-{name}" for r, name in TELLING]
)
def test_each_argument_tells_in_the_weights(
    trips: Trips, recipe: Recipe, argument: str
):
    """An argument lost on a round trip would show in the tests above."""
    assert trips.note("tells")[recipe.label][argument]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_recipes_name_every_argument(trips: Trips, optimizer: str):
    recipes = [recipe for recipe in RECIPES if recipe.optimizer == optimizer]
    named = {"learning_rate"}.union(*(recipe.arguments for recipe in recipes))
    assert named == set(trips.note("arguments")[optimizer])
