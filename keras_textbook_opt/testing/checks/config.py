"""The config: an optimizer made from it takes the same steps."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_textbook_opt.testing import backend, problem
from keras_textbook_opt.testing.comparing import assert_same, differ
from keras_textbook_opt.testing.linear import serializable
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.run import Run
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckSkipped

STEPS = problem.gradients()
START = problem.values()
# What is `None` unless set, and takes effect with these values.
VALUES: dict[str, list[dict[str, Any]]] = {
    "weight_decay": [{"weight_decay": 0.5}],
    "clipnorm": [{"clipnorm": 0.5}],
    "clipvalue": [{"clipvalue": 0.2}],
    "global_clipnorm": [{"global_clipnorm": 0.75}],
    "loss_scale_factor": [{"loss_scale_factor": 8.0}],
    "gradient_accumulation_steps": [{"gradient_accumulation_steps": 2}],
    "use_ema": [{"use_ema": True, "ema_overwrite_frequency": 2}],
    "ema_momentum": [
        {"use_ema": True, "ema_overwrite_frequency": 2, "ema_momentum": 0.25}
    ],
    "ema_overwrite_frequency": [{"use_ema": True, "ema_overwrite_frequency": 2}],
    "learning_rate_multipliers": [{"learning_rate_multipliers": {"bias": 0.5}}],
}
SKIPPED = {"learning_rate", "name"}
# In the range of most numbers, with more digits than one writes by hand.
NUMBER = 0.5432123456789


@promise
def check_the_config_makes_a_twin(subject: Subject) -> None:
    """`from_config(get_config())` takes the same steps.

    Why: Every file format of Keras keeps the config and makes the optimizer from it.

    Mend: Return every argument of `__init__` from `get_config`.
    """
    optimizer = subject.make()
    assert_same(
        Run(_rebuilt(optimizer)).follow(STEPS).numbers,
        subject.after(STEPS),
        START,
        "made from the config, and made by the constructor",
        steps=len(STEPS),
    )


@promise
def check_the_config_is_plain(subject: Subject) -> None:
    """The config survives JSON, as it must to be written into a `.keras` file.

    Why: A NumPy float or a tensor in it fails when the model is saved, after training.

    Mend: Keep arguments as the Python numbers that they are given as.
    """
    optimizer = subject.make()
    with serializable(optimizer):
        config = keras.saving.serialize_keras_object(optimizer)
        again = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert_same(
        Run(again).follow(STEPS).numbers,
        subject.after(STEPS),
        START,
        "made from the config as JSON, and made by the constructor",
        steps=len(STEPS),
    )


@promise
def check_every_argument_is_in_the_config(subject: Subject) -> None:
    """Each constructor argument that changes a step lives on in the config.

    Why: One that is missing falls back to its default when a model is loaded: training
    goes on by another equation, without a word.

    Mend: Add the argument to what `get_config` returns.
    """
    defaults = subject.defaults()
    seen = []
    for name, default in defaults.items():
        if name in SKIPPED:
            continue
        for options in _alternatives(subject, name, default):
            if _lives_on(subject, name, options):
                seen.append(name)
                break
    if not seen:
        raise CheckSkipped("waits for an optimizer with an argument that has an effect")


def _lives_on(subject: Subject, name: str, options: dict[str, Any]) -> bool:
    """Whether the option takes effect in some steps; it lives on then.

    Raises:
        CheckFailed: It takes effect, and does not live on.
    """
    without = {key: value for key, value in options.items() if key != name}
    try:
        subject.make(**options), subject.make(**without)
    except CheckSkipped:
        return False
    for steps, dtype in _situations():
        try:
            after, base = (
                Run(subject.make(**given), dtype=dtype).follow(steps).numbers
                for given in (options, without)
            )
        except Exception:  # that such steps fail is for other checks to say
            continue
        if differ(after, base) and all(np.isfinite(values).all() for values in after):
            twin = Run(_rebuilt(subject.make(**options)), dtype=dtype).follow(steps)
            assert_same(
                twin.numbers,
                after,
                START,
                f"made from the config of an optimizer with {name}={options[name]!r} "
                f"({dtype}), and that optimizer",
                steps=len(steps),
            )
            return True
    return False


def _situations() -> list[tuple[list, str]]:
    """Steps in which an argument may have an effect: dense, of 16 bits, by rows."""
    tiny = [[np.float32(2.0**-6) * g for g in step] for step in STEPS]
    situations = [(STEPS, "float32"), (tiny * 2, "bfloat16")]
    if "rows" in backend.TRAITS[backend.NAME]:
        situations.append((problem.with_rows(problem.DISTINCT), "float32"))
    return situations


def _alternatives(subject: Subject, name: str, default: Any) -> list[dict[str, Any]]:
    """Other values of an argument, one of which may change a step."""
    if name in VALUES:
        return VALUES[name]
    if isinstance(default, bool):
        return [{name: not default}]
    if isinstance(default, int):
        return [{name: default + 1}, {name: default + 2}]
    if isinstance(default, float):
        factors = (0.5, 0.9, 1.1, 1e4)
        return [{name: NUMBER}, *({name: default * factor} for factor in factors)]
    if isinstance(default, str):
        others = [choice for choice in _choices(subject, name) if choice != default]
        return [{name: choice} for choice in others]
    return []


def _choices(subject: Subject, name: str) -> tuple:
    """The values of a `Literal`, where the constructor says that it takes one."""
    init: Callable = subject.kind.__init__  # type: ignore[misc]
    try:
        hint = typing.get_type_hints(getattr(init, "__wrapped__", init)).get(name)
    except (NameError, TypeError):
        return ()
    return typing.get_args(hint)


def _rebuilt(optimizer: Any) -> Any:
    return type(optimizer).from_config(optimizer.get_config())


@promise
def check_a_schedule_is_in_the_config(subject: Subject) -> None:
    """A schedule comes out of the config as a schedule.

    Why: A rate that is frozen at the value it had when the model was saved does not
    warm up and does not decay.

    Mend: Call `super().get_config()`, and do not override `from_config`.
    """
    schedule = keras.optimizers.schedules.ExponentialDecay(subject.rate, 2, 0.5)
    optimizer = subject.make(learning_rate=schedule)
    assert_same(
        Run(_rebuilt(optimizer)).follow(STEPS).numbers,
        Run(optimizer).follow(STEPS).numbers,
        START,
        "made from the config of an optimizer with a schedule, and that optimizer",
        steps=len(STEPS),
    )


@promise
def check_exclusions_are_in_the_config(subject: Subject) -> None:
    """What `exclude_from_weight_decay` was told lives on in the config.

    Why: After a load the biases decay as well, without a word.

    Mend: Write the names of what is excluded into the config, and exclude them again in
    `from_config`.
    """
    options = {"weight_decay": 0.1 / subject.rate}
    if not differ(subject.after(STEPS), subject.after(STEPS, **options)):
        raise CheckSkipped(
            "waits for `check_weights_decay_once`: weight_decay changes no step here"
        )
    run = subject.run(**options)
    run.optimizer.exclude_from_weight_decay(var_names=["bias"])
    config = run.optimizer.get_config()
    run.follow(STEPS)
    if not differ(run.numbers[1:2], subject.after(STEPS, **options)[1:2]):
        raise CheckSkipped("waits for `check_what_is_excluded_does_not_decay`")
    assert_same(
        Run(type(run.optimizer).from_config(config)).follow(STEPS).numbers,
        run.numbers,
        START,
        "made from the config of an optimizer that excludes `bias`, and that optimizer",
        steps=len(STEPS),
    )
