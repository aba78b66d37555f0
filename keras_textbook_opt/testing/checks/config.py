"""The config: an optimizer made from it takes the same steps."""

from __future__ import annotations

import functools
import json
import typing
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_textbook_opt.testing import backend, problem
from keras_textbook_opt.testing.comparing import assert_same, differ
from keras_textbook_opt.testing.linear import rebuilt, serializable
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.run import Run
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckFailed, CheckSkipped, CouldNotRun

STEPS = problem.gradients()
# Values that have an effect, for arguments that are `None` or off by default.
OVERWRITING: dict[str, Any] = {"use_ema": True, "ema_overwrite_frequency": 2}
VALUES: dict[str, list[dict[str, Any]]] = {
    "weight_decay": [{"weight_decay": 0.5}],
    "clipnorm": [{"clipnorm": 0.5}],
    "clipvalue": [{"clipvalue": 0.2}],
    "global_clipnorm": [{"global_clipnorm": 0.75}],
    "loss_scale_factor": [{"loss_scale_factor": 8.0}],
    "gradient_accumulation_steps": [{"gradient_accumulation_steps": 2}],
    "use_ema": [OVERWRITING],
    "ema_momentum": [{**OVERWRITING, "ema_momentum": 0.25}],
    "ema_overwrite_frequency": [OVERWRITING],
    "learning_rate_multipliers": [{"learning_rate_multipliers": {"bias": 0.5}}],
}
# For an argument that is `None` by default, and that is not Keras's.
SOME_VALUES: list[Any] = [0.5, 2, True, "a", (0.5, 0.5)]
SKIPPED = {"learning_rate", "name"}
# In the range of most hyperparameters, with more digits than one writes by hand.
NUMBER = 0.5432123456789


@promise
def check_from_config(subject: Subject) -> None:
    """`from_config(get_config())` takes the same steps.

    Why: Every file format of Keras stores the config and makes the optimizer from it.

    Fix: Return every argument of `__init__` from `get_config`.
    """
    found = Run(rebuilt(subject.make())).follow(STEPS).numbers
    what = "made from the config vs. by the constructor"
    assert_same(found, subject.after(STEPS), what)


@promise
def check_config_is_json(subject: Subject) -> None:
    """The config survives JSON, which `.keras` files store.

    Why: A NumPy number or a tensor in it raises when the model is saved, after
    training.

    Fix: Keep arguments as the Python numbers that were given.
    """
    optimizer = subject.make()
    with serializable(optimizer):
        config = keras.saving.serialize_keras_object(optimizer)
        again = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    found = Run(again).follow(STEPS).numbers
    what = "made from the config as JSON vs. by the constructor"
    assert_same(found, subject.after(STEPS), what)


@promise
def check_config_has_every_argument(subject: Subject) -> None:
    """Each argument that the constructor names is a key of the config.

    Why: A missing argument falls back to its default when a model is loaded, without a
    warning.

    Fix: Add the argument to the dict that `get_config` returns.
    """
    config = subject.make().get_config()
    missing = [
        f"`{name}`"
        for name, default in subject.named().items()
        if name not in config and (default is not None or _is_lost(subject, name))
    ]
    if missing:
        raise CheckFailed(
            f"The config has no entry for {', '.join(missing)} of the constructor.",
            missing,
        )


def _is_lost(subject: Subject, name: str) -> bool:
    """Whether the config lacks an argument that is set; `None` may be left out."""
    options = VALUES.get(name) or [{name: value} for value in SOME_VALUES]
    optimizers = [subject.make(**each) for each in filter(subject.takes, options)]
    return any(name not in optimizer.get_config() for optimizer in optimizers)


@promise
def check_config_restores_arguments(subject: Subject) -> None:
    """Each argument that changes a step has the same value in the restored optimizer.

    Why: An argument that is rounded, or replaced by its default, changes the equation
    when a model is loaded, without a warning.

    Fix: Return each argument from `get_config` as it was given.
    """
    for name, options, steps, dtype, after in _effects(subject):
        twin = Run(rebuilt(subject.make(**options)), dtype=dtype).follow(steps)
        given = f"{name}={options[name]!r} ({dtype})"
        what = f"made from the config with {given} vs. the original"
        assert_same(twin.numbers, after, what)
    if not _effects(subject):
        raise CheckSkipped("no argument of the constructor changes these steps")


@promise
def check_arguments_have_an_effect(subject: Subject) -> None:
    """Each flag and number of the constructor changes some step.

    Why: `nesterov=True` that is stored and never used trains as if it were off.

    Fix: Use the argument in the equation, or remove it.
    """
    effective = {effect.name for effect in _effects(subject)}
    if not effective:
        raise CheckSkipped("no argument of the constructor changes these steps")
    named = subject.named()
    defaults = subject.defaults()
    idle = [
        name
        for name in named
        if isinstance(defaults.get(name), (bool, float)) and name not in effective
        if name not in SKIPPED and not _is_read(subject, name)
        if not _adds_state(subject, name, defaults.get(name))
    ]
    if idle:
        raise CheckFailed(
            f"{', '.join(f'`{name}`' for name in idle)}: no value changes a step, and "
            "steps do not read it.",
            idle,
        )


def _adds_state(subject: Subject, name: str, default: Any) -> bool:
    """Whether a flag changes how many variables the optimizer has, as a record does."""
    counts = set()
    for options in ({}, {name: not default}):
        optimizer = subject.make(**options)
        optimizer.build([keras.Variable(np.ones(2))])
        counts.add(len(optimizer.variables))
    return isinstance(default, bool) and len(counts) > 1


Situation = tuple[list, str]


class Effect(NamedTuple):
    """Options that change the variables in some steps of some dtype."""

    name: str
    options: dict[str, Any]
    steps: list
    dtype: str
    after: list[np.ndarray]


@functools.lru_cache(maxsize=4)
def _effects(subject: Subject) -> list[Effect]:
    """One effect of each argument that has any."""
    known: dict[tuple[str, int], list | None] = {}

    def after(options: dict[str, Any], k: int) -> list | None:
        key = repr(options), k
        if key not in known:
            known[key] = _after(subject, options, _situations()[k])
        return known[key]

    found = []
    # A constructor may hide Keras's settings, and a config may lack them.
    arguments = {**dict.fromkeys(VALUES), **subject.defaults()}
    for name, default in arguments.items():
        effects = (
            Effect(name, options, *_situations()[k], numbers)
            for options in _alternatives(subject, name, default)
            for k, numbers in _effective(after, name, options)
        )
        found += [effect for effect in [next(effects, None)] if effect]
    return found


def _effective(
    after: Callable, name: str, options: dict[str, Any]
) -> Iterator[tuple[int, list]]:
    """The situations in which the option changes the result, and the result."""
    without = {key: value for key, value in options.items() if key != name}
    for k in range(len(_situations())):
        one, other = (after(given, k) for given in (options, without))
        if one is not None and other is not None and differ(one, other):
            yield k, one


def _after(subject: Subject, options: dict, situation: Situation) -> list | None:
    """The variables after these steps; nothing if they raise or are not finite."""
    steps, dtype = situation
    try:
        numbers = Run(subject.make(**options), dtype=dtype).follow(steps).numbers
    except Exception:  # reported by other checks
        return None
    return numbers if all(np.isfinite(x).all() for x in numbers) else None


def _is_read(subject: Subject, name: str) -> bool:
    """Whether a step reads the argument's attribute, whatever it does with it.

    Some arguments have an effect only with other values of other arguments, with a
    large learning rate, or on variables of some name.
    """
    defaults = subject.defaults()
    others: list[dict[str, Any]] = [{}] + [
        options
        for other in subject.named()
        if other != name
        for options in _alternatives(subject, other, defaults.get(other))[:1]
    ]
    for options in others:
        run = Run(subject.make(**options)) if subject.takes(options) else None
        if run is not None and name in _names_read(run):
            return True
    return False


def _names_read(run: Run) -> set[str]:
    """The attributes of the optimizer that two steps read."""
    names: set[str] = set()
    kind = type(run.optimizer)

    class Watched(kind):  # type: ignore[misc, valid-type]
        def __getattribute__(self, name: str) -> Any:
            names.add(name.lstrip("_"))
            return super().__getattribute__(name)

    run.optimizer.__class__ = Watched
    try:
        run.follow(STEPS[:2])
    except Exception:  # reported by other checks
        return names
    finally:
        run.optimizer.__class__ = kind
    return names


@functools.cache
def _situations() -> list[Situation]:
    """Steps in which an argument may have an effect: dense, 16 bits, sparse."""
    tiny = problem.scaled(STEPS, 2.0**-6)
    situations = [(STEPS, "float32"), (tiny * 2, "bfloat16")]
    if "rows" in backend.TRAITS[backend.NAME]:
        situations.append((problem.with_rows(problem.DISTINCT), "float32"))
    return situations


def _alternatives(subject: Subject, name: str, default: Any) -> list[dict[str, Any]]:
    """Other values of an argument, one of which may change a step."""
    if name in SKIPPED:
        return []
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
    """The values of a `Literal`, if the constructor says that it takes one."""
    init: Callable = subject.kind.__init__  # type: ignore[misc]
    try:
        hint = typing.get_type_hints(getattr(init, "__wrapped__", init)).get(name)
    except (NameError, TypeError):
        return ()
    return typing.get_args(hint)


@promise
def check_config_restores_schedule(subject: Subject) -> None:
    """A learning rate schedule is a schedule in the restored optimizer.

    Why: A rate that is frozen when the model is saved does not warm up and does not
    decay.

    Fix: Call `super().get_config()`, and do not override `from_config`.
    """
    schedule = keras.optimizers.schedules.ExponentialDecay(subject.rate, 2, 0.5)
    optimizer = subject.make(learning_rate=schedule)
    found = Run(rebuilt(optimizer)).follow(STEPS).numbers
    what = "made from the config of an optimizer with a schedule vs. that optimizer"
    assert_same(found, Run(optimizer).follow(STEPS).numbers, what)


@promise
def check_config_restores_exclusions(subject: Subject) -> None:
    """`exclude_from_weight_decay(var_names=...)` holds for the restored optimizer.

    Why: After a load the biases decay as well, without a warning.

    Fix: Write the names into the config, and exclude them again in `from_config`.
    """
    options = {"weight_decay": 0.1 / subject.rate}
    if not differ(subject.after(STEPS), subject.after(STEPS, **options)):
        raise CouldNotRun("weight_decay has no effect (see `check_weight_decay`)")
    run = subject.run(**options)
    run.optimizer.exclude_from_weight_decay(var_names=["bias"])
    config = run.optimizer.get_config()
    run.follow(STEPS)
    if not differ(run.numbers[1:2], subject.after(STEPS, **options)[1:2]):
        raise CouldNotRun("exclusions fail (see `check_exclude_from_weight_decay`)")
    found = Run(type(run.optimizer).from_config(config)).follow(STEPS).numbers
    what = (
        "made from the config of an optimizer that excludes `bias` vs. that optimizer"
    )
    assert_same(found, run.numbers, what)
