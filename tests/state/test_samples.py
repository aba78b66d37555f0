"""What a variable is known by is read of a variable of any size."""

import numpy as np
import pytest

from keras_textbook_opt.state import identity as known


class Named(np.ndarray):
    name = "table"


@pytest.mark.parametrize("last", [20, 998, 999, 5000])
def test_no_element_of_a_sample_is_beyond_the_last_index(monkeypatch, last):
    """A table of more than 2³¹ elements is too large for a test."""
    assert np.iinfo("int32").max == known.LAST
    monkeypatch.setattr(known, "LAST", last)
    values = np.arange(1000, dtype="float32").reshape(10, 100)
    sample = known.identity(values.view(Named)).sample
    assert sample is not None and len(sample) == 16
    assert (sample[0], sample[-1]) == (0, min(last, 999))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (0,), (3, 0)])
def test_the_sample_of_few_elements_is_all_of_them(shape):
    values = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    np.testing.assert_array_equal(
        known.identity(values.view(Named)).sample, values.reshape(-1)
    )
