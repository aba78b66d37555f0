"""Other processes: a file that is read there, and two replicas of one."""

from __future__ import annotations

import functools
import json
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_textbook_opt.testing import backend, children, problem
from keras_textbook_opt.testing.comparing import assert_meet, assert_same, ended
from keras_textbook_opt.testing.linear import LAYERS, model_of
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckSkipped

STEPS = 4


@promise
def check_a_file_goes_on_in_a_fresh_process(subject: Subject) -> None:
    """A `.keras` file trains on in another process, to the bit.

    Why: What a class or a module remembers is still there when a file is read in the
    process that wrote it.

    Mend: Keep all state in `variables`, and all arguments in `get_config`.
    """
    steps = problem.gradients(6, LAYERS)
    model = model_of(subject.make())
    _train(model, steps[:3])
    with children.folder() as name:
        folder = Path(name)
        (folder / "kind.pickle").write_bytes(children.pickled(subject.kind))
        model.save(folder / "model.keras")
        _run("fresh", folder)
        found = children.read(folder, "weights.npz")
    _train(model, steps[3:])
    assert_same(
        found,
        [np.array(weights) for weights in model.get_weights()],
        problem.values(LAYERS),
        "three more steps in a fresh process, and of training that went on",
        steps=len(steps),
        names=list(LAYERS),
    )


def _train(model: Any, steps: list[list]) -> None:
    for gradients in steps:
        pairs = list(zip(gradients, model.trainable_variables, strict=True))
        model.optimizer.apply(
            [backend.gradient(g, v) for g, v in pairs], [v for _, v in pairs]
        )


def _run(program: str, folder: Path) -> None:
    try:
        children.run(program, folder)
    except RuntimeError as error:
        raise ended(f"Expected a fresh process to end well; came {error}") from error


class Case(NamedTuple):
    """What came of one case on one device and on two replicas, or the error."""

    alone: list[np.ndarray]
    together: list[np.ndarray]
    error: str


def _cases(factory: Any, rate: float) -> dict[str, Case]:
    """All cases, from one process."""
    cases = {}
    with children.folder() as name:
        folder = Path(name)
        (folder / "subject.pickle").write_bytes(children.pickled((factory, rate)))
        _run("replicas", folder)
        errors = json.loads((folder / "errors.json").read_text())
        for path in folder.glob("*_alone.npz"):
            case = path.name.removesuffix("_alone.npz")
            alone = children.read(folder, f"{case}_alone.npz")
            together = children.read(folder, f"{case}_together.npz")
            cases[case] = Case(alone, together, "")
    return cases | {case: Case([], [], error) for case, error in errors.items()}


@functools.lru_cache(maxsize=2)
def _cached_cases(pickle_of_both: bytes) -> dict[str, Case]:
    return _cases(*pickle.loads(pickle_of_both))


def _assert_replicas_are_one_device(subject: Subject, case: str) -> None:
    backend.want("replicas")
    found = _cached_cases(children.pickled((subject.factory, subject.rate)))[case]
    if found.error.startswith("alone"):
        raise CheckSkipped(f"waits for such steps on one device: {found.error}")
    if found.error:
        raise ended(f"Expected no error on two replicas; came {found.error}")
    assert_meet(
        found.together,
        found.alone,
        problem.values(),
        f"two replicas ({case}), and one device on the sums of their gradients",
        steps=STEPS,
        noise=subject.noise,
    )


@promise
def check_replicas_step_as_one_device(subject: Subject) -> None:
    """Two replicas take the step of one device on the sum of their gradients.

    Why: It is what `MirroredStrategy` promises: the same training, faster.

    Mend: Override `update_step`, and leave the reduction to `Optimizer.apply`.
    """
    _assert_replicas_are_one_device(subject, "plain")


@promise
def check_replicas_clip_the_norm_of_the_sum(subject: Subject) -> None:
    """The same under `clipnorm`: what is clipped is the sum.

    Why: The sum of two clipped gradients is up to twice as long as `c`, and has another
    direction.

    Mend: Clip after the reduction.
    """
    _assert_replicas_are_one_device(subject, "clipnorm")


@promise
def check_replicas_clip_the_values_of_the_sum(subject: Subject) -> None:
    """The same under `clipvalue`.

    Why: As for `clipnorm`.

    Mend: Clip after the reduction.
    """
    _assert_replicas_are_one_device(subject, "clipvalue")


@promise
def check_replicas_clip_the_global_norm_of_the_sum(subject: Subject) -> None:
    """The same under `global_clipnorm`.

    Why: As for `clipnorm`.

    Mend: Clip after the reduction.
    """
    _assert_replicas_are_one_device(subject, "global_clipnorm")


@promise
def check_replicas_accumulate(subject: Subject) -> None:
    """The same with `gradient_accumulation_steps`.

    Why: Whoever has two devices and too little memory needs both.

    Mend: Branch outside of the replicas' contexts: a `merge_call` below a `cond` is an
    error of TensorFlow.
    """
    _assert_replicas_are_one_device(subject, "accumulation")


@promise
def check_replicas_overwrite_with_averages(subject: Subject) -> None:
    """The same with averages that overwrite the variables.

    Why: As for accumulation.

    Mend: As for accumulation.
    """
    _assert_replicas_are_one_device(subject, "averages")


@promise
def check_replicas_sum_rows_that_both_name(subject: Subject) -> None:
    """The same for gradients by rows, some of which both replicas name.

    Why: What the reduction makes of rows names a row once for each replica: they are
    repeats, even where no batch has any.

    Mend: Merge repeats after the reduction.
    """
    _assert_replicas_are_one_device(subject, "rows")
