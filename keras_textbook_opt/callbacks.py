"""What training does, watched: gradient norms, and what the clip did."""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import keras
import numpy as np

from keras_textbook_opt import backends, hyperparameters, monitoring, plotting
from keras_textbook_opt.monitoring import ROOM, Taken, Watch
from keras_textbook_opt.step import SteppingOptimizer
from keras_textbook_opt.variables import has_value

__all__ = ["OptimizerMonitor", "Suggestion", "Watched", "watch"]

_TAKEN = (
    "Expected one `OptimizerMonitor` in a training, which nothing else trains or "
    "watches meanwhile. Received: another monitor, a `watch`, a `train_on_batch` of a "
    "callback, or an optimizer whose `fit` of another model raised: call `detach()` of "
    "its monitor then"
)


class Suggestion(NamedTuple):
    """Two values of `global_clipnorm` to start from: see `suggest_clipnorm`."""

    average: float
    percentile_90: float


@final
class OptimizerMonitor(keras.callbacks.Callback):
    """Gradient norms, and what the clip did, in Keras's logs.

    The progress bar, `History`, `CSVLogger`, `TensorBoard` and whatever else reads logs
    show, of each batch and of each epoch:

    - `grad_norm`: `‖g‖₂` over the gradients of all variables, after the sum over
      replicas and any unscaling, before the clip;
    - `grad_norm_max`: the largest of an epoch;
    - `clip_fraction`, where there is a clip: the part of the steps on which it acted;
      with `clipnorm`, the part of variables and steps; with `clipvalue`, a step counts
      if one element was clipped;
    - `learning_rate`: `η` of the last step, schedules included;
    - `update_ratio`, if asked for: `‖Δθ‖₂/‖θ‖₂` over all variables, with `Δθ` from
      before the weight decay to after the update;
    - `grad_norm/…`, if asked for, for the path of each variable;
    - `nonfinite_steps`: how many steps had a gradient with a NaN or an infinity.

    Means are over the steps with finite gradients. A batch without a step, as with
    `gradient_accumulation_steps`, shows the last step's numbers. A `LossScaleOptimizer`
    takes no step where a gradient is not finite: such steps are counted by what it
    does to its scale, and `first_nonfinite` cannot be told.

    Callbacks get their logs in their order: those that come before this one do not see
    its numbers. The progress bar and the `History` that `fit` returns come last.

    What the steps leave for the monitor is in a variable of the optimizer, from the
    start of `fit` to its end. It is not saved. `fit` compiles its step anew for the
    monitor, once for as long as the model is not compiled again.

    Args:
        update_ratio: Whether `update_ratio` is wanted. It costs a pass over all
            variables and a copy of them.
        per_variable: Whether the norm of each variable's gradient is wanted.

    Attributes:
        history: A list for each key but `nonfinite_steps`, with a number for each step.
        first_nonfinite: The path of the first variable whose gradient was not finite,
            also told in a warning; `None` if there was none.

    Raises:
        ValueError: At the start of `fit`, if the model's optimizer is not one of this
            package or a `LossScaleOptimizer` around one, or if it is watched already.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_textbook_opt import SGD
        >>> from keras_textbook_opt.callbacks import OptimizerMonitor
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(SGD(0.1, global_clipnorm=1e-3), "mse")
        >>> x = np.ones((4, 1))
        >>> monitor = OptimizerMonitor()
        >>> history = model.fit(x, 9 * x, epochs=2, verbose=0, callbacks=[monitor])
        >>> history.history["clip_fraction"]
        [1.0, 1.0]
        >>> len(monitor.history["grad_norm"])
        2
    """

    def __init__(self, update_ratio: bool = False, per_variable: bool = False):
        super().__init__()
        self.update_ratio, self.per_variable = update_ratio, per_variable
        self.history: dict[str, list[float]] = {}
        self.first_nonfinite: str | None = None
        self._attached: _Attached | None = None
        self._ending: Any = None
        self._clip: dict[str, float] = {}
        self._of_epoch: list[Taken] = []
        self._last: list[Taken] = []
        self._skipped, self._scale = 0, math.nan

    # Keras calls these.

    def on_train_begin(self, logs: Any = None) -> None:
        model = self._model
        optimizer = _ours(model.optimizer)
        self.detach()
        if optimizer._state.watch is not None:
            raise ValueError(_TAKEN)
        if self._attached is None or not self._attached.fits(model, optimizer):
            watch = Watch(
                *(optimizer, self.update_ratio, self.per_variable),
                room=max(ROOM, model.steps_per_execution),
            )
            self._attached = _Attached.to(model, optimizer, watch)
        self._attached.begin()
        self._ending = weakref.finalize(self, self._attached.end)
        self._ending.atexit = False
        self._clip = _clip_by_norm(optimizer)
        self._scale = _loss_scale(model)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._of_epoch, self._skipped = [], 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        steps, skipped = self._new_steps(), self._newly_skipped()
        self._of_epoch += steps
        self._skipped += skipped
        self._last = steps or self._last
        for step in steps:
            for key, number in step.numbers.items():
                self.history.setdefault(key, []).append(number)
        self._warn_once(steps)
        if logs is not None and self._last:
            bad = sum(step.nonfinite is not None for step in steps) + skipped
            logs |= self._summary(self._last) | {"nonfinite_steps": float(bad)}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is not None:
            summary = self._summary(self._of_epoch)
            summary["nonfinite_steps"] += self._skipped
            logs |= summary | {"grad_norm_max": _largest_norm(self._of_epoch)}

    def on_train_end(self, logs: Any = None) -> None:
        self.detach()

    # What is asked of it afterwards.

    def detach(self) -> None:
        """End the watching.

        `fit` does so at its end. After a `fit` that raised, the next one of the model
        does at its start, or the end of the monitor itself.
        """
        if self._ending is not None:
            self._ending()

    def suggest_clipnorm(self) -> Suggestion:
        """Two values of `global_clipnorm`, from the norms of all steps so far.

        Pascanu, Mikolov & Bengio (2013, "On the difficulty of training recurrent neural
        networks", section 3.2) look at the average norm over a sufficiently large
        number of updates, and report that half to ten times that average works: that is
        `average`. One step in ten has a norm above `percentile_90`, and so would be
        clipped. Watch a training without a clip, or with a large one: a clip keeps
        training away from where the norms are large.

        A `clipnorm` clips each variable by itself: its norms are in `history`, with
        `per_variable=True`.

        Raises:
            ValueError: There was no step with finite gradients.
        """
        norms = np.array(self.history.get("grad_norm", []))
        norms = norms[np.isfinite(norms)]
        if not len(norms):
            raise ValueError(
                "Expected a monitor that has seen steps: pass it to `fit` as one of "
                "its `callbacks` first. Received: one without a step of finite "
                "gradients"
            )
        return Suggestion(float(norms.mean()), float(np.percentile(norms, 90)))

    def plot(self) -> Any:
        """A `matplotlib` figure: norms over steps, and below them the learning rate.

        The scale of the norms is logarithmic, and the `c` of a clip by norm is a line.

        Raises:
            ImportError: `matplotlib` is not installed:
                `pip install "keras-textbook-opt[plot]"`.
        """
        return plotting.training(self.history, self._clip)

    def __getstate__(self) -> dict[str, Any]:
        """A copy has what was seen, and watches nothing yet."""
        return vars(self) | {"_attached": None, "_ending": None}

    # Within.

    def _new_steps(self) -> list[Taken]:
        assert self._attached is not None
        watch = self._attached.watch
        if self._attached.optimizer._state.watch is not watch:
            raise ValueError(_TAKEN)
        return watch.new_steps(backends.active.held(self._model, watch.variables))

    def _newly_skipped(self) -> int:
        """The steps that a `LossScaleOptimizer` skipped: each halves its scale."""
        before, self._scale = self._scale, _loss_scale(self._model)
        if not 0 < self._scale < before:
            return int(self._scale == 0 < before)
        return round(math.log2(before / self._scale))

    def _summary(self, steps: list[Taken]) -> dict[str, float]:
        assert self._attached is not None
        return monitoring.summary(self._attached.watch.keys, steps)

    def _warn_once(self, steps: list[Taken]) -> None:
        paths = [step.nonfinite for step in steps if step.nonfinite is not None]
        if paths and self.first_nonfinite is None:
            self.first_nonfinite = paths[0]
            warnings.warn(
                f"The gradient of '{paths[0]}' is not finite: it has a NaN or an "
                "infinity. The logs count such steps as `nonfinite_steps`.",
                stacklevel=2,
            )


@final
@dataclass
class _Attached:
    """A watch on a model's optimizer, and the step of `fit` with it and without."""

    model: Any
    outer: Any
    optimizer: Any
    watch: Watch
    plain: Any
    watched: Any

    @classmethod
    def to(cls, model: Any, optimizer: Any, watch: Watch) -> _Attached:
        """The same, compiled for the watch, which has not begun yet."""
        plain = model.train_function
        model.make_train_function(force=True)
        watched, model.train_function = model.train_function, plain
        return cls(model, model.optimizer, optimizer, watch, plain, watched)

    def fits(self, model: Any, optimizer: Any) -> bool:
        """Whether this is what a new training is to begin with."""
        return (
            model is self.model
            and model.optimizer is self.outer
            and optimizer is self.optimizer
            and model.train_function is self.plain
            and bool(self.watch.variables)
            and all(map(has_value, self.watch.variables))
            and self.watch.is_of(optimizer)
        )

    def begin(self) -> None:
        self.optimizer._state.watch = self.watch
        _save_unwatched(self.outer, self.optimizer)
        self.model.train_function = self.watched
        self.model.make_train_function = self._end_and_make

    def _end_and_make(self, force: bool = False) -> Any:
        """Each `fit` begins with this: the last one, if it raised, is watched no more.

        Keras tells no callback of a `fit` that raises.
        """
        self.end()
        return self.model.make_train_function(force)

    def end(self) -> None:
        if self.optimizer._state.watch is self.watch:
            self.optimizer._state.watch = None
            _save_as_before(self.outer)
        if self.model.train_function is self.watched:
            self.model.train_function = self.plain
        if vars(self.model).get("make_train_function") == self._end_and_make:
            del self.model.make_train_function


def _ours(optimizer: Any) -> SteppingOptimizer:
    """The optimizer of this package that `optimizer` is, or that it has within."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if not isinstance(inner, SteppingOptimizer):
        raise ValueError(
            "Expected an optimizer of `keras_textbook_opt`, such as "
            "`keras_textbook_opt.Adam`, or a `LossScaleOptimizer` around one. "
            f"Received: {inner!r}. `keras_textbook_opt.Adam.from_keras(optimizer)` "
            "makes one of a built-in"
        )
    return inner


def _clip_by_norm(optimizer: Any) -> dict[str, float]:
    """The name and the `c` of a clip by norm; empty without one."""
    names = ("clipnorm", "global_clipnorm")
    return {name: c for name in names if (c := getattr(optimizer, name)) is not None}


_OF_FILES = ("save_own_variables", "load_own_variables")


def _save_unwatched(outer: Any, inner: SteppingOptimizer) -> None:
    """Let a `LossScaleOptimizer` around one that is watched save and load without.

    It has all variables saved by their positions, those for the monitor with them.
    """

    def unwatched(method: Callable[[Any], None], store: Any) -> None:
        state = inner._state
        watch, state.watch = state.watch, None
        try:
            method(store)
        finally:
            state.watch = watch

    if outer is not inner:
        for name in _OF_FILES:
            setattr(outer, name, functools.partial(unwatched, getattr(outer, name)))


def _save_as_before(outer: Any) -> None:
    for name in _OF_FILES:
        vars(outer).pop(name, None)


def _loss_scale(model: Any) -> float:
    """The scale of a `LossScaleOptimizer`; NaN of another."""
    optimizer = model.optimizer
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return math.nan
    if not optimizer.built:
        return float(optimizer.initial_scale)
    return float(backends.active.held(model, [optimizer.dynamic_scale])[0])


def _largest_norm(steps: list[Taken]) -> float:
    finite = [s.numbers["grad_norm"] for s in steps if s.nonfinite is None]
    return max(finite, default=math.nan)


# For a training loop of one's own.


@final
class Watched:
    """What `watch` gives: the numbers of the steps.

    Attributes:
        first_nonfinite: The path of the first variable whose gradient was not finite;
            `None` if there was none.
    """

    def __init__(self, optimizer: Any, watch: Watch):
        self._optimizer, self._watch = optimizer, watch
        self.first_nonfinite: str | None = None

    def read(self, optimizer_variables: list | None = None) -> dict[str, float]:
        """The numbers of the steps since the last call, as `OptimizerMonitor` logs.

        Args:
            optimizer_variables: With `stateless_apply`, the values that it returned.
                What `optimizer.variables` hold if `None`.

        Returns:
            Means over the steps whose gradients are finite, `grad_norm_max`,
            `learning_rate` of the last step, and `nonfinite_steps`. Empty if there was
            no step.
        """
        watch = self._watch
        values = [v.value for v in watch.variables]
        if optimizer_variables is not None:
            # They are the last of `optimizer.variables`.
            values = list(optimizer_variables)[-len(values) :]
        steps = watch.new_steps(list(map(keras.ops.convert_to_numpy, values)))
        if not steps:
            return {}
        paths = (step.nonfinite for step in steps if step.nonfinite is not None)
        self.first_nonfinite = self.first_nonfinite or next(paths, None)
        summary = monitoring.summary(watch.keys, steps)
        return summary | {"grad_norm_max": _largest_norm(steps)}


@contextlib.contextmanager
def watch(
    optimizer: Any,
    update_ratio: bool = False,
    per_variable: bool = False,
    room: int = ROOM,
) -> Iterator[Watched]:
    """Watch the steps of a training loop of one's own.

    In the block, `optimizer.variables` ends with what the steps leave to be read. A
    step that is compiled (`tf.function`, `jax.jit`) must be traced within the block,
    and again after `add_variables`, with which the records begin anew: `read` before.

    Args:
        optimizer: A built optimizer of this package.
        update_ratio: As for `OptimizerMonitor`.
        per_variable: As for `OptimizerMonitor`.
        room: The number of steps that may be taken between two calls of `read`; of more
            steps, it tells of the last ones. An integer >= 1.

    Raises:
        ValueError: The optimizer is of another kind, is not built, or is watched.

    Example:
        >>> import keras
        >>> from keras_textbook_opt import SGD
        >>> from keras_textbook_opt.callbacks import watch
        >>> θ = keras.Variable([1.0, 2.0])
        >>> optimizer = SGD(0.5, global_clipnorm=4.0)
        >>> optimizer.build([θ])
        >>> with watch(optimizer) as watched:
        ...     optimizer.apply([[3.0, -4.0]])
        ...     numbers = watched.read()
        >>> numbers["grad_norm"], numbers["clip_fraction"]
        (5.0, 1.0)
    """
    inner = _ours(optimizer)
    if not inner.built:
        raise ValueError(
            "Expected an optimizer that is built before `watch`: call "
            "`optimizer.build(variables)`. Received: one that is not"
        )
    if inner._state.watch is not None:
        raise ValueError(
            "Expected an optimizer that nobody watches. Received: one in a `watch`, or "
            "in a `fit` with an `OptimizerMonitor`, or after such a `fit` has raised: "
            "call the monitor's `detach()` then"
        )
    room = hyperparameters.integer("room", room, at_least=1)
    watched = Watched(inner, Watch(inner, update_ratio, per_variable, room))
    inner._state.watch = watched._watch
    _save_unwatched(optimizer, inner)
    try:
        yield watched
    finally:
        if inner._state.watch is watched._watch:
            inner._state.watch = None
            _save_as_before(optimizer)
