"""The known defects of Keras's optimizers, each found by the check of that name.

The committed results say so for TensorFlow; what is of JAX alone is found there.
"""

import keras
import pytest

from keras_textbook_opt.testing import CHECKS, CheckFailed, check_optimizer
from tests.conftest import COMMITTED

once, LONG = pytest.mark.once, pytest.mark.long
OURS, KERAS = "this package", "keras.optimizers"

# What, on which optimizer, and the checks that say so.
DEFECTS = {
    "repeated rows collect Σg²": ("Adam", ["check_repeated_rows_are_summed"]),
    "clips take repeats for rows": (
        "SGD",
        [
            "check_clipnorm_on_repeated_rows",
            "check_clipvalue_on_repeated_rows",
            "check_global_clipnorm_on_repeated_rows",
        ],
    ),
    "a loss scale on rows is a TypeError": (
        "Adam",
        ["check_the_loss_scale_of_rows_is_undone"],
    ),
    "replicas clip before the sum": (
        "SGD",
        [
            "check_replicas_clip_the_norm_of_the_sum",
            "check_replicas_clip_the_values_of_the_sum",
            "check_replicas_clip_the_global_norm_of_the_sum",
        ],
    ),
    "replicas cannot accumulate": ("Adam", ["check_replicas_accumulate"]),
    "bfloat16 does not move": ("AdamW", ["check_bfloat16_follows_float32"]),
    "float16 loses ε": (
        "Adam",
        ["check_float16_follows_float32", "check_small_gradients_of_float16"],
    ),
    "hyperparameters are not checked": (
        "Adam",
        [
            "check_a_rate_out_of_range_is_refused",
            "check_settings_out_of_range_are_refused",
            "check_arguments_of_its_own_are_checked",
        ],
    ),
    "a state that does not fit is skipped with a warning": (
        "Adam",
        ["check_a_state_that_does_not_fit_is_refused"],
    ),
    "an .h5 file cannot go on": ("Adam", ["check_an_h5_file_goes_on"]),
    "copies lose the slots": (
        "Adam",
        ["check_pickle_goes_on", "check_deepcopy_goes_on"],
    ),
    "averages land in another layer": (
        "Adam",
        ["check_a_layer_frozen_after_averaging_stays"],
    ),
}
CASES = [(kind, name) for kind, names in DEFECTS.values() for name in names]


@pytest.fixture(scope="module")
def found():
    from benchmarks.conformance import results

    return results.read(COMMITTED / "conformance")


def said_of(found, house, name):
    of_one = found[(found["house"] == house) & (found["optimizer"] == name)]
    return of_one.set_index("check")


@once
@pytest.mark.parametrize("kind, name", CASES)
def test_the_committed_results_have_the_known_defects(found, kind, name):
    assert said_of(found, KERAS, kind)["status"][name] == "failed"


@once
def test_the_committed_results_hold_all_checks(found):
    names = [check.__name__ for check in CHECKS]
    for _, of_one in found.groupby(["house", "optimizer"]):
        assert list(of_one["check"]) == names


@once
def test_the_committed_results_accuse_none_of_ours(found):
    ours = found[found["house"] == OURS]
    assert len(ours) and set(ours["status"]) == {"passed", "skipped"}


@pytest.mark.needs("rows")
@pytest.mark.parametrize(
    "kind, name",
    [
        pytest.param(kind, name, marks=[LONG] if k else [])
        for k, (kind, name) in enumerate(CASES)
    ],
)
def test_the_checker_finds_them_in_the_keras_that_is_here(kind, name):
    with pytest.raises(CheckFailed):
        check_optimizer(getattr(keras.optimizers, kind), select=name)


@pytest.mark.needs("jax")
def test_the_checker_finds_that_a_second_fit_with_averages_fails_on_jax():
    with pytest.raises(CheckFailed):
        check_optimizer(keras.optimizers.Adam, select="check_fit_twice_with_averages")
