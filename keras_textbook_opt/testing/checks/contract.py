"""The contract of `apply`: what it changes, what it depends on, what it accepts."""

from __future__ import annotations

import contextlib
from typing import Any

import keras
import numpy as np

from keras_textbook_opt.testing import backend, problem
from keras_textbook_opt.testing.comparing import (
    assert_finite,
    assert_same,
    differ,
    distance,
    failure,
    rounding,
)
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.run import Run
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckFailed, CheckSkipped

START = problem.values()
# Other checks test what Keras's base class does with these.
KEPT = ("learning_rate", "ema_momentum", "loss_scale_factor")
UNMODIFIED: list[dict[str, Any]] = [
    {},
    {"clipnorm": 0.1},
    {"clipvalue": 0.1},
    {"global_clipnorm": 0.1},
    {"loss_scale_factor": 8.0},
    {"weight_decay": 0.5},
    {"gradient_accumulation_steps": 2},
]


@promise
def check_learning_rate_moves_variables(subject: Subject) -> None:
    """The constructor needs only a learning rate, and some rate makes useful steps.

    Why: All other checks use a rate that moves variables of size 1 by 0.02 to 0.5 in a
    few steps, and measure errors in units of that movement.

    Fix: Give every other argument a default; multiply the step by the learning rate.
    """
    what = f"{len(subject.steps)} steps with a rate of {subject.rate}"
    assert_finite(subject.plain, what)


@promise
def check_fifty_steps_reduce_loss(subject: Subject) -> None:
    """Fifty steps on ½‖θ‖² reduce it, with one learning rate at least.

    Why: A step in the wrong direction, or one that grows from step to step, shows here.

    Fix: Subtract the step; look at the sign of what the momentum accumulates.
    """
    for share in (4, 16, 64, 256):
        run = Run(subject.make(subject.rate / share), mode=backend.fastest)
        for _ in range(50):
            run.step(run.numbers)
        before, after = _length(run.start), _length(run.numbers)
        if after < before:
            return
    raise CheckFailed(
        f"Expected ½‖θ‖² to fall from {before**2 / 2:.4g} in 50 steps along its "
        f"gradient, with rates of {subject.rate / 4:.2g} to {subject.rate / 256:.2g}; "
        f"it is {after**2 / 2:.4g} with the smallest."
    )


def _length(arrays: list[np.ndarray]) -> float:
    """The norm of all of them as one vector."""
    return float(np.sqrt(sum(np.square(a, dtype="float64").sum() for a in arrays)))


@promise
def check_steps_are_reproducible(subject: Subject) -> None:
    """Two new optimizers take the same steps on the same gradients.

    Why: State that all instances share (a default that is a list, an attribute of the
    class) makes a training run depend on the runs before it.

    Fix: Create state in `__init__` and `build`, never on the class or the module.
    """
    found = subject.run().follow(subject.steps).numbers
    assert_same(found, subject.plain, "two new optimizers")


@promise
def check_instances_are_independent(subject: Subject) -> None:
    """Steps of another optimizer in between do not change the steps of this one.

    Why: A model with two optimizers, such as a GAN, trains both in turns, with
    different rates and arguments.

    Fix: Keep state on `self`; find it by the variable, not by a name that a variable of
    another model can have as well.
    """
    alone = subject.plain
    run, other = subject.run(), Run(_made_otherwise(subject))
    for gradients, others in zip(subject.steps, subject.steps[::-1]):
        run.step(gradients)
        other.step([-3 * g for g in others])
    assert_same(run.numbers, alone, "next to another optimizer vs. alone")


def _made_otherwise(subject: Subject) -> Any:
    """With another rate, and another value of each number that allows one."""
    options: dict[str, float] = {}
    for name, value in subject.defaults().items():
        if type(value) is float and name not in KEPT:
            other = {**options, name: value / 2}
            options = other if subject.takes(other) else options
    return subject.make(subject.rate / 2, **options)


@promise
def check_state_is_in_variables(subject: Subject) -> None:
    """An optimizer with the same values in `variables` takes the same steps.

    Why: `variables` is saved, restored, and passed through compiled steps on JAX. State
    elsewhere is lost in a file and frozen in a graph.

    Fix: Create all state with `add_variable` or `add_variable_from_reference` in
    `build`: no Python numbers, arrays or lists that a step changes.
    """
    half = len(subject.steps) // 2
    run, twin = subject.run().build(), subject.run().build()
    if len(run.state) != len(twin.state):
        raise CheckFailed(
            f"Two new optimizers have {len(run.state)} and {len(twin.state)} variables."
        )
    count = len(run.state)
    run.follow(subject.steps[:half])
    if len(run.state) != count:
        raise CheckFailed(
            f"`build` creates {count} variables; after {half} steps there are "
            f"{len(run.state)}."
        )
    twin.assign(run.numbers)
    for place, value in zip(twin.optimizer.variables, run.state):
        place.assign(value)
    assert_same(
        twin.follow(subject.steps[half:]).numbers,
        run.follow(subject.steps[half:]).numbers,
        "an optimizer with the values of `variables` copied over vs. the original",
    )


@promise
def check_second_build_keeps_state(subject: Subject) -> None:
    """`build` with the same variables a second time does not reset the state.

    Why: `Model.fit`, a custom loop and a loader may each call `build`.

    Fix: Return from `build` if `self.built`.
    """
    half = len(subject.steps) // 2
    run = subject.run().build().follow(subject.steps[:half])
    try:
        run.build()
    except ValueError as error:
        raise CheckSkipped("a second `build` raises a ValueError") from error
    found = run.follow(subject.steps[half:]).numbers
    expected = subject.plain
    assert_same(found, expected, "`build` called again vs. called once")


@promise
def check_slots_are_separate(subject: Subject) -> None:
    """Variables of one name, one shape or the transposed shape have separate state.

    Why: Two layers may have a variable of the same name and shape.

    Fix: Find a slot by its variable: `self._get_variable_index(variable)`.
    """
    subject.require_local()
    shapes: dict[str, tuple] = {"a": (4, 3), "b": (4, 3), "c": (3, 4), "d": (4, 3)}
    names = ["kernel", "kernel", "kernel", "other"]
    values = problem.values(shapes)
    steps = problem.gradients(len(subject.steps), shapes)

    def after(some: slice) -> list[np.ndarray]:
        optimizer, mode = subject.make(), backend.cheapest
        run = Run(optimizer, values[some], mode=mode, names=names[some])
        return run.follow([step[some] for step in steps]).numbers

    together = after(slice(None))
    alone = [after(slice(k, k + 1))[0] for k in range(len(values))]
    what = "variables of one name or shape together vs. each alone"
    subject.assert_close(together, alone, what, start=values, names=names)


@promise
def check_variable_order(subject: Subject) -> None:
    """The order of the variables in a call of `apply` does not matter.

    Why: A custom loop may list the variables in another order than `build`. State that
    is found by its position then belongs to another variable.

    Fix: Find a slot by its variable: `self._get_variable_index(variable)`.
    """
    run, turned = subject.run().build(), subject.run().build()
    run.follow(subject.steps)
    for t, gradients in enumerate(subject.steps):
        order = np.roll(range(len(START)), t)
        tensors = turned.tensors(gradients)
        turned.optimizer.apply(
            [tensors[k] for k in order], [turned.variables[k] for k in order]
        )
    what = "variables in another order vs. in the order of `build`"
    subject.assert_close(turned.numbers, run.numbers, what)


@promise
def check_none_gradient(subject: Subject) -> None:
    """A gradient of `None` leaves its variable unchanged; the others are updated.

    Why: A layer that a batch does not use has no gradient. Replaced by zeros, it would
    let moments decay and the variable move.

    Fix: Do not replace `None` by zeros; leave the filtering to `Optimizer.apply`.
    """
    run, partial = subject.run().build(), subject.run().build()
    run.step(subject.steps[0])
    partial.step(subject.steps[0])
    kernel, _, table = subject.steps[1]
    before = partial.numbers
    partial.step([kernel, None, table])
    if differ(partial.numbers[1:2], before[1:2]):
        raise failure(
            "Expected the variable whose gradient is `None` to stay at "
            f"{before[1].tolist()}; got {partial.numbers[1].tolist()}",
            distance(partial.numbers[1:2], before[1:2]),
            distance(partial.numbers, before),
        )
    run.optimizer.apply(
        backend.tensors([kernel, table], run.variables[::2]), run.variables[::2]
    )
    subject.assert_close(
        partial.follow(subject.steps[2:]).numbers,
        run.follow(subject.steps[2:]).numbers,
        "a step with `None` for a variable vs. a step on the others only",
    )


@promise
def check_variable_shapes(subject: Subject) -> None:
    """Variables of the shapes (), (1,) and (2, 1, 2, 1, 3) are updated, and finite.

    Why: A temperature is a scalar, a gain has one element, and a kernel of a
    three-dimensional convolution has five axes.

    Fix: Use element-wise operations, or say which variables the equation is for and
    update the others by a plain one.
    """
    shapes: dict[str, tuple] = {"scalar": (), "one": (1,), "five": (2, 1, 2, 1, 3)}
    run = Run(subject.make(), problem.values(shapes), mode=backend.cheapest)
    after = run.follow(problem.gradients(len(subject.steps), shapes)).numbers
    for shape, before, now in zip(shapes.values(), run.start, after):
        if now.shape != shape or not np.isfinite(now).all() or np.all(now == before):
            raise CheckFailed(
                f"Expected a variable of the shape {shape} to move; it started at "
                f"{before.tolist()} and is {now.tolist()}."
            )


@promise
def check_empty_variable(subject: Subject) -> None:
    """A variable of the shape (0, 3) is accepted, and the others are unaffected.

    Why: An embedding of an empty vocabulary has such a table.

    Fix: Do not divide by a number of elements; a mean over none is NaN.
    """
    values = [*START, np.zeros((0, 3), "float32")]
    steps = [[*step, np.zeros((0, 3), "float32")] for step in subject.steps]
    try:
        run = Run(subject.make(), values, mode=backend.cheapest)
        found = run.follow(steps).numbers
    except Exception as error:
        if "Biases must be 1D" not in str(error):
            raise
        raise CheckSkipped(
            "TensorFlow's oneDNN kernels cannot add a number to an empty tensor"
        ) from error
    subject.require_local()
    what = "next to a variable of the shape (0, 3) vs. without it"
    subject.assert_close(found[:3], subject.plain, what)


@promise
def check_zero_gradients(subject: Subject) -> None:
    """Zero gradients, from the first step on, leave everything finite.

    Why: A dead unit has them, and so has a row that no batch contained yet. Dividing by
    the square root of zero gives NaN from then on.

    Fix: Add ε to the denominator.
    """
    zeros = [np.zeros_like(g) for g in subject.steps[0]]
    run = subject.run().follow([zeros, zeros, *subject.steps[:2], zeros])
    assert_finite(run.numbers, "steps with zero gradients")


@promise
def check_large_gradients(subject: Subject) -> None:
    """Gradients of size 1e4 leave the variables and the state finite.

    Why: A second moment that is kept in float16 overflows there: infinite for good, it
    ends all steps.

    Fix: Keep slots in float32, and compute squares and sums in float32.
    """
    run = subject.run().follow(problem.scaled(subject.steps, 1e4))
    names = [*problem.NAMES, *(v.path for v in run.optimizer.variables)]
    what = f"{len(subject.steps)} steps with gradients of size 1e4"
    assert_finite([*run.numbers, *run.state], what, names)


@promise
def check_iterations(subject: Subject) -> None:
    """`iterations` is 0 at first, and grows by one in each step.

    Why: Schedules, bias corrections and callbacks of `Model.fit` read it.

    Fix: Call `super().apply`, which counts; do not count in `update_step`, which runs
    once for each variable.
    """
    run = subject.run().build()
    counts = [int(backend.numbers(run.optimizer.iterations))]
    for gradients in subject.steps[:3]:
        run.step(gradients)
        counts.append(int(backend.numbers(run.optimizer.iterations)))
    if counts != [0, 1, 2, 3]:
        raise CheckFailed(f"Expected `iterations` to be 0, 1, 2, 3; got {counts}.")


@promise
def check_zero_learning_rate(subject: Subject) -> None:
    """With a learning rate of 0 from the start, 48 steps do not move the variables.

    Why: A warm-up starts at 0. NaN or a step there spoils all that follows. An average
    that starts at zero, and replaces the weights every few steps, shows here too.

    Fix: Multiply the step by the rate, do not divide by it; start averages at the
    variable's value.
    """
    run = Run(subject.make(learning_rate=0.0), mode=backend.fastest)
    run.follow(problem.gradients(48))
    for name, before, now in zip(problem.NAMES, run.start, run.numbers):
        off = distance([now], [before])
        if not off <= rounding(48, run.start):
            raise failure(
                f"Expected `{name}` not to move with a learning rate of 0; it moves by "
                f"{off:.2g} in 48 steps",
                off,
                subject.movement,
            )


@promise
def check_gradients_are_not_modified(subject: Subject) -> None:
    """The list of gradients, and the gradients, are the same after `apply`.

    Why: The caller may log them, clip them or pass them to a second optimizer.

    Fix: Do not write into arguments; keep a copy of a gradient, not the gradient.
    """
    for options in filter(subject.takes, UNMODIFIED):
        run = subject.run(**options).build()
        tensors = [[_tensor(g) for g in step] for step in subject.steps[:3]]
        arrays = [[np.array(g) for g in step] for step in subject.steps[:2]]
        given = [*tensors, *arrays]
        copies = [[backend.numbers(g) for g in step] for step in given]
        for gradients in tensors:
            _assert_same_list(run, gradients)
        # Keras promises only tensors.
        with contextlib.suppress(AttributeError, TypeError, ValueError):
            for gradients in arrays:
                _assert_same_list(run, gradients)
        # At the end: a gradient that was kept may be modified some steps later.
        for gradients, before in zip(given, copies):
            _assert_unmodified(gradients, before)


def _tensor(g: np.ndarray):
    # A copy: on some backends a tensor shares the memory of its array.
    return keras.ops.convert_to_tensor(np.array(g))


def _assert_same_list(run: Run, given: list) -> None:
    passed = list(given)
    run.optimizer.apply(passed, run.variables)
    if len(passed) != len(given) or any(a is not b for a, b in zip(passed, given)):
        raise CheckFailed(
            "Expected the list of gradients to hold the same objects after `apply`; it "
            "holds others."
        )


def _assert_unmodified(given: list, before: list) -> None:
    for name, old, g in zip(problem.NAMES, before, given):
        now = backend.numbers(g)
        if not np.array_equal(old, now):
            raise CheckFailed(
                f"Expected the gradient of `{name}` to be {old.ravel()[:3].tolist()}… "
                f"after `apply` as before; got {now.ravel()[:3].tolist()}…"
            )


@promise
def check_apply_without_build(subject: Subject) -> None:
    """`apply(gradients, variables)` on a new optimizer builds it.

    Why: Custom loops do not call `build`.

    Fix: Create in `build` all that a step needs, and nothing in a step.
    """
    built, unbuilt = subject.run().build(), subject.run()
    assert_same(
        unbuilt.follow(subject.steps).numbers,
        built.follow(subject.steps).numbers,
        "without `build` before the first step vs. with it",
    )


@promise
def check_apply_without_variables(subject: Subject) -> None:
    """`apply(gradients)` on a built optimizer updates the variables of `build`.

    Why: Loops in Keras's documentation pass only the gradients.

    Fix: If you override `apply`, pass `trainable_variables=None` on.
    """
    run, alone = subject.run().build(), subject.run().build()
    for gradients in subject.steps:
        alone.optimizer.apply(alone.tensors(gradients))
    expected = run.follow(subject.steps).numbers
    what = "`apply` of the gradients only vs. with the variables"
    assert_same(alone.numbers, expected, what)


@promise
def check_apply_gradients(subject: Subject) -> None:
    """`apply_gradients` on pairs does the same as `apply` on the two lists.

    Why: Loops that were written for Keras 2 call it.

    Fix: Override `update_step`, and leave both to `keras.optimizers.Optimizer`.
    """
    pairs = subject.run()
    for gradients in subject.steps:
        tensors = pairs.tensors(gradients)
        pairs.optimizer.apply_gradients(zip(tensors, pairs.variables))
    expected = subject.plain
    assert_same(pairs.numbers, expected, "`apply_gradients` vs. `apply`")


@promise
def check_learning_rate_can_be_set(subject: Subject) -> None:
    """`learning_rate` reads as it was given, and steps follow a rate that is set.

    Why: `ReduceLROnPlateau` and `LearningRateScheduler` read and set it between epochs.
    A rate that drifts by itself defeats them.

    Fix: Use the rate that `update_step` receives; keep no copy from `__init__`, and do
    not assign to `learning_rate`.
    """
    _assert_rate(subject.run().build(), subject, 0)
    run = Run(subject.make(), mode=backend.fastest).build()
    _assert_rate(run.follow(problem.gradients(12)), subject, 12)
    run = subject.run().build()
    twin = subject.run(learning_rate=subject.rate / 4).build()
    run.optimizer.learning_rate = subject.rate / 4
    expected = twin.follow(subject.steps).numbers
    if not differ(expected, subject.plain):
        raise CheckSkipped("the steps do not depend on the learning rate")
    subject.assert_close(
        run.follow(subject.steps).numbers,
        expected,
        "a rate set before the first step vs. given to the constructor",
    )


def _assert_rate(run: Run, subject: Subject, steps: int) -> None:
    rate = np.asarray(backend.numbers(run.optimizer.learning_rate))
    if rate.shape != () or not np.isclose(rate, subject.rate, rtol=1e-6):
        raise CheckFailed(
            f"Expected `learning_rate` to be {subject.rate}, as given, after {steps} "
            f"steps; got {rate}.",
            [f"learning_rate after {steps} steps"],
        )
