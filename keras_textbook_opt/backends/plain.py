"""What a backend is asked, and the answers of `keras.ops` alone.

NumPy has no others, and the other backends fall back on them. A backend takes data, and
never calls the optimizer.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_textbook_opt.numerics import maximum
from keras_textbook_opt.variables import compute_dtype, path_of


class Update(NamedTuple):
    """One variable's part of a step."""

    θ: Any  # the variable
    g: Any  # its gradient, `Dense` or `Rows`, clipped
    state: Any  # its slots and its carry, a `VariableState`
    decay: Any  # `η·λ`, what the weight decay takes off; `None` for none
    step_size: Any  # what `step_size` made of `η`


class Group(NamedTuple):
    """Variables of a step, one at least, that share their scalars."""

    grads: list
    states: list
    decay: Any
    step_size: Any

    def updates(self) -> list[Update]:
        """One for each variable."""
        return [
            Update(state.variable, g, state, self.decay, self.step_size)
            for g, state in zip(self.grads, self.states)
        ]


Take = Callable[[Update], None]


def name_of(equation: Callable[..., Any]) -> str:
    """The full name of a method `apply_dense`, under which a kernel stands for it."""
    return f"{equation.__module__}.{equation.__qualname__}"


class Backend:
    """What a backend is asked; this one answers with `keras.ops` and nothing else.

    Attributes:
        has_rows: Whether the gradient of an embedding lists rows.
        trains_on_values: Whether Keras's `fit` keeps all values to itself in an epoch.
    """

    has_rows = False
    trains_on_values = False

    # A step.

    def as_written(self, function: Callable) -> Callable:
        """`function`, whose source nothing rewrites while it is traced."""
        return function

    def sum_over_replicas(self, gradients: list) -> list:
        """Each gradient, summed over the replicas."""
        return gradients

    def across_replicas(self, step: Callable[[list], None], grads: list) -> None:
        """Call `step(grads)` where it may branch."""
        step(grads)

    def branch(
        self, condition: Any, assign: Callable[[], None], places: Callable[[], list]
    ) -> None:
        """Call `assign`, which assigns some of `places()`, if `condition`."""
        ops.cond(condition, assign, lambda: None)

    def run(
        self,
        equation: Callable[..., Any],
        hyperparameters: Mapping[str, Any],
        group: Group,
        take: Take,
    ) -> None:
        """Update the variables of a group.

        Args:
            equation: The `apply_dense` of the optimizer, for which a backend may have a
                kernel.
            hyperparameters: The optimizer's attributes.
            group: The variables.
            take: Updates one variable, in plain `keras.ops`.
        """
        for update in group.updates():
            take(update)

    def add_to(self, totals: list, gradients: list) -> None:
        """`total ← total + g` for each."""
        for total, g in zip(totals, gradients):
            self.assign_add(total, g.assignable())

    def average(self, states: list, rest: Any) -> None:
        """`average ← average + rest·(θ − average)` for each state with an average."""
        for state in states:
            θ, old = state.read(state.variable), ops.convert_to_tensor(state.average)
            self.assign(state.average, old + ops.cast(rest, old.dtype) * (θ - old))

    def assign(self, place: Any, value: Any) -> None:
        """`place ← value`, which may be some rows of it."""
        place.assign(value)

    def assign_add(self, place: Any, value: Any) -> None:
        """`place ← place + value`, which may be some rows of it."""
        place.assign(ops.convert_to_tensor(place) + value)

    # Gradients.

    def are_alike(self, gradients: list, variables: list) -> bool:
        """Whether it is known at once that each gradient is a tensor like its variable.

        If not, they are checked one by one.
        """
        return False

    def densified(self, x: Any) -> Any:
        """`x` with all its elements, if it lists only those that are not zero."""
        return x

    def squares(self, gradients: list) -> list:
        """`‖g‖₂²` of each, scalars of float32 or wider."""
        return [ops.sum(ops.square(g.values)) for g in gradients]

    def total(self, squares: list) -> Any:
        """Their sum, in the widest of their dtypes."""
        widest = max(map(compute_dtype, squares))
        return sum(ops.cast(s, widest) for s in squares)

    def clip_scales(self, squares: list, c: float) -> list:
        """`c/max(‖g‖₂, c)` of each, as `c/√max(‖g‖₂², c²)`.

        Its derivative is right also where `g` is zero: `√` has none there.
        """
        return [c / ops.sqrt(maximum(s, c * c)) for s in squares]

    def rounded(self, x: Any, dtype: str) -> Any:
        """`x`, of float32, as the narrower `dtype` holds it, again in float32."""
        return ops.cast(ops.cast(x, dtype), "float32")

    # State.

    def new_variable(
        self, name: str, like: Any, initializer: Any, dtype: str
    ) -> keras.Variable:
        """A variable of the shape of `like`, where that is, and split as that is."""
        return keras.Variable(
            initializer,
            shape=tuple(like.shape),
            dtype=dtype,
            trainable=False,
            layout=getattr(like, "_layout", None),
            name=f"{path_of(like).replace('/', '_').replace(':', '_')}_{name}",
        )

    def is_initialized(self, variable: Any) -> bool:
        """Whether `variable` has a value now."""
        return True

    def on_the_host(self) -> AbstractContextManager[Any]:
        """Where scalars are made and computed, so that their numbers are known."""
        return nullcontext()

    def outside_the_step(self, assign: Callable[[], None]) -> None:
        """Call `assign` once, eagerly, on all replicas, also while a step is traced."""
        assign()

    def is_traced(self) -> bool:
        """Whether a function is traced, in which variables cannot be created."""
        return False

    def checkpointed(self, variables: list, write: Any, read: Any) -> Any:
        """What to keep as an attribute, so that a checkpoint has `variables`.

        `write` returns a text to save beside them, and a restore calls `read` with it.
        """
        return None
