"""State: what is saved, copied or loaded goes on as what was never interrupted."""

from __future__ import annotations

import copy
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_textbook_opt.testing import backend, problem
from keras_textbook_opt.testing.comparing import assert_same, differ, distance, failure
from keras_textbook_opt.testing.linear import LAYERS, SQUARED, model_of, serializable
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.run import Run
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckSkipped

STEPS = problem.gradients()
START = problem.values()
OF_LAYERS = problem.gradients(6, LAYERS)
# A run is cut in the middle of an accumulation, and has averages.
RICH: dict[str, Any] = {
    "use_ema": True,
    "ema_momentum": 0.5,
    "ema_overwrite_frequency": 2,
    "gradient_accumulation_steps": 2,
}
CUT = 3


def _optimizers(subject: Subject) -> list[Any]:
    """A plain one; and one that has more to remember, where there is such."""
    try:
        return [subject.make(), subject.make(**RICH)]
    except CheckSkipped:
        return [subject.make()]


def _assert_model_goes_on(
    subject: Subject, reload: Callable[[keras.Model, Path], keras.Model], what: str
) -> None:
    """Three steps, a file, and three steps more: of the model and of what was read."""
    for optimizer in _optimizers(subject):
        model = model_of(optimizer)
        _train(model, OF_LAYERS[:CUT])
        with tempfile.TemporaryDirectory() as folder, serializable(optimizer):
            loaded = reload(model, Path(folder))
        _train(model, OF_LAYERS[CUT:])
        _train(loaded, OF_LAYERS[CUT:])
        assert_same(
            loaded.get_weights(),
            model.get_weights(),
            problem.values(LAYERS),
            f"three more steps after {what}, and of training that went on",
            steps=len(OF_LAYERS),
            names=list(LAYERS),
        )


def _train(model: keras.Model, steps: list[list]) -> None:
    for gradients in steps:
        pairs = list(zip(gradients, model.trainable_variables, strict=True))
        model.optimizer.apply(
            [backend.gradient(g, v) for g, v in pairs], [v for _, v in pairs]
        )


@promise
def check_a_keras_file_goes_on(subject: Subject) -> None:
    """A model out of a `.keras` file trains on to the bit as if it had not been saved.

    Why: A run that is cut short is resumed from such a file.

    Mend: Keep all state in `variables`, and all arguments in `get_config`.
    """

    def reload(model: keras.Model, folder: Path) -> keras.Model:
        model.save(folder / "model.keras")
        return keras.models.load_model(folder / "model.keras")

    _assert_model_goes_on(subject, reload, "a .keras file")


@promise
def check_an_h5_file_goes_on(subject: Subject) -> None:
    """The same out of a legacy `.h5` file.

    Why: Many models are kept in such files, and nothing says that they cannot go on.

    Mend: Let a state that is loaded before its variables are there wait for them: the
    loader calls `build` with an empty list.
    """

    def reload(model: keras.Model, folder: Path) -> keras.Model:
        model.save(folder / "model.h5")
        return keras.models.load_model(folder / "model.h5")

    _assert_model_goes_on(subject, reload, "an .h5 file")


@promise
def check_a_weights_file_goes_on(subject: Subject) -> None:
    """The same out of a `.weights.h5` file, into a model whose optimizer is built.

    Why: `ModelCheckpoint(save_weights_only=True)` writes them.

    Mend: Make in `build` every variable that a step needs.
    """

    def reload(model: keras.Model, folder: Path) -> keras.Model:
        loaded = _twin_of(model)
        loaded.optimizer.build(loaded.trainable_variables)
        return _through_weights(model, loaded, folder)

    _assert_model_goes_on(subject, reload, "a .weights.h5 file")


@promise
def check_a_weights_file_into_a_new_model_goes_on(subject: Subject) -> None:
    """The same into a model that has been compiled and has not taken a step yet.

    Why: It is what a program that resumes does: build, compile, load, fit. Keras skips
    the state of an optimizer that is not built, with a warning.

    Mend: Build in `load_own_variables`, or keep the values until `build`.
    """

    def reload(model: keras.Model, folder: Path) -> keras.Model:
        return _through_weights(model, _twin_of(model), folder)

    _assert_model_goes_on(subject, reload, "a .weights.h5 file, into a new model")


def _twin_of(model: keras.Model) -> keras.Model:
    return model_of(_twin_optimizer(model.optimizer))


def _through_weights(
    model: keras.Model, loaded: keras.Model, folder: Path
) -> keras.Model:
    model.save_weights(folder / "model.weights.h5")
    loaded.load_weights(folder / "model.weights.h5")
    return loaded


def _assert_copy_goes_on(
    subject: Subject, duplicate: Callable[[Any], Any], what: str
) -> None:
    """Three steps, a copy, and three steps more of both."""
    for optimizer in _optimizers(subject):
        run = Run(optimizer).build().follow(STEPS[:CUT])
        with serializable(optimizer):
            twin = Run(duplicate(optimizer), run.numbers)
        run.follow(STEPS[CUT:])
        assert_same(
            twin.follow(STEPS[CUT:]).numbers,
            run.numbers,
            START,
            f"three more steps of {what}, and of the original",
            steps=len(STEPS),
        )


@promise
def check_pickle_goes_on(subject: Subject) -> None:
    """An optimizer out of `pickle` steps on to the bit as the original does.

    Why: Ray, Dask, joblib and `multiprocessing` pickle what they are handed. What comes
    out without its moments starts afresh, and says nothing or warns.

    Mend: Keep the values that are loaded until `build` has made the variables.
    """
    _assert_copy_goes_on(subject, lambda o: pickle.loads(pickle.dumps(o)), "a pickle")


@promise
def check_deepcopy_goes_on(subject: Subject) -> None:
    """The same for `copy.deepcopy`.

    Why: Searches over hyperparameters copy what they start from.

    Mend: As for `pickle`.
    """
    _assert_copy_goes_on(subject, copy.deepcopy, "a deep copy")


@promise
def check_own_variables_go_on(subject: Subject) -> None:
    """What `save_own_variables` writes and `load_own_variables` reads is all the state.

    Why: Every file format of Keras calls these two.

    Mend: Override both or neither.
    """
    for optimizer in _optimizers(subject):
        run = Run(optimizer).build().follow(STEPS[:CUT])
        twin = Run(_twin_optimizer(optimizer), run.numbers).build()
        store: dict[str, Any] = {}
        optimizer.save_own_variables(store)
        twin.optimizer.load_own_variables(store)
        run.follow(STEPS[CUT:])
        assert_same(
            twin.follow(STEPS[CUT:]).numbers,
            run.numbers,
            START,
            "three more steps after `load_own_variables`, and of the original",
            steps=len(STEPS),
        )


def _twin_optimizer(optimizer: Any) -> Any:
    return type(optimizer).from_config(optimizer.get_config())


@promise
def check_a_checkpoint_of_tensorflow_goes_on(subject: Subject) -> None:
    """The same for `tf.train.Checkpoint` of the optimizer and its variables.

    Why: Custom loops of TensorFlow save so.

    Mend: Keep variables as attributes of the optimizer, in lists or dicts.
    """
    backend.want("checkpoint")
    tf = backend.tensorflow()
    for optimizer in _optimizers(subject):
        run = Run(optimizer).build().follow(STEPS[:CUT])
        twin = Run(_twin_optimizer(optimizer)).build()
        with tempfile.TemporaryDirectory() as folder:
            path = tf.train.Checkpoint(
                optimizer=optimizer, variables=[v.value for v in run.variables]
            ).save(f"{folder}/checkpoint")
            tf.train.Checkpoint(
                optimizer=twin.optimizer, variables=[v.value for v in twin.variables]
            ).restore(path).assert_existing_objects_matched()
        run.follow(STEPS[CUT:])
        assert_same(
            twin.follow(STEPS[CUT:]).numbers,
            run.numbers,
            START,
            "three more steps after a checkpoint of TensorFlow, and of the original",
            steps=len(STEPS),
        )


@promise
def check_a_state_that_does_not_fit_is_refused(subject: Subject) -> None:
    """A state of other variables is an error, after which nothing has changed.

    Why: A layer more, or another width, and the state is not that of this model. What
    is skipped with a warning, or assigned in part, trains on from nothing known.

    Mend: Compare names, numbers and shapes of all entries before the first is assigned.
    """
    turned = {**problem.SHAPES, "kernel": (3, 4)}
    fewer = {"kernel": problem.SHAPES["kernel"]}
    for shapes in (turned, fewer):
        donor = Run(subject.make(), problem.values(shapes)).build()
        donor.follow(problem.gradients(2, shapes))
        run = subject.run().build().follow(STEPS[:2])
        if _shapes(donor) == _shapes(run):
            raise CheckSkipped("waits for an optimizer with state beside a variable")
        store: dict[str, Any] = {}
        donor.optimizer.save_own_variables(store)
        before, movement = run.state, distance(run.numbers, START)
        try:
            run.optimizer.load_own_variables(store)
        except Exception:
            if differ(run.state, before):
                raise failure(
                    "Expected a state that does not fit to change nothing when it is "
                    "refused; a part of it has been assigned, and the state is",
                    distance(run.state, before),
                    movement,
                ) from None
        else:
            expected = subject.run().follow(STEPS[:CUT]).numbers
            raise failure(
                f"Expected an error where the state of variables of the shapes "
                f"{list(shapes.values())} is loaded for "
                f"{list(problem.SHAPES.values())}; came none (all that could change is "
                "the next step, beside one without the load)",
                distance(run.follow(STEPS[2:CUT]).numbers, expected),
                movement,
            )


def _shapes(run: Run) -> list[tuple]:
    return sorted(tuple(v.shape) for v in run.optimizer.variables)


@promise
def check_the_state_goes_where_the_weights_go(subject: Subject) -> None:
    """Layers of one shape keep their own state through a file, however called.

    Why: Keras puts weights by the place of their layer and calls layers by a counter:
    in a second model of the same program, `dense_7` is what was `dense_2`.

    Mend: Do not take a slot by the name of a variable.
    """
    kinds = {"first": (3, 3), "second": (3, 3)}
    values, steps = problem.values(kinds), problem.gradients(6, kinds)

    def model(names: list[str], optimizer: Any) -> keras.Model:
        layers = [keras.layers.Dense(3, use_bias=False, name=name) for name in names]
        made = keras.Sequential([keras.Input((3,)), *layers])
        made.set_weights(values)
        made.compile(optimizer=optimizer, loss=SQUARED)
        return made

    original = model(["dense_1", "dense_2"], subject.make())
    _train(original, steps[:CUT])
    loaded = model(["dense_2", "dense_9"], subject.make())
    loaded.optimizer.build(loaded.trainable_variables)
    with tempfile.TemporaryDirectory() as folder, serializable(original.optimizer):
        _through_weights(original, loaded, Path(folder))
    _train(original, steps[CUT:])
    _train(loaded, steps[CUT:])
    assert_same(
        [np.array(w) for w in loaded.get_weights()],
        [np.array(w) for w in original.get_weights()],
        values,
        "three more steps in a model whose layers are called otherwise",
        steps=len(steps),
        names=list(kinds),
    )
