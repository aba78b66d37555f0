"""Known defects of Keras's optimizers, each found by its check."""

import keras
import pytest

from keras_textbook_opt.testing import CHECKS, CheckFailed
from tests.testing import messages

LONG = pytest.mark.long
NAMED = {check.__name__: check for check in CHECKS}
DEFECTS = {
    "Adam": [
        "check_sparse_repeated_rows",
        "check_sparse_loss_scale",
        "check_replicas_gradient_accumulation",
        "check_float16",
        "check_float16_small_gradients",
        "check_invalid_learning_rate",
        "check_invalid_settings",
        "check_invalid_hyperparameters",
        "check_h5_file_resumes",
        "check_pickle_resumes",
        "check_deepcopy_resumes",
        "check_fit_ema_frozen_layer",
    ],
    "AdamW": ["check_bfloat16"],
    "SGD": [
        "check_sparse_clipnorm",
        "check_sparse_clipvalue",
        "check_sparse_global_clipnorm",
        "check_replicas_clipnorm",
        "check_replicas_clipvalue",
        "check_replicas_global_clipnorm",
    ],
}
CASES = [(kind, name) for kind, names in DEFECTS.items() for name in names]


@pytest.mark.needs("rows")
@pytest.mark.parametrize(
    "kind, name",
    [pytest.param(*case, marks=[LONG] if k else []) for k, case in enumerate(CASES)],
)
def test_defect_of_keras_is_found(kind, name):
    outcome = messages.outcome(NAMED[name], getattr(keras.optimizers, kind))
    assert isinstance(outcome, CheckFailed)


@pytest.mark.needs("jax")
def test_second_fit_with_averages_fails_on_jax():
    outcome = messages.outcome(NAMED["check_fit_ema"], keras.optimizers.Adam)
    assert isinstance(outcome, CheckFailed)
