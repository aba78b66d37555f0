"""Where Keras scales the loss of a model, its state is saved and goes on all the same.

On JAX, the loader of `.h5` files is the exception, and its first step says so.
These backends run the same program in test_other_backends.py.
"""

from __future__ import annotations

import pytest

from tests.programs import scaled_losses

pytestmark = pytest.mark.needs("tensorflow")


@pytest.fixture(autouse=True)
def policy():
    with scaled_losses.mixed_float16():
        yield


# Keras's wrapper does not load its two own variables before it is built.
@pytest.mark.filterwarnings("ignore:Skipping variable loading:UserWarning")
@pytest.mark.parametrize("file", scaled_losses.FILES)
@pytest.mark.parametrize("name", scaled_losses.OPTIMIZERS)
def test_training_goes_on(name: str, file: str):
    scaled_losses.check_goes_on(name, file)


@pytest.mark.parametrize("name", scaled_losses.OPTIMIZERS)
def test_an_infinite_gradient_leaves_the_state(name: str):
    scaled_losses.check_an_infinite_gradient_leaves_the_state(name)
