"""An optimizer that was given the model's new list is as one built on that list.

TensorFlow here; the other backends run the same program in test_other_backends.py.
"""

from __future__ import annotations

import pytest

from keras_textbook_opt import Adam
from tests.programs import growth
from tests.programs.growth import CASES, Case

pytestmark = pytest.mark.needs("tensorflow")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_the_next_fit_is_that_of_an_optimizer_built_on_the_list(case: Case):
    growth.check_story(case)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("event", ["frozen", "unfrozen"])
def test_averages_stay_in_their_layers(event: str, compiled: bool):
    growth.check_averages_stay_in_their_layers(event, compiled)


@pytest.mark.parametrize("place", [0, 1])
def test_newcomers_alone_are_appended(place: int):
    growth.check_newcomers_alone(place)


@pytest.mark.parametrize("place", [0, 1])
def test_a_model_that_was_not_compiled_again_is_found_out(place: int):
    """TensorFlow goes on with the graph of before."""
    model, optimizer = growth.two_layers(), Adam(0.01)
    model.layers[place].trainable = False
    growth.fit_two_layers(model, optimizer, compiled=True)
    model.layers[place].trainable = True
    optimizer.add_variables(model.trainable_variables)
    with pytest.raises(ValueError, match="compiled again after `add_variables`"):
        growth.go_on(model)
    growth.fit_two_layers(model, optimizer, compiled=True)
