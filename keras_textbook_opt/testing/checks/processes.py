"""Another process: a file that is loaded there, and two replicas (`tf.distribute`)."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import numpy as np

from keras_textbook_opt.testing import backend, children, problem
from keras_textbook_opt.testing.comparing import assert_close, assert_same
from keras_textbook_opt.testing.linear import LAYERS, model_of, train
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckFailed, CouldNotRun

STEPS = 4
OF_LAYERS = problem.gradients(6, LAYERS)


@final
class Elsewhere:
    """One process for all checks of this file, since TensorFlow takes long to start.

    Args:
        subject: The optimizer; a model that it trained is loaded there.
    """

    def __init__(self, subject: Subject):
        self.model = model_of(subject.make())
        train(self.model, OF_LAYERS[:3])
        self._temporary = tempfile.TemporaryDirectory(prefix="check_optimizer_")
        self.folder = Path(self._temporary.name)
        written = children.pickled((subject.kind, subject.factory, subject.rate))
        (self.folder / "subject.pickle").write_bytes(written)
        self.not_saved: Exception | None = None
        try:
            self.model.save(self.folder / "model.keras")
        except Exception as error:
            self.not_saved = error
        self._process = children.started("elsewhere", self.folder)

    @functools.cached_property
    def errors(self) -> dict[str, str]:
        """Wait for the process; the error of each part that raised one.

        Raises:
            CheckFailed: The process itself failed.
        """
        error = children.error_of(self._process)
        if error:
            raise CheckFailed(f"Another process failed: {error}")
        return json.loads((self.folder / "errors.json").read_text())


@functools.lru_cache(maxsize=2)
def _elsewhere(factory: Callable[..., Any]) -> Elsewhere:
    return Elsewhere(Subject.of(factory))


def start(factory: Callable[..., Any]) -> None:
    """Start the process, so that it runs next to other checks."""
    try:
        _elsewhere(factory)
    except Exception:  # the checks report it
        return


@promise
def check_keras_file_resumes_in_new_process(subject: Subject) -> None:
    """Training resumes bit for bit from a `.keras` file in another process.

    Why: State of a class or a module is still there when a file is loaded in the
    process that saved it.

    Fix: Keep all state in `variables`, and all arguments in `get_config`.
    """
    here = _elsewhere(subject.factory)
    if here.not_saved is not None:
        raise here.not_saved
    if "fresh" in here.errors:
        raise CheckFailed(f"Another process raises {here.errors['fresh']}")
    train(here.model, OF_LAYERS[3:])
    assert_same(
        children.read(here.folder, "fresh.npz"),
        [np.array(weights) for weights in here.model.get_weights()],
        problem.values(LAYERS),
        "three more steps in another process vs. uninterrupted training",
        steps=len(OF_LAYERS),
        names=list(LAYERS),
    )


def _assert_replicas_are_one_device(subject: Subject, case: str) -> None:
    backend.want("replicas")
    here = _elsewhere(subject.factory)
    error = here.errors.get(case, "")
    if error.startswith("alone"):
        raise CouldNotRun(f"such steps fail on one device: {error}")
    if error:
        raise CheckFailed(f"Two replicas raise {error}")
    assert_close(
        children.read(here.folder, f"{case}_together.npz"),
        children.read(here.folder, f"{case}_alone.npz"),
        problem.values(),
        f"two replicas ({case}) vs. one device on the sums of their gradients",
        steps=STEPS,
        noise=subject.noise,
    )


@promise
def check_replicas(subject: Subject) -> None:
    """Two replicas take the step of one device on the sum of their gradients.

    Why: `MirroredStrategy` promises the same training, faster.

    Fix: Override `update_step`, and leave the reduction to `Optimizer.apply`.
    """
    _assert_replicas_are_one_device(subject, "plain")


@promise
def check_replicas_clipnorm(subject: Subject) -> None:
    """With replicas, `clipnorm` clips the sum of their gradients.

    Why: The sum of two clipped gradients is up to twice as long as `c`, and has another
    direction.

    Fix: Clip after the reduction.
    """
    _assert_replicas_are_one_device(subject, "clipnorm")


@promise
def check_replicas_clipvalue(subject: Subject) -> None:
    """With replicas, `clipvalue` clips the sum of their gradients.

    Why: Clipped gradients add up to another direction, and to more than the bound.

    Fix: Clip after the reduction.
    """
    _assert_replicas_are_one_device(subject, "clipvalue")


@promise
def check_replicas_global_clipnorm(subject: Subject) -> None:
    """With replicas, `global_clipnorm` clips the sum of their gradients.

    Why: Clipped gradients add up to another direction, and to more than the bound.

    Fix: Clip after the reduction.
    """
    _assert_replicas_are_one_device(subject, "global_clipnorm")


@promise
def check_replicas_gradient_accumulation(subject: Subject) -> None:
    """Replicas can accumulate gradients.

    Why: Two devices with too little memory need both.

    Fix: Branch outside of the replica contexts: TensorFlow does not allow a
    `merge_call` inside a `cond`.
    """
    _assert_replicas_are_one_device(subject, "accumulation")


@promise
def check_replicas_ema(subject: Subject) -> None:
    """Replicas can overwrite their variables with averages.

    Why: Averages are part of many training recipes.

    Fix: Branch outside of the replica contexts: TensorFlow does not allow a
    `merge_call` inside a `cond`.
    """
    _assert_replicas_are_one_device(subject, "averages")


@promise
def check_replicas_sparse_gradients(subject: Subject) -> None:
    """Replicas add up sparse gradients, also rows that both have.

    Why: The reduction concatenates the rows: a row of both replicas appears twice, even
    if no batch repeats a row.

    Fix: Merge repeated rows after the reduction.
    """
    _assert_replicas_are_one_device(subject, "rows")
