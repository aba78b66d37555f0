"""The contract of `apply`: what it may change, what it depends on, what it bears."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_textbook_opt.testing import backend, problem
from keras_textbook_opt.testing.comparing import (
    assert_meet,
    assert_same,
    differ,
    distance,
    failure,
    rounding,
)
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.run import Run
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckSkipped

STEPS = problem.gradients()
# What Keras's base does with these is for other checks.
KEPT = ("learning_rate", "ema_momentum", "loss_scale_factor")
LEAVING: list[dict[str, Any]] = [
    {},
    {"clipnorm": 0.1},
    {"clipvalue": 0.1},
    {"global_clipnorm": 0.1},
    {"loss_scale_factor": 8.0},
    {"weight_decay": 0.5},
    {"gradient_accumulation_steps": 2},
]
START = problem.values()


@promise
def check_a_rate_moves_the_variables(subject: Subject) -> None:
    """It can be made with a learning rate alone, and one rate makes steps of use.

    Why: All other checks measure in units of the movement of three steps, and start
    from a rate that moves variables of size 1 by 0.02 to 0.5.

    Mend: Give every other argument a default; multiply the step by the learning rate.
    """
    after = subject.run().follow(STEPS).numbers
    if not all(np.isfinite(values).all() for values in after):
        raise failure(
            f"Expected finite variables after {len(STEPS)} steps with a rate of "
            f"{subject.rate}; came {after}",
            distance(after, START),
            subject.movement,
        )


@promise
def check_fifty_steps_descend(subject: Subject) -> None:
    """Fifty steps on ½‖θ‖² lower it.

    Why: A step in the wrong direction, or one that grows from step to step, shows here
    before anything else.

    Mend: Subtract the step; look at the sign of what the momentum collects.
    """
    run = subject.run(learning_rate=subject.rate / 4)
    for _ in range(50):
        run.step(run.numbers)
    before, after = _length(run.start), _length(run.numbers)
    if not after < before:
        raise failure(
            f"Expected ½‖θ‖² to fall from {before**2 / 2:.4g} in 50 steps along its "
            f"gradient with a rate of {subject.rate / 4}; came {after**2 / 2:.4g}, and "
            "‖θ‖",
            after - before,
            _length([a - b for a, b in zip(run.numbers, run.start)]),
        )


def _length(arrays: list[np.ndarray]) -> float:
    """The norm of all of them as one vector."""
    return float(np.sqrt(sum(np.square(a, dtype="float64").sum() for a in arrays)))


@promise
def check_two_instances_step_alike(subject: Subject) -> None:
    """Two new optimizers take the same steps on the same gradients.

    Why: What is shared by all instances, a default that is a list or an attribute of
    the class, makes a training depend on the ones before it.

    Mend: Make state in `__init__` and `build`, never on the class or the module.
    """
    first, second = subject.run(), subject.run()
    assert_same(
        first.follow(STEPS).numbers,
        second.follow(STEPS).numbers,
        START,
        "one new optimizer after another",
        steps=len(STEPS),
    )


@promise
def check_another_instance_changes_nothing(subject: Subject) -> None:
    """Steps of another optimizer in between leave this one's steps as they are.

    Why: A model with two optimizers, a GAN for one, trains both in turns, with another
    rate and other arguments.

    Mend: Keep state on `self`; find it by the variable, not by a name that a second
    model's variable has as well.
    """
    alone = subject.after(STEPS)
    run, other = subject.run(), Run(_made_otherwise(subject))
    for gradients, others in zip(STEPS, STEPS[::-1]):
        run.step(gradients)
        other.step([-3 * g for g in others])
    assert_same(
        run.numbers,
        alone,
        START,
        "beside another optimizer, and alone",
        steps=len(STEPS),
    )


def _made_otherwise(subject: Subject) -> Any:
    """With another rate, and with every number of its own that may be another."""
    options: dict[str, float] = {}
    for name, value in subject.defaults().items():
        if type(value) is float and name not in KEPT:
            other = {**options, name: value / 2}
            options = other if subject.takes(other) else options
    return subject.make(subject.rate / 2, **options)


@promise
def check_all_state_is_in_variables(subject: Subject) -> None:
    """A twin that is given the values of `variables` steps alike from there on.

    Why: `variables` is what is saved, what is restored and what a compiled step on JAX
    carries along. What is kept elsewhere is lost there, and frozen in a graph.

    Mend: Make all state with `add_variable` or `add_variable_from_reference` in
    `build`: no Python numbers, arrays or lists that a step changes.
    """
    run, twin = subject.run().build(), subject.run().build()
    run.follow(STEPS[:3])
    twin.assign(run.numbers)
    for place, value in zip(
        twin.optimizer.variables, run.optimizer.variables, strict=True
    ):
        place.assign(value)
    assert_same(
        twin.follow(STEPS[3:]).numbers,
        run.follow(STEPS[3:]).numbers,
        START,
        "a twin with the values of `variables` copied over, and the original",
        steps=len(STEPS),
    )


@promise
def check_gradients_belong_to_their_variables(subject: Subject) -> None:
    """The order in which `apply` gets the pairs does not matter.

    Why: A custom loop may list the variables in another order than `build` did. A slot
    that is taken by its place in the call belongs to another variable then.

    Mend: Find a slot by its variable: `self._get_variable_index(variable)`.
    """
    run, turned = subject.run().build(), subject.run().build()
    run.follow(STEPS)
    for t, gradients in enumerate(STEPS):
        order = np.roll(range(len(START)), t)
        pairs = [(turned.variables[k], gradients[k]) for k in order]
        turned.optimizer.apply(
            [backend.gradient(g, v) for v, g in pairs], [v for v, _ in pairs]
        )
    assert_meet(
        turned.numbers,
        run.numbers,
        START,
        "the pairs in another order, and in the order of `build`",
        steps=len(STEPS),
        noise=subject.noise,
    )


@promise
def check_none_leaves_its_variable_alone(subject: Subject) -> None:
    """A gradient of `None` leaves its variable alone; the others step on.

    Why: A layer that a batch does not use has no gradient. Taken for zeros, it would
    let moments decay and the variable move on.

    Mend: Do not replace `None` by zeros; leave the filtering to `Optimizer.apply`.
    """
    run, partial = subject.run().build(), subject.run().build()
    run.step(STEPS[0])
    partial.step(STEPS[0])
    kernel, _, table = STEPS[1]
    before = partial.numbers
    partial.step([kernel, None, table])
    if differ(partial.numbers[1:2], before[1:2]):
        raise failure(
            "Expected the variable whose gradient is `None` to stay at "
            f"{before[1].tolist()}; came {partial.numbers[1].tolist()}",
            distance(partial.numbers[1:2], before[1:2]),
            distance(partial.numbers, before),
        )
    run.optimizer.apply(
        [backend.gradient(g, v) for g, v in zip((kernel, table), run.variables[::2])],
        run.variables[::2],
    )
    assert_meet(
        partial.follow(STEPS[2:]).numbers,
        run.follow(STEPS[2:]).numbers,
        START,
        "a step with `None` for one variable, and a step on the others alone",
        steps=len(STEPS),
        noise=subject.noise,
    )


@promise
def check_variables_of_any_shape(subject: Subject) -> None:
    """Variables of the shapes (), (1,) and (2, 1, 2, 1, 3) step, and stay finite.

    Why: A temperature is a scalar, a gain has one element, and a kernel of a
    three-dimensional convolution has five axes.

    Mend: Use operations that go element by element, or say which variables the
    equation is for and give the others a plain one.
    """
    shapes: dict[str, tuple] = {"scalar": (), "one": (1,), "five": (2, 1, 2, 1, 3)}
    run = Run(subject.make(), problem.values(shapes))
    after = run.follow(problem.gradients(3, shapes)).numbers
    for shape, before, now in zip(shapes.values(), run.start, after):
        if now.shape != shape or not np.isfinite(now).all() or np.all(now == before):
            moved = distance([now], [before]) if now.shape == shape else np.nan
            raise failure(
                f"Expected a variable of the shape {shape} to move; from "
                f"{before.tolist()} it came to {now.tolist()}",
                abs(subject.movement - moved),
                subject.movement,
            )


@promise
def check_a_variable_without_elements(subject: Subject) -> None:
    """A variable of the shape (0, 3) is no error, and the others step as ever.

    Why: A table of zero rows is what a vocabulary of zero words makes.

    Mend: Do not divide by a count of elements; a mean over none is NaN.
    """
    shapes = {**problem.SHAPES, "empty": (0, 3)}
    values = [*START, np.zeros((0, 3), "float32")]
    steps = [[*step, np.zeros((0, 3), "float32")] for step in STEPS]
    try:
        found = Run(subject.make(), values).follow(steps).numbers
    except Exception as error:
        if "Biases must be 1D" not in str(error):
            raise
        raise CheckSkipped(
            "waits for a TensorFlow that adds a number to a tensor without elements "
            "(its oneDNN kernels take that for a bias)"
        ) from error
    assert_meet(
        found[:3],
        subject.after(STEPS),
        START,
        "beside a variable of the shape (0, 3), and without it",
        steps=len(STEPS),
        noise=subject.noise,
        names=list(shapes),
    )


@promise
def check_zero_gradients_are_harmless(subject: Subject) -> None:
    """Zero gradients, from the first step on, leave everything finite.

    Why: A unit that is dead, or a row that no batch has named yet, has them. A square
    root of zero below a division is NaN for good.

    Mend: Add ε to what divides.
    """
    zeros = [np.zeros_like(g) for g in STEPS[0]]
    run = subject.run().follow([zeros, zeros, *STEPS[:2], zeros])
    for name, values in zip(problem.NAMES, run.numbers):
        if not np.isfinite(values).all():
            raise failure(
                f"Expected finite variables after two steps of zero gradients and two "
                f"others; `{name}` came to {values.tolist()}",
                distance(run.numbers, run.start),
                subject.movement,
            )


@promise
def check_iterations_count_the_steps(subject: Subject) -> None:
    """`iterations` is 0 at first and one more after each step.

    Why: Schedules, bias corrections and `Model.fit`'s callbacks read it.

    Mend: Call `super().apply`, which counts; do not count in `update_step`, which runs
    once a variable.
    """
    run = subject.run().build()
    counts = [int(backend.numbers(run.optimizer.iterations))]
    for gradients in STEPS[:3]:
        run.step(gradients)
        counts.append(int(backend.numbers(run.optimizer.iterations)))
    if counts != [0, 1, 2, 3]:
        off = max(abs(count - k) for k, count in enumerate(counts))
        raise failure(f"Expected `iterations` to be 0, 1, 2, 3; came {counts}", off, 3)


@promise
def check_a_rate_of_zero_stays(subject: Subject) -> None:
    """With a learning rate of 0 from the start, the variables stay where they are.

    Why: A warm-up starts at 0. NaN or a step there spoils what comes after.

    Mend: Multiply the step by the rate, and divide by nothing that is 0 with it.
    """
    run = subject.run(learning_rate=0.0).follow(STEPS)
    moved = subject.run().follow(STEPS)
    for name, before, now in zip(problem.NAMES, run.start, run.numbers):
        off = distance([now], [before])
        if not off <= rounding(len(STEPS), run.start):
            raise failure(
                f"Expected `{name}` to stay where it is with a learning rate of 0; it "
                f"moved by {off:.2g} in {len(STEPS)} steps",
                off,
                distance(moved.numbers, moved.start),
            )


@promise
def check_gradients_are_left_as_they_are(subject: Subject) -> None:
    """The list of gradients and what is in it are the same after `apply`.

    Why: The caller may log them, clip them or hand them to a second optimizer.

    Mend: Write into no array that was passed in; work on new ones.
    """
    for options in filter(subject.takes, LEAVING):
        run = subject.run(**options).build()
        takes_arrays = _takes_arrays(subject, options)
        for gradients in STEPS[:2]:
            _assert_left(run, [_tensor(g) for g in gradients])
            if takes_arrays:
                _assert_left(run, [np.array(g) for g in gradients])


def _takes_arrays(subject: Subject, options: dict[str, Any]) -> bool:
    """Whether NumPy's arrays are gradients here: Keras promises tensors alone."""
    run = subject.run(**options)
    try:
        for gradients in STEPS[:2]:
            run.optimizer.apply([np.array(g) for g in gradients], run.variables)
    except (AttributeError, TypeError, ValueError):
        return False
    return True


def _tensor(g: np.ndarray):
    # A copy: on some backends a tensor shares the memory of its array.
    return keras.ops.convert_to_tensor(np.array(g))


def _assert_left(run: Run, given: list) -> None:
    before = [np.array(backend.numbers(g)) for g in given]
    passed = list(given)
    run.optimizer.apply(passed, run.variables)
    size = distance(before, [np.zeros_like(g) for g in before])
    if len(passed) != len(given) or any(a is not b for a, b in zip(passed, given)):
        raise failure(
            "Expected the list of gradients to hold the objects that it held before "
            "`apply`; it holds others, whose values are",
            distance([backend.numbers(g) for g in passed], before),
            size,
        )
    for name, old, g in zip(problem.NAMES, before, given):
        now = backend.numbers(g)
        if not np.array_equal(old, now):
            raise failure(
                f"Expected the gradient of `{name}` to be {old.tolist()} after `apply` "
                f"as before; came {now.tolist()}",
                distance([now], [old]),
                size,
            )


@promise
def check_the_first_step_builds(subject: Subject) -> None:
    """`apply(gradients, variables)` on a new optimizer is `build` and then the step.

    Why: Custom loops do not call `build`.

    Mend: Make in `build` all that a step needs, and nothing in a step.
    """
    built, unbuilt = subject.run().build(), subject.run()
    assert_same(
        unbuilt.follow(STEPS).numbers,
        built.follow(STEPS).numbers,
        START,
        "without `build` before the first step, and with it",
        steps=len(STEPS),
    )


@promise
def check_the_variables_may_be_left_out(subject: Subject) -> None:
    """`apply(gradients)` on an optimizer that is built is `apply` with the variables.

    Why: Keras's documentation has loops that pass the gradients alone.

    Mend: Where `apply` is overridden, take `trainable_variables=None` for those that
    `build` was given, and pass it on.
    """
    run, alone = subject.run().build(), subject.run().build()
    for gradients in STEPS:
        alone.optimizer.apply(
            [backend.gradient(g, v) for g, v in zip(gradients, alone.variables)]
        )
    assert_same(
        alone.numbers,
        run.follow(STEPS).numbers,
        START,
        "`apply` of the gradients alone, and with the variables",
        steps=len(STEPS),
    )


@promise
def check_apply_gradients_is_apply(subject: Subject) -> None:
    """`apply_gradients` on pairs is `apply` on the two lists.

    Why: Loops that were written for Keras 2 call it.

    Mend: Override `update_step`, and leave both to `keras.optimizers.Optimizer`.
    """
    run, pairs = subject.run(), subject.run()
    for gradients in STEPS:
        converted = [backend.gradient(g, v) for g, v in zip(gradients, pairs.variables)]
        pairs.optimizer.apply_gradients(zip(converted, pairs.variables))
    assert_same(
        pairs.numbers,
        run.follow(STEPS).numbers,
        START,
        "`apply_gradients` and `apply`",
        steps=len(STEPS),
    )


@promise
def check_float64_has_its_digits(subject: Subject) -> None:
    """Variables of float64 stay float64, and step as those of float32 do.

    Why: Physics and second derivatives are computed in float64. A step that goes
    through float32 throws away half of the digits.

    Mend: Cast to the variable's dtype, not to float32.
    """
    backend.want("float64")
    # These bits are below those of float32.
    start = [value.astype("float64") * (1 + 2.0**-40) for value in START]
    tiny = [[g * 1e-3 for g in step] for step in STEPS[:3]]
    run = Run(subject.make(learning_rate=subject.rate * 1e-3), start, "float64")
    run.follow(tiny)
    for name, values in zip(problem.NAMES, run.numbers):
        if np.array_equal(values, values.astype("float32")):
            raise failure(
                f"Expected `{name}` to keep digits below those of float32; every one "
                f"of its values is one of float32 after three steps",
                np.finfo("float32").eps * np.abs(values).max() / 2,
                distance(run.numbers, start),
            )
    wide = Run(subject.make(), [v.astype("float64") for v in START], "float64")
    assert_meet(
        wide.follow(STEPS).numbers,
        subject.after(STEPS),
        START,
        "in float64 and in float32",
        steps=len(STEPS),
        noise=subject.noise,
    )


@promise
def check_the_rate_can_be_read_and_set(subject: Subject) -> None:
    """`learning_rate` reads as it was given, and the next step follows one that is set.

    Why: `ReduceLROnPlateau` and `LearningRateScheduler` set it between two epochs.

    Mend: Use the rate that `update_step` is given; keep no copy from `__init__`.
    """
    run = subject.run().build()
    rate = float(backend.numbers(run.optimizer.learning_rate))
    if not np.isclose(rate, subject.rate, rtol=1e-6):
        raise failure(
            f"Expected `learning_rate` to be {subject.rate}, as given; came {rate}",
            abs(rate / subject.rate - 1) * subject.movement,
            subject.movement,
        )
    twin = subject.run(learning_rate=subject.rate / 4).build()
    run.optimizer.learning_rate = subject.rate / 4
    expected = twin.follow(STEPS).numbers
    if not differ(expected, subject.after(STEPS)):
        raise CheckSkipped("waits for an optimizer whose steps depend on the rate")
    assert_meet(
        run.follow(STEPS).numbers,
        expected,
        START,
        "a rate that is set before the first step, and given to the constructor",
        steps=len(STEPS),
        noise=subject.noise,
    )
