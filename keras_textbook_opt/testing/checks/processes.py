"""Another process: a file that is loaded there, and two replicas (`tf.distribute`)."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_textbook_opt.testing import backend, children, problem
from keras_textbook_opt.testing.comparing import assert_same
from keras_textbook_opt.testing.linear import LAYERS, model_of, train
from keras_textbook_opt.testing.programs.elsewhere import Answer
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import (
    CheckFailed,
    CouldNotRun,
    shortened,
    without_details,
)

STEPS = 4
OF_LAYERS = problem.gradients(6, LAYERS)


class Model(NamedTuple):
    """A model after three steps as a `.keras` file, and its weights after six."""

    file: bytes
    weights: list[np.ndarray]
    error: Exception | None


@functools.lru_cache(maxsize=8)
def _model(subject: Subject) -> Model:
    model, file, raised = model_of(subject.make()), b"", None
    train(model, OF_LAYERS[:3])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        try:
            model.save(path)
            file = path.read_bytes()
        except Exception as error:
            raised = error
    train(model, OF_LAYERS[3:])
    return Model(file, model.get_weights(), raised)


def _started(subject: Subject) -> subprocess.Popen:
    """One process for all checks of this file, since TensorFlow takes long to start."""
    given = subject.kind, subject.factory, subject.rate, _model(subject).file
    return children.started("elsewhere", *given)


_RUNNING: dict[Subject, subprocess.Popen] = {}


@contextlib.contextmanager
def running(factory: Any) -> Iterator[None]:
    """Run the process next to other checks, and end it after them."""
    subject = None
    with contextlib.suppress(Exception):  # the checks report it
        subject = Subject.of(factory)
        _RUNNING[subject] = _started(subject)
    try:
        yield
    finally:
        if subject in _RUNNING:
            children.end(_RUNNING.pop(subject))


def _answer(subject: Subject) -> Answer:
    found = _answer_or_error(subject)
    if isinstance(found, str):
        raise CheckFailed(found)
    return found


@functools.lru_cache(maxsize=8)
def _answer_or_error(subject: Subject) -> Answer | str:
    """Wait for the process, or run it now."""
    process = _RUNNING.pop(subject, None) or _started(subject)
    try:
        return children.answer_of(process)
    except CheckFailed as failed:
        return failed.summary


@promise
def check_keras_file_resumes_in_new_process(subject: Subject) -> None:
    """Training resumes bit for bit from a `.keras` file in another process.

    Why: State of a class or a module is still there when a file is loaded in the
    process that saved it.

    Fix: Keep all state in `variables`, and all arguments in `get_config`.
    """
    here = _model(subject)
    if here.error is not None:
        raise here.error
    arrays, errors = _answer(subject)
    if "fresh" in errors:
        raise _raised("Another process raises", errors["fresh"])
    assert_same(
        arrays["fresh"],
        here.weights,
        "three more steps in another process vs. uninterrupted training",
        start=problem.values(LAYERS),
        names=list(LAYERS),
    )


def _raised(who: str, error: str) -> CheckFailed:
    return CheckFailed(f"{who} {shortened(error)}", [without_details(error)])


def _assert_replicas_are_one_device(subject: Subject, case: str) -> None:
    backend.require("replicas")
    one, two = f"{case}, one device", f"{case}, two replicas"
    arrays, errors = _answer(subject)
    if one in errors:
        raise CouldNotRun(f"such steps fail on one device: {shortened(errors[one])}")
    if two in errors:
        raise _raised("Two replicas raise", errors[two])
    what = f"two replicas ({case}) vs. one device on the sums of their gradients"
    subject.assert_close(arrays[two], arrays[one], what, steps=STEPS)


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
