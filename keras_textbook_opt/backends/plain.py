"""The interface of a backend, implemented with `keras.ops` only.

NumPy uses it as it is, and the other backends fall back on it. A backend receives data,
and never calls the optimizer.
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
    decay: Any  # `η·λ`, of the weight decay; `None` without one
    step_size: Any  # the return value of `step_size`


class Group(NamedTuple):
    """At least one variable, its gradient, and the scalars that the variables share."""

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


UpdateOne = Callable[[Update], None]


def name_of(equation: Callable[..., Any]) -> str:
    """The full name of a method `apply_dense`, by which a kernel of it is found."""
    return f"{equation.__module__}.{equation.__qualname__}"


class Backend:
    """The operations that differ between backends, here with `keras.ops` only.

    Attributes:
        has_rows: Whether the gradient of an embedding is sparse.
        trains_on_values: Whether `fit` updates the variables only after an epoch.
    """

    has_rows = False
    trains_on_values = False

    # A step.

    def without_autograph(self, function: Callable) -> Callable:
        """`function`, which is traced without rewriting its source."""
        return function

    def sum_over_replicas(self, gradients: list) -> list:
        """Each gradient, summed over the replicas."""
        return gradients

    def across_replicas(self, step: Callable[[list], None], grads: list) -> None:
        """Call `step(grads)` in a context in which it can branch."""
        step(grads)

    def branch(self, condition: Any, assign: Callable, variables: list) -> None:
        """Call `assign`, which assigns some of `variables`, if `condition`."""
        ops.cond(condition, assign, lambda: None)

    def run(
        self,
        equation: Callable[..., Any],
        hyperparameters: Mapping[str, Any],
        group: Group,
        fallback: UpdateOne,
    ) -> None:
        """Update the variables of a group.

        Args:
            equation: The `apply_dense` of the optimizer, which may have a kernel.
            hyperparameters: The optimizer's attributes.
            group: The variables.
            fallback: Updates one variable, in plain `keras.ops`.
        """
        for update in group.updates():
            fallback(update)

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
        """Whether each gradient is known to be a tensor like its variable.

        If not, the gradients are checked one by one.
        """
        return False

    def densified(self, x: Any) -> Any:
        """`x` as a dense tensor, if it is sparse."""
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
        """`x`, of float32, rounded to the narrower `dtype`, in float32."""
        return ops.cast(ops.cast(x, dtype), "float32")

    # State.

    def new_variable(
        self, name: str, like: Any, initializer: Any, dtype: str
    ) -> keras.Variable:
        """A variable of the shape, the devices and the layout of `like`."""
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
        """The context for scalars, so that reading them waits for no device."""
        return nullcontext()

    def outside_the_step(self, assign: Callable[[], None]) -> None:
        """Call `assign` once, eagerly, on all replicas, also while a step is traced."""
        assign()

    def is_traced(self) -> bool:
        """Whether a function is being traced, so that no variable can be created."""
        return False

    def checkpointed(self, variables: list, write: Any, read: Any) -> Any:
        """An attribute for the optimizer, so that a checkpoint contains `variables`.

        `write` returns a text to save beside them, and a restore calls `read` with it.
        """
        return None
