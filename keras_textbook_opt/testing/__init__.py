"""Is your optimizer right? Checks that any Keras optimizer can be put to.

`check_optimizer(MyOptimizer)` runs them; `python -m keras_textbook_opt.testing` does so
from a command line, and `parametrize_with_checks` makes them tests of pytest.
"""

from keras_textbook_opt.testing.conformance import (
    Result,
    check_optimizer,
    optimizer_checks_generator,
)
from keras_textbook_opt.testing.parametrize import parametrize_with_checks
from keras_textbook_opt.testing.registry import CHECKS
from keras_textbook_opt.testing.verdicts import CheckFailed, CheckSkipped

__all__ = [
    "CHECKS",
    "CheckFailed",
    "CheckSkipped",
    "Result",
    "check_optimizer",
    "optimizer_checks_generator",
    "parametrize_with_checks",
]
