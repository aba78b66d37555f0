"""State: training resumes bit for bit after a save, a copy or a load."""

from __future__ import annotations

import copy
import pickle
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_textbook_opt.testing import backend, problem
from keras_textbook_opt.testing.comparing import assert_same, differ, distance, failure
from keras_textbook_opt.testing.linear import (
    LAYERS,
    SQUARED,
    model_of,
    rebuilt,
    serializable,
    train,
)
from keras_textbook_opt.testing.registry import promise
from keras_textbook_opt.testing.run import Run
from keras_textbook_opt.testing.subject import Subject
from keras_textbook_opt.testing.verdicts import CheckFailed, CheckSkipped

STEPS = problem.gradients()
START = problem.values()
OF_LAYERS = problem.gradients(6, LAYERS)
# Interrupted in the middle of an accumulation, and with averages.
RICH: dict[str, Any] = {
    "use_ema": True,
    "ema_momentum": 0.5,
    "ema_overwrite_frequency": 2,
    "gradient_accumulation_steps": 2,
}
CUT = 3


def _optimizers(subject: Subject) -> list[Any]:
    """A plain one, and one with more state if the constructor allows it."""
    try:
        return [subject.make(), subject.make(**RICH)]
    except CheckSkipped:
        return [subject.make()]


def _assert_model_resumes(
    subject: Subject, reload: Callable[[keras.Model, Path], keras.Model], what: str
) -> None:
    """Three steps, a file, and three more steps of the model and of the loaded one."""
    for optimizer in _optimizers(subject):
        model = model_of(optimizer)
        train(model, OF_LAYERS[:CUT])
        with tempfile.TemporaryDirectory() as folder, serializable(optimizer):
            loaded = reload(model, Path(folder))
        train(model, OF_LAYERS[CUT:])
        train(loaded, OF_LAYERS[CUT:])
        assert_same(
            loaded.get_weights(),
            model.get_weights(),
            f"three more steps after loading {what} vs. uninterrupted training",
            start=problem.values(LAYERS),
            names=list(LAYERS),
        )


@promise
def check_keras_file_resumes(subject: Subject) -> None:
    """Training resumes bit for bit from a `.keras` file.

    Why: An interrupted run is resumed from such a file.

    Fix: Keep all state in `variables`, and all arguments in `get_config`.
    """

    def reload(model: keras.Model, folder: Path) -> keras.Model:
        model.save(folder / "model.keras")
        return keras.models.load_model(folder / "model.keras")

    _assert_model_resumes(subject, reload, "a .keras file")


@promise
def check_h5_file_resumes(subject: Subject) -> None:
    """Training resumes bit for bit from a legacy `.h5` file.

    Why: Many models are stored in such files, and no error says that the state is lost.

    Fix: Keep loaded values until the variables exist: the loader calls `build` with an
    empty list.
    """

    def reload(model: keras.Model, folder: Path) -> keras.Model:
        model.save(folder / "model.h5")
        return keras.models.load_model(folder / "model.h5")

    _assert_model_resumes(subject, reload, "an .h5 file")


@promise
def check_weights_file_resumes(subject: Subject) -> None:
    """Training resumes from a `.weights.h5` file; the optimizer is built before.

    Why: `ModelCheckpoint(save_weights_only=True)` writes them.

    Fix: Create in `build` every variable that a step needs.
    """

    def reload(model: keras.Model, folder: Path) -> keras.Model:
        loaded = _twin_of(model)
        loaded.optimizer.build(loaded.trainable_variables)
        return _through_weights(model, loaded, folder)

    _assert_model_resumes(subject, reload, "a .weights.h5 file")


@promise
def check_weights_file_resumes_unbuilt(subject: Subject) -> None:
    """Training resumes from a `.weights.h5` file in a compiled, unbuilt model.

    Why: A program that resumes does this: build the model, compile, load, fit. Keras
    skips the state of an optimizer that is not built, with a warning.

    Fix: Build in `load_own_variables`, or keep the values until `build`.
    """

    def reload(model: keras.Model, folder: Path) -> keras.Model:
        return _through_weights(model, _twin_of(model), folder)

    _assert_model_resumes(subject, reload, "a .weights.h5 file into a new model")


def _twin_of(model: keras.Model) -> keras.Model:
    return model_of(rebuilt(model.optimizer))


def _through_weights(
    model: keras.Model, loaded: keras.Model, folder: Path
) -> keras.Model:
    model.save_weights(folder / "model.weights.h5")
    loaded.load_weights(folder / "model.weights.h5")
    return loaded


def _assert_twin_resumes(
    subject: Subject, duplicate: Callable[[Run], Run], what: str
) -> None:
    """Three steps, a twin, and three more steps of both."""
    for optimizer in _optimizers(subject):
        run = _run(optimizer).build().follow(STEPS[:CUT])
        with serializable(optimizer):
            twin = duplicate(run)
        run.follow(STEPS[CUT:])
        assert_same(
            twin.follow(STEPS[CUT:]).numbers,
            run.numbers,
            f"three more steps of {what} vs. of the original",
        )


def _run(optimizer: Any, values: list | None = None) -> Run:
    return Run(optimizer, values, mode=backend.cheapest)


@promise
def check_pickle_resumes(subject: Subject) -> None:
    """An unpickled optimizer takes the same steps as the original.

    Why: Ray, Dask, joblib and `multiprocessing` pickle their arguments. A copy without
    its moments starts from scratch, silently or with a warning.

    Fix: Keep the values that are loaded until `build` creates the variables.
    """

    def unpickled(run: Run) -> Run:
        return _run(pickle.loads(pickle.dumps(run.optimizer)), run.numbers)

    _assert_twin_resumes(subject, unpickled, "a pickle")


@promise
def check_deepcopy_resumes(subject: Subject) -> None:
    """A deep copy takes the same steps as the original.

    Why: Hyperparameter searches copy the optimizer that they start from.

    Fix: Keep the values that are loaded until `build` creates the variables.
    """

    def copied(run: Run) -> Run:
        return _run(copy.deepcopy(run.optimizer), run.numbers)

    _assert_twin_resumes(subject, copied, "a deep copy")


@promise
def check_own_variables_resume(subject: Subject) -> None:
    """`save_own_variables` and `load_own_variables` cover all state.

    Why: Every file format of Keras calls these two.

    Fix: Override both or neither.
    """

    def loaded(run: Run) -> Run:
        twin = _run(rebuilt(run.optimizer), run.numbers).build()
        store: dict[str, Any] = {}
        run.optimizer.save_own_variables(store)
        twin.optimizer.load_own_variables(store)
        return twin

    _assert_twin_resumes(subject, loaded, "an optimizer that loads own variables")


@promise
def check_tf_checkpoint_resumes(subject: Subject) -> None:
    """`tf.train.Checkpoint` saves and restores all state.

    Why: Custom loops on TensorFlow use it.

    Fix: Keep variables as attributes of the optimizer, in lists or dicts.
    """
    backend.require("checkpoint")
    tf = backend.tensorflow()

    def restored(run: Run) -> Run:
        twin = _run(rebuilt(run.optimizer)).build()
        with tempfile.TemporaryDirectory() as folder:
            path = _checkpoint(tf, run).save(f"{folder}/checkpoint")
            status = _checkpoint(tf, twin).restore(path)
            status.assert_existing_objects_matched()
        return twin

    _assert_twin_resumes(subject, restored, "a tf.train.Checkpoint")


def _checkpoint(tf: Any, run: Run) -> Any:
    places = [variable.value for variable in run.variables]
    return tf.train.Checkpoint(optimizer=run.optimizer, variables=places)


@promise
def check_state_mismatch_is_reported(subject: Subject) -> None:
    """Loading the state of other variables raises an error or a warning.

    Why: With one more layer, or another width, the state is not that of this model.
    Loaded in part and silently, it is a mixture of two runs.

    Fix: Compare the number and the shapes of all entries before assigning any. Then
    raise, or warn and start the variables that do not match from scratch.
    """
    turned = {**problem.SHAPES, "kernel": (3, 4)}
    fewer = {"kernel": problem.SHAPES["kernel"]}
    for shapes in (turned, fewer):
        donor = Run(subject.make(), problem.values(shapes)).build()
        donor.follow(problem.gradients(2, shapes))
        run = subject.run().build().follow(STEPS[:2])
        if _shapes(donor) == _shapes(run):
            raise CheckSkipped("the optimizer has no state for each variable")
        store: dict[str, Any] = {}
        donor.optimizer.save_own_variables(store)
        _assert_reported(run, store, f"the state of variables of {[*shapes.values()]}")


def _assert_reported(run: Run, store: dict[str, Any], what: str) -> None:
    """Loading `store` raises and changes nothing, or warns."""
    before = run.state
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            run.optimizer.load_own_variables(store)
            run.follow(STEPS[2:CUT])
        except Exception as error:
            if differ(run.state, before):
                raise failure(
                    f"{what} raises an error after a part of it has been assigned",
                    distance(run.state, before),
                    distance(run.numbers, START),
                ) from error
            return
    if not any(issubclass(each.category, UserWarning) for each in warned):
        raise CheckFailed(
            f"Expected an error or a warning when {what} is loaded for variables of "
            f"{list(problem.SHAPES.values())}; there is none."
        )


def _shapes(run: Run) -> list[tuple]:
    return sorted(tuple(v.shape) for v in run.optimizer.variables)


@promise
def check_state_follows_weights(subject: Subject) -> None:
    """Restored state belongs to the variables that received the weights.

    Why: Keras restores weights by the position of their layer, and numbers layers by a
    counter: in a second model of the same program, `dense_2` may be called `dense_7`.

    Fix: Do not find a slot by the name of its variable.
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
    train(original, steps[:CUT])
    loaded = model(["dense_2", "dense_9"], subject.make())
    loaded.optimizer.build(loaded.trainable_variables)
    with tempfile.TemporaryDirectory() as folder, serializable(original.optimizer):
        _through_weights(original, loaded, Path(folder))
    train(original, steps[CUT:])
    train(loaded, steps[CUT:])
    assert_same(
        [np.array(w) for w in loaded.get_weights()],
        [np.array(w) for w in original.get_weights()],
        "three more steps in a model with other layer names vs. in the original",
        start=values,
        names=list(kinds),
    )
