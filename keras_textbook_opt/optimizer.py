"""The abstract optimizer: its settings and its hooks."""

from __future__ import annotations

import abc
import inspect
import re
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_textbook_opt import hyperparameters, rows, settings
from keras_textbook_opt.gradients import Dense
from keras_textbook_opt.rows import Rows
from keras_textbook_opt.settings import LearningRate, Settings
from keras_textbook_opt.state import lifecycle
from keras_textbook_opt.state.exclusions import Exclusions
from keras_textbook_opt.state.multipliers import Multipliers
from keras_textbook_opt.step import SteppingOptimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack


class TextbookOptimizer(SteppingOptimizer, abc.ABC):
    """An optimizer is its slots and its equation; this class is all the rest.

    A subclass writes `create_slots` (the state beside each variable) and `apply_dense`
    (the equation: arrays in, new arrays out). The gradient that arrives there is
    merged, unscaled, summed over the replicas and clipped, and the weights have
    decayed: `θ ← θ − η·λ·θ`, with the weight decay `λ` (Loshchilov & Hutter 2019,
    "Decoupled Weight Decay Regularization").

    Args:
        learning_rate: `η`, a float >= 0 (or an array or a tensor of one element), a
            `keras.optimizers.schedules.LearningRateSchedule` (called with the number
            of steps taken), or a callable without arguments that returns `η`. `lr` is
            accepted as another name.
        clipnorm: `c` > 0 or `None`. Each variable's gradient becomes
            `g·c/max(‖g‖₂, c)`.
        global_clipnorm: `c` > 0 or `None`. The same, with one norm over the gradients
            of all variables.
        clipvalue: `c` > 0 or `None`. Each element of a gradient is clipped to
            `[−c, c]`. At most one of the three clips may be given.
        weight_decay: `λ` >= 0 or `None`. `exclude_from_weight_decay` names the
            variables that do not decay.
        use_ema: Whether to keep an exponential moving average of each variable, which
            replaces the variable at the end of training.
        ema_momentum: The decay of that average, in `[0, 1]`.
        ema_overwrite_frequency: Steps, an integer >= 1, after which the average
            replaces the variable during training; `None` for never.
        loss_scale_factor: > 0 or `None`. The loss is multiplied by it, the gradients
            are divided by it.
        gradient_accumulation_steps: An integer >= 2 or `None`. Variables are updated
            once in that many steps, with the mean of the gradients.
        learning_rate_multipliers: A dict of regular expressions, each with a factor of
            `η` >= 0, or a list of its pairs, or `None`. The first that is found in a
            variable's path (`re.search` in `variable.path`) counts for the variable,
            and 1 if none is.
            Its weight decay is scaled with its rate. A factor of 0 leaves the variable
            and its slots as they are; its gradient still counts in `global_clipnorm`,
            as that of a parameter in a group of rate 0 does on PyTorch, and its
            constraint still holds. `layerwise_decay` makes such a dict.
        compensate: Whether what a variable of 16 bits rounds off is carried to the next
            step (Kahan 1965, "Further remarks on reducing truncation errors"). It costs
            4 bytes for each of its elements, and wider variables nothing. Without it,
            a step of less than half a unit in the last place of `θ` is lost.
        name: The optimizer's name, a string; made from the class's name if `None`.

    Raises:
        ValueError: An argument is unknown, out of its range or of another type, or two
            clips are given. `build` raises where a pattern of
            `learning_rate_multipliers` is found in no path of its variables.

    Example:
        Sign descent, `θ ← θ − η·sign(g)`:

        >>> import keras
        >>> from keras_textbook_opt import TextbookOptimizer
        >>> class SignDescent(TextbookOptimizer):
        ...     def apply_dense(self, g, θ, η):
        ...         return θ - η * keras.ops.sign(g)
        >>> θ = keras.Variable([1.0, 2.0])
        >>> SignDescent(0.5).apply([[3.0, -4.0]], [θ])
        >>> θ.numpy().tolist()
        [0.5, 2.5]
    """

    __signature__: inspect.Signature

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "__init__" in vars(cls):
            init = settings.accepting_other_names(vars(cls)["__init__"])
            type.__setattr__(cls, "__init__", init)
        cls.__signature__ = settings.signature(cls)

    @settings.accepting_other_names
    def __init__(self, learning_rate: LearningRate, **arguments: Unpack[Settings]):
        checked = settings.checked(type(self), learning_rate, arguments)
        super().__init__(learning_rate=_checked_learning_rate(learning_rate), **checked)

    # The four hooks. To a type checker, `**_` says that a subclass may name its slots.

    @abc.abstractmethod
    def apply_dense(self, g, θ, η, *slots: Any, **_: Any) -> Any:
        """The equation: from the gradient and the old values to the new values.

        Args:
            g: The gradient, a tensor of the shape of `θ`, float32 or float64.
            θ: The variable. It is read here, never assigned.
            η: What `step_size` returned for this step, a scalar.
            slots: The variable's slots. They are read here, never assigned.

        Returns:
            The new `θ`, followed by the new slots in their order.
        """

    @rows.linear
    def apply_sparse(self, g: Rows, θ, η, *slots: Any, **_: Any) -> Any:
        """The equation for a gradient that names the rows where it is not zero.

        Here every absent row has `gᵢ = 0` and the equation runs on it all the same. In
        a class with `sparse_update = "lazy"`, it runs on the rows named alone, and they
        alone decay. A class that overrides this gets each row once, in any order.
        """
        if self.sparse_update == "lazy":
            return self.row_step(g, θ, η, *slots)
        return self.dense_step(Dense(g.to_dense(θ.shape)), θ, η, *slots)

    def get_config(self) -> dict[str, Any]:
        """All arguments of the constructor, such that `from_config` makes a twin.

        Where an order counts there is a list: `learning_rate_multipliers` are pairs of
        a pattern and its factor. So JSON may sort the keys.
        """
        config = super().get_config() | {"compensate": self.compensate}
        if self.learning_rate_multipliers:
            config |= lifecycle.multiplied(self._state)
        if self._state.excluded:
            written = self._state.excluded.to_config(self._trainable_variables)
            config["exclude_from_weight_decay"] = written
        order = lifecycle.written_order(self._state)
        return config | ({"variables": order} if order else {})

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        excluded = config.pop("exclude_from_weight_decay", None)
        variables = config.pop("variables", ())
        multiplied = config.pop("multiplied_variables", None)
        optimizer = super().from_config(config, custom_objects=custom_objects)
        if excluded:
            optimizer._state.excluded = Exclusions.from_config(excluded)
            optimizer._exclude()
        if multiplied:
            patterns = optimizer.learning_rate_multipliers or {}
            found = Multipliers.from_config(patterns, multiplied)
            optimizer._state.multipliers = found
        optimizer._state.order_of_file = tuple(variables)
        return optimizer

    def step_size(self, η, t):
        """What the equation multiplies by in step `t`, computed once for all variables.

        Args:
            η: The learning rate, a scalar of the compute dtype.
            t: The number of the step, starting at 1, of the same dtype.
        """
        return η

    # Keras's public settings.

    @property
    def learning_rate(self):
        """`η` of the next step; a float, a schedule or a callable may be assigned."""
        return hyperparameters.scalar("learning_rate", super().learning_rate)

    @learning_rate.setter
    def learning_rate(self, learning_rate):
        learning_rate = _concrete(learning_rate)
        # With NumPy, a number that is known is a tensor as well.
        if isinstance(learning_rate, np.generic) or not ops.is_tensor(learning_rate):
            learning_rate = _checked_learning_rate(learning_rate)
        if callable(self._learning_rate) and not callable(learning_rate):
            raise TypeError(
                "`learning_rate` is a schedule or a callable: expected another "
                f"schedule or callable in its place. Received: {learning_rate!r}"
            )
        keras.optimizers.Optimizer.learning_rate.fset(self, learning_rate)

    @property
    def lr(self):
        """Another name for `learning_rate`."""
        return self.learning_rate

    @lr.setter
    def lr(self, learning_rate):
        self.learning_rate = learning_rate

    @property
    def learning_rate_multipliers(self) -> dict[str, float] | None:
        """The factors of the learning rate, by patterns; others may be assigned.

        Where other variables are trained, pass them to `add_variables` before, and
        compile the model again after.
        """
        return dict(self._state.multipliers.patterns) or None

    @learning_rate_multipliers.setter
    def learning_rate_multipliers(self, multipliers: settings.Factors | None):
        check = settings.SETTINGS["learning_rate_multipliers"].check
        self._multiply(check("learning_rate_multipliers", multipliers) or {})

    def __repr__(self) -> str:
        """The class and what it was constructed with, but for what is the default."""
        parameters = inspect.signature(type(self)).parameters.values()
        texts = [(p, self._setting(p.name)) for p in parameters]
        shown = [
            f"{p.name}={text}"
            for p, text in texts
            if text not in (None, hyperparameters.shown(p.default))
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _setting(self, name: str) -> str | None:
        """A setting as text; `None` where there is none, or where nobody gave it."""
        kept = {"learning_rate": "_learning_rate", "lr": "_learning_rate"}
        value = getattr(self, kept.get(name, name), None)
        if name == "name" and value is not None:
            made = re.sub("_", "", re.sub(r"_\d+$", "", str(value)))
            if made == re.sub("_", "", type(self).__name__).lower():
                return None
        return None if value is None else hyperparameters.shown(value)

    def exclude_from_weight_decay(self, var_list=None, var_names=None) -> None:
        """Name the variables that do not decay. `get_config` keeps them.

        Args:
            var_list: A list of variables.
            var_names: A list of regular expressions: a variable does not decay if one
                of them is found in its name or its path. `["bias", "norm",
                "embedding"]` is the usual recipe.

        Each replica may call this, and who says the same again changes nothing.

        Raises:
            ValueError: The optimizer is built, and would decay other variables.
        """
        var_list, var_names = list(var_list or ()), var_names or ()
        if isinstance(var_names, str) or not all(isinstance(n, str) for n in var_names):
            raise ValueError(
                "`var_names` must be a list of strings. Received: "
                f"var_names={var_names!r}"
            )
        for name in var_names:
            hyperparameters.pattern("`var_names` must be a list of", name)
        if not all(hasattr(v, "assign") for v in var_list):
            raise ValueError(
                "`var_list` must be a list of variables. Received: "
                f"var_list={var_list!r}"
            )
        if self.built:
            if not self._excludes(var_list, var_names):
                raise ValueError(
                    "`exclude_from_weight_decay()` must be called before the optimizer "
                    "is built. Received: a call on an optimizer that is built, with "
                    f"var_list={var_list!r} and var_names={var_names!r}, which are not "
                    "what it was built with"
                )
            return
        self._state.excluded = Exclusions(var_list, tuple(var_names))
        super().exclude_from_weight_decay(var_list, var_names)

    def _excludes(self, var_list, var_names) -> bool:
        """Whether just these are what does not decay."""
        excluded: set = getattr(self, "_exclude_from_weight_decay", set())
        by_path = Exclusions(list(var_list), tuple(var_names))
        by_path.find_by_path(self._trainable_variables)
        same_variables = set(map(self._var_key, by_path.variables)) == excluded
        return same_variables and set(var_names) == set(self._state.excluded.names)


TextbookOptimizer.__signature__ = settings.signature(TextbookOptimizer)


def _concrete(learning_rate):
    """An array or a tensor as its value; a tensor of a graph as a scalar."""
    if ops.is_tensor(learning_rate) or hasattr(learning_rate, "__array__"):
        learning_rate = hyperparameters.scalar("learning_rate", learning_rate)
        try:
            return ops.convert_to_numpy(learning_rate)[()]
        except (NotImplementedError, TypeError):
            pass
    return learning_rate


def _checked_learning_rate(learning_rate):
    if callable(learning_rate):
        return learning_rate
    if not hasattr(learning_rate, "assign"):
        learning_rate = _concrete(learning_rate)
    return hyperparameters.real("learning_rate", learning_rate, at_least=0)
