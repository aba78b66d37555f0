"""What a backend is asked, and the answers of `keras.ops` alone.

NumPy has no others, and the other backends fall back on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, final

import keras
from keras import ops


class Backend:
    """What a backend is asked; by itself, one without kernels, replicas and rows.

    Attributes:
        has_rows: Whether the gradient of an embedding names rows.
        pairs_by_position: Whether Keras's trainer hands values over to a step, those of
            a model and those of its optimizer, which are paired by position.
        scales_late: Whether a gradient may keep a scale of any size until its step,
            which multiplies in float64 then.
    """

    has_rows = False
    pairs_by_position = False
    scales_late = False

    # A step.

    def run(self, optimizer: Any, updates: Sequence[tuple[Any, Any]], step: Any):
        """Update all variables of a step.

        Args:
            optimizer: `optimizer._update(g, θ, step)` updates one of them.
            updates: Pairs `g, θ`: a gradient, summed and clipped, and its variable.
            step: What the step has computed once.
        """
        for g, θ in updates:
            optimizer._update(g, θ, step)

    def summed(self, optimizer: Any, gradients: list) -> list:
        """The gradients, each summed over the replicas."""
        return gradients

    def take(
        self, optimizer: Any, step: Callable[[list], None], gradients: list, branches
    ) -> None:
        """Call `step(gradients)`, where it may branch if it `branches`."""
        step(gradients)

    def either(
        self,
        condition: Any,
        then: Callable[[], None],
        otherwise: Callable[[], None],
        variables: Sequence[keras.Variable],
    ) -> None:
        """Call one of two functions, which assign some of `variables`."""
        ops.cond(condition, then, otherwise)

    def accumulate(self, optimizer: Any, totals: list, gradients: list) -> None:
        """`Σg ← Σg + g` for each."""
        for total, g in zip(totals, gradients):
            optimizer.assign_add(total, g.assignable())

    def average(self, optimizer: Any, pairs: list[tuple[Any, Any]], rest: Any) -> None:
        """`average ← average + rest·(θ − average)` for each pair `θ, average`."""
        for θ, average in pairs:
            difference = average - optimizer._read(θ)
            # With TensorFlow, Keras's sum refuses tensors without rows.
            average.assign_sub(ops.cast(rest, average.dtype) * difference)

    def kernel(
        self, name: str | None, optimizer: Any, θ: Any, slots: Sequence[Any]
    ) -> Callable[..., None] | None:
        """What computes the equation of this name in place; `None` if nothing does."""
        return None

    def row_kernel(
        self, name: str | None, optimizer: Any, θ: Any, slots: Sequence[Any]
    ) -> Callable[..., None] | None:
        """The same on rows of `θ`, repeats included."""
        return None

    def fit(self, gradients: list, variables: list) -> bool:
        """Whether it is known at once that each gradient is a tensor like its variable.

        If not, they are looked at one by one.
        """
        return False

    def dense(self, x: Any) -> Any:
        """`x` with all its elements, where it names but those that are not zero."""
        return x

    # Norms.

    def norms(self, gradients: list) -> Any:
        """`‖g‖₂` of each, a vector of float64; `None` if float32 is all there is.

        They are right for gradients of any size. The vector is an array of NumPy where
        its numbers are known already.
        """
        return None

    def total_norm(self, norms: Any) -> Any:
        """`‖(‖g‖₂, ‖g′‖₂, …)‖₂` of these norms in float64."""
        raise NotImplementedError

    def clip_scales(self, norms: Any, c: float, count: int) -> list:
        """`c/max(‖g‖₂, c)` of `count` norms in float64, or as often of a single one."""
        raise NotImplementedError

    def clamped(self, gradients: list, c: float) -> list:
        """`min(max(g, −c), c)` of each, in the compute dtype."""
        return [ops.clip(g.values, -c, c) for g in gradients]

    def largest(self, arrays: list) -> Any:
        """`max|x|` over all `arrays`, a scalar of the widest of their dtypes."""
        sizes = [ops.max(ops.abs(x), initial=0.0) for x in arrays]
        widest = max(keras.backend.standardize_dtype(size.dtype) for size in sizes)
        return ops.max(ops.stack([ops.cast(size, widest) for size in sizes]))

    def l2_loss(self, x: Any) -> Any:
        """`Σx²/2`, a scalar of the dtype of `x`."""
        return ops.sum(ops.square(x)) / 2

    def chosen(
        self, condition: Any, then: Callable[[], Any], otherwise: Callable[[], Any]
    ) -> Any:
        """What one of two functions returns, which assign nothing."""
        return ops.cond(condition, then, otherwise)

    def compiles_branches(self) -> bool:
        """Whether what is traced here becomes one program, the branches with it."""
        return False

    def column(self, scalars: list) -> list:
        """Scalars as a list of tensors that are quick to compute with."""
        return [ops.stack(scalars)]

    def scalars(self, column: list, count: int) -> list:
        """The `count` scalars of a `column`."""
        return ops.unstack(column[0], num=count)

    # What a callback reads.

    def held(self, model: Any, variables: Sequence[keras.Variable]) -> list:
        """What the variables of the optimizer hold between two batches of a `fit`."""
        return [ops.convert_to_numpy(ops.convert_to_tensor(v)) for v in variables]

    # Numbers.

    def rounded(self, x: Any, dtype: str) -> Any:
        """`x`, of float32, as the narrower `dtype` holds it, again in float32."""
        return ops.cast(ops.cast(x, dtype), "float32")

    def product(self, x: Any, scale: Any) -> Any:
        """`scale·x` in the compute dtype; a scale of `None` is 1."""
        return x if scale is None else x * scale

    # Scalars of a step.

    def keep_on_the_host(self, scalar: keras.Variable) -> None:
        """Keep a variable where its number is known without waiting for a device."""

    def on_the_host(self) -> AbstractContextManager[Any]:
        """Where one computes with such scalars, and the results are known at once."""
        return nullcontext()

    # State.

    def place(self, variable: Any, reference: Any) -> None:
        """Put a new `variable` where `reference` is, and split it as that is."""

    def placed(self, value: Any, variable: Any) -> Any:
        """`value`, of the shape of `variable`, where that is, and split as that is."""
        return value

    def outside_the_graph(self) -> AbstractContextManager[Any]:
        """Where an operation happens now, also while a graph is traced."""
        return nullcontext()

    def outside_the_step(self, optimizer: Any) -> AbstractContextManager[Any]:
        """The same, on all replicas, also within the step of one of them."""
        return nullcontext()

    def tracked(self, optimizer: Any, name: str, variables: list) -> list:
        """`variables` as a checkpoint of `optimizer` will find them under `name`."""
        return variables

    def in_a_checkpoint(
        self, write: Callable[[], str], read: Callable[[str], None]
    ) -> Any:
        """A text that TensorFlow's checkpoints save and restore; `None` elsewhere."""
        return None


@final
class Plain(Backend):
    """`keras.ops` and nothing else."""
