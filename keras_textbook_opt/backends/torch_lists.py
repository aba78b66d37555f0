"""The equations of a step on lists of PyTorch tensors, in place, one call for all.

A function here takes the list of the variables `θ`, that of their gradients `g` and one
for each slot. It writes into `θ` and the slots, never into a gradient, and autograd
learns of it. The tensors are those that `takes` accepts; the variables of a list may
differ in shape, dtype and device.

`scales` are what a clip or a loss scale multiplies the gradients by, one factor for
each: a list of numbers or a vector. No gradient is copied whole for it.

Nothing here waits for a GPU: what is known there alone, as norms and the scales of a
clip are, stays a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import compress, pairwise
from typing import Any, TypeAlias, final

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

Tensors: TypeAlias = list[Tensor]
Scalar: TypeAlias = float | Tensor
Scales: TypeAlias = Sequence[float] | Tensor | None
# One factor for each variable: numbers, or where they are not known here, tensors.
Factors: TypeAlias = list[Any]

# Elements that are worked on at a time where they are copied: on a CPU the copy stays
# in its cache, on a GPU it is worth a launch.
PIECE = {"cpu": 2**19, "cuda": 2**25}
# Up to so many elements, PyTorch's elementwise functions use a single thread.
SMALL = 2**15
PLAIN = {Tensor, torch.nn.Parameter}
NARROW = {torch.float16, torch.bfloat16}
# So many squares can be summed in float32 and leave a norm right to 1e-6.
ROW = 1024


def takes(θ: Tensors, g: Tensors, *slots: Tensors) -> list[bool]:
    """Whether each variable, with its gradient and slots, may be in the lists here.

    Its tensors must be plain ones (no subclass but `torch.nn.Parameter`), contiguous,
    of float32 or float64, and of one shape, dtype and device, a CPU or a CUDA GPU. A
    variable of 16 bits, and perhaps its gradient, is for `widened`; all else beside it
    is of float32.
    While PyTorch traces or transforms a function, or where two variables share memory,
    or a variable and a gradient, no variable is taken.
    """
    if is_traced():
        return [False] * len(θ)
    lists = (θ, g, *slots)
    fit = [True] * len(θ)
    if not _fit(lists):
        fit = [_fit([[t] for t in tensors]) for tensors in zip(*lists)]
    taken = [[t for t, fits in zip(each, fit) if fits] for each in (θ, g)]
    return [False] * len(θ) if _share_memory(*taken) else fit


def is_split(x: Any) -> bool:
    """Whether a tensor is a `DTensor`, of which each process has a part."""
    return hasattr(x, "device_mesh")


def split_like(x: Tensor, reference: Any) -> Any:
    """`x`, which all processes have, split as `reference` is if that is split."""
    if not is_split(reference):
        return x
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(x, reference.device_mesh, reference.placements)


def are_alike(g: list, θ: Tensors) -> bool:
    """Whether the gradients are plain tensors, each like its variable.

    Then nothing need be converted.
    """
    if not (
        set(map(type, g)) <= {Tensor} and set(map(type, θ)) <= {torch.nn.Parameter}
    ):
        return False
    dtypes = [x.dtype for x in θ]
    return (
        [x.dtype for x in g] == dtypes
        and [x.shape for x in g] == [x.shape for x in θ]
        and [x.device for x in g] == [x.device for x in θ]
        and {x.layout for x in g} <= {torch.strided}
    )


def _fit(lists: Sequence[Tensors]) -> bool:
    tensors = [t for each in lists for t in each]
    shapes = [t.shape for t in lists[0]]
    return not tensors or (
        set(map(type, tensors)) <= PLAIN
        and all(map(Tensor.is_contiguous, tensors))
        and _dtypes_fit(lists)
        and len({t.device for t in tensors}) == 1
        and tensors[0].device.type in PIECE
        and all([t.shape for t in each] == shapes for each in lists)
    )


def _dtypes_fit(lists: Sequence[Tensors]) -> bool:
    of_θ, of_g, *of_slots = [{t.dtype for t in each} for each in lists]
    if len(of_θ) > 1 or not of_θ <= {*NARROW, torch.float32, torch.float64}:
        return False
    wide = of_θ if NARROW.isdisjoint(of_θ) else {torch.float32}
    return of_g in (of_θ, wide) and all(each == wide for each in of_slots)


def is_traced() -> bool:
    """Whether PyTorch traces or transforms the function that runs here."""
    if torch.compiler.is_compiling():
        return True
    return torch._C._functorch.peek_interpreter_stack() is not None


def _share_memory(θ: Tensors, g: Tensors) -> bool:
    spans = sorted([(t.data_ptr(), t.nbytes) for t in θ if t.numel()])
    overlap = any([a + size > b for (a, size), (b, _) in pairwise(spans)])
    return overlap or not {a for a, _ in spans}.isdisjoint(map(Tensor.data_ptr, g))


# The equations.


@torch.no_grad()
def sgd(θ: Tensors, g: Tensors, scales: Scales = None, *, η: Scalar) -> None:
    """`θ ← θ − η·s·g`."""
    for s, (θ_, g_) in _groups(scales, θ, g):
        _subtract(θ_, _product(η, s, θ_), g_)


@torch.no_grad()
def momentum(
    θ: Tensors,
    m: Tensors,
    g: Tensors,
    scales: Scales = None,
    *,
    η: Scalar,
    β: float,
    nesterov: bool = False,
) -> None:
    """`m ← β·m − η·s·g`, then `θ ← θ + m`; with `nesterov`, `θ ← θ + β·m − η·s·g`."""
    for s, (θ_, m_, g_) in _groups(scales, θ, m, g):
        f = _product(η, s, θ_)
        if not nesterov:
            _roll(θ_, m_, f, g_, β, part=1.0)
            continue
        for some, (x, m_x, g_x) in _batches(f, θ_, m_, g_):
            _roll(x, m_x, some, g_x, β, part=β)
            _subtract(x, some, g_x)


def _roll(
    θ: Tensors, m: Tensors, f: Factors, g: Tensors, β: float, part: float
) -> None:
    """`m ← β·m − f·g`, then `θ ← θ + part·m`."""
    fused = [_is_to_be_fused(m_k, f_k, β) for m_k, f_k in zip(m, f)]
    for by_kernel, f_, (θ_, m_, g_) in _split(fused, f, θ, m, g):
        if by_kernel:
            _roll_by_kernel(θ_, m_, f_, g_, β, part)
        else:
            torch._foreach_mul_(m_, β)
            _subtract(m_, f_, g_)
            torch._foreach_add_(θ_, m_, alpha=part)


def _is_to_be_fused(m: Tensor, f: Scalar, β: float) -> bool:
    """Whether the kernel computes `β·m + (1 − (1 + f))·g`, well and at a gain.

    It leaves `m` alone if `β = 0`; `1 + f` has few digits of a small `f`; and on a CPU
    it wakes all threads for each tensor.
    """
    return (
        β > 0
        and not isinstance(f, Tensor)
        and f >= 2**-28
        and m.dtype == torch.float32
        and (m.numel() > SMALL or not _is_on_a_cpu(m))
    )


def _roll_by_kernel(
    θ: Tensors, m: Tensors, f: Factors, g: Tensors, β: float, part: float
) -> None:
    for f_, lists in _runs(f, θ, m, g):
        θ_, m_, g_ = _of_same_strides(*lists)
        torch._fused_sgd_(
            θ_,
            g_,
            m_,
            momentum=β,
            dampening=1 + f_,
            lr=-part,
            weight_decay=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )
    increment_version([*θ, *m])


@torch.no_grad()
def adam(
    θ: Tensors,
    m: Tensors,
    v: Tensors,
    v_hat: Tensors | None,
    g: Tensors,
    scales: Scales = None,
    *,
    η_hat: Scalar,
    β_1: float,
    β_2: float,
    ε: float,
) -> None:
    """With `s·g` for `g`, the moments `m`, `v` and `v̂`, and `θ ← θ − η̂·m/(√v + ε)`."""
    slots = (m, v) if v_hat is None else (m, v, v_hat)
    for s, lists in _groups(scales, g, θ, *slots):
        dtype, device = lists[0][0].dtype, lists[0][0].device
        held = [torch.tensor(β, dtype=dtype).item() for β in (β_1, β_2)]
        step = (_known(η_hat, device), *held, ε)
        # The kernel's `g − β₁·(g − m)` for `β₁ < 1/2` has few digits of `β₁·m` if `m`
        # is small, and it reads a rate that is a tensor as float32.
        exact = isinstance(step[0], float) or dtype == torch.float32
        kernel = _adam_by_kernel if exact and not 0 < β_1 < 0.5 else _adam_by_formula
        if s is None and kernel is _adam_by_kernel:
            kernel(*lists, step=step)
            continue
        on_a_cpu = device.type == "cpu"
        scratch = torch.empty(PIECE["cpu"], dtype=dtype) if on_a_cpu else None
        for f, (g_, *places) in _batches(_product(1.0, s, lists[0]), *lists):
            kernel(_scaled(g_, f, scratch), *places, step=step)


def _adam_by_kernel(*lists: Tensors, step) -> None:
    η_hat, β_1, β_2, ε = step
    g, θ, m, v, *largest = _of_same_strides(*lists)
    v_hat = largest[0] if largest else []
    # After infinitely many steps the kernel corrects no bias; `η̂` has done it.
    last = torch.full((), math.inf, dtype=torch.float32, device=g[0].device)
    torch._fused_adam_(
        θ,
        g,
        m,
        v,
        v_hat,
        [last] * len(θ),
        lr=η_hat,
        beta1=β_1,
        beta2=β_2,
        eps=ε,
        amsgrad=bool(v_hat),
        weight_decay=0.0,
        maximize=False,
    )
    increment_version([*θ, *m, *v, *v_hat])


def _of_same_strides(*lists: Tensors) -> Sequence[Tensors]:
    """The lists as a GPU's kernels want them, which look at the strides.

    The strides of contiguous tensors may differ where a dimension is of one element or
    of none, and those of vectors do not.
    """
    if _is_on_a_cpu(lists[0][0]):
        return lists
    strides = [[t.stride() for t in each] for each in lists]
    if all(each == strides[0] for each in strides):
        return lists
    return [[t.view(-1) for t in each] for each in lists]


def _adam_by_formula(g, θ, m, v, v_hat=(), *, step) -> None:
    η_hat, β_1, β_2, ε = step
    # m ← β₁·m + (1 − β₁)·g
    torch._foreach_mul_(m, β_1)
    torch._foreach_add_(m, g, alpha=1 - β_1)
    # v ← β₂·v + (1 − β₂)·g²
    torch._foreach_mul_(v, β_2)
    torch._foreach_addcmul_(v, g, g, 1 - β_2)
    if v_hat:
        # v̂ ← max(v̂, v)
        torch._foreach_maximum_(v_hat, v)
    # θ ← θ − η̂·m/(√v + ε)
    root = torch._foreach_sqrt(v_hat or v)
    torch._foreach_add_(root, ε)
    torch._foreach_addcdiv_(θ, torch._foreach_mul(m, η_hat), root, -1.0)


# What surrounds an equation.


@torch.no_grad()
def norms(g: Tensors) -> Tensor:
    """`‖g‖₂` of each gradient, a vector of float64 on the device of the first.

    Right for every finite gradient, whatever its size.
    """
    if not g:
        return torch.empty(0, dtype=torch.float64)
    if not set(map(type, g)) <= PLAIN and any(map(is_split, g)):
        return torch.stack(
            [_split_norm(t) if is_split(t) else norms([t])[0] for t in g]
        )
    device = g[0].device
    if device.type != "cpu":
        found = torch._foreach_norm(g, 2, torch.float64)
        exact = [_norm_in_float64(t) if _is_double(t) else x for t, x in zip(g, found)]
        return torch.stack([norm.to(device) for norm in exact])
    # The squares of float32 fit into float64, in which few are quick to add up.
    simple = [t.numel() <= 4 * ROW and not _is_double(t) for t in g]
    few = list(compress(g, simple))
    found = iter(torch._foreach_norm(few, 2, torch.float64) if few else ())
    return torch.tensor(
        [next(found) if is_one else _norm_by_rows(t) for t, is_one in zip(g, simple)],
        dtype=torch.float64,
    )


def _split_norm(g: Any) -> Tensor:
    """`‖g‖₂` of a gradient that is split over processes: all have to ask for it."""
    return _norm(g, dtype=torch.float64).full_tensor()


def _norm_in_float64(g: Tensor) -> Tensor:
    """`M·‖g/M‖₂` with the largest `M`, whose square may leave float64."""
    if not g.numel():
        return _norm(g)
    largest = _norm(g, math.inf)
    largest = torch.where((largest > 0) & largest.isfinite(), largest, 1.0)
    return largest * _norm(g / largest)


def _is_double(x: Tensor) -> bool:
    return x.dtype == torch.float64


def _norm_by_rows(g: Tensor) -> float:
    """`‖g‖₂` by the norms of its rows, or `M·‖g/M‖₂` where a square leaves float32."""
    g = g.reshape(-1)
    body, rest = g.tensor_split([g.numel() // ROW * ROW])
    rows = [_norm(x.view(-1, ROW), dim=1) for x in _wide_pieces(body)]
    norm = _norm(torch.cat([*rows, _norm(_wide(rest))[None]]), dtype=torch.float64)
    if g.numel() * 2.0**-99 <= norm**2 < math.inf:
        return norm.item()
    largest = _norm(g, math.inf).double()
    if largest == 0 or not largest.isfinite():
        return largest.item()
    pieces = g.split(PIECE["cpu"])
    return math.hypot(*(largest * _norm(x.double() / largest) for x in pieces))


def _wide_pieces(x: Tensor) -> Iterator[Tensor]:
    """A vector, whole, or if it is of 16 bits in pieces, in one buffer of float32."""
    if not is_narrow(x):
        yield x
        return
    buffer = torch.empty(min(len(x), PIECE["cpu"]), dtype=torch.float32)
    for piece in x.split(len(buffer)):
        yield _start(buffer, piece).copy_(piece)


_norm = torch.linalg.vector_norm


def total_norm(norms: Tensor) -> Tensor:
    """`‖(‖g‖₂, ‖g′‖₂, …)‖₂`."""
    largest = norms.max()
    total = largest * _norm(norms / largest)
    return torch.where((largest > 0) & largest.isfinite(), total, largest)


@torch.no_grad()
def largest(g: Tensors) -> Tensor:
    """`max|g|` over all elements of all gradients, 0 if there are none."""
    ends = [end(t) for t in g if t.numel() for end in (torch.amin, torch.amax)]
    if not ends:
        return torch.zeros(())
    return torch.stack([end.to(ends[0].device) for end in ends]).abs().max()


def clip_scales(norms: Tensor, c: float) -> Tensor:
    """`c/max(‖g‖₂, c)` for each norm."""
    return c / norms.clamp(min=c)


@torch.no_grad()
def clamped(g: Tensors, scales: Scales, c: float) -> list[Tensor]:
    """`min(max(s·g, −c), c)` of each gradient, in new tensors."""
    if not g:
        return []
    scaled = g if scales is None else _scaled(g, listed(scales))
    clamped = torch._foreach_clamp_min(scaled, -c)
    torch._foreach_clamp_max_(clamped, c)
    return list(clamped)


@torch.no_grad()
def accumulate(total: Tensors, g: Tensors, scales: Scales = None) -> None:
    """`Σg ← Σg + s·g`."""
    sgd(total, g, scales, η=-1.0)


@torch.no_grad()
def decay(θ: Tensors, *, ηλ: Scalar) -> None:
    """`θ ← θ − η·λ·θ`."""
    sgd(θ, θ, η=ηλ)


@torch.no_grad()
def average(averages: Tensors, θ: Tensors, *, μ: Scalar) -> None:
    """`average ← μ·average + (1 − μ)·θ`."""
    for _, (averages_, θ_) in _groups(None, averages, θ):
        kept = _known(μ, θ_[0].device)
        if isinstance(kept, Tensor):
            weight = (1 - kept).to(θ_[0].dtype)
            torch._foreach_lerp_(averages_, θ_, [weight] * len(θ_))
        elif 0 < kept < 0.5:
            # `lerp` has `θ − μ·(θ − average)` there, with few digits of a small `μ`.
            torch._foreach_mul_(averages_, kept)
            torch._foreach_add_(averages_, θ_, alpha=1 - kept)
        else:
            torch._foreach_lerp_(averages_, θ_, 1 - kept)


@torch.no_grad()
def widened(
    θ: Tensors, carries: Tensors | None, scales: Scales, *lists: Tensors
) -> Iterator[tuple[Scales, list[Tensors]]]:
    """Scales and lists for the functions above, of variables `θ` of 16 bits.

    Each item holds some of the variables, or a piece of one, in float32 with what their
    carries have, and beside them the same of the other lists, in float32 too. What is
    written into these variables is rounded into `θ` when the next item is asked for;
    the rest goes to the carries, or is lost without them. A carry counts only while `θ`
    holds what was left there with it.
    """
    held = [] if carries is None else [carries]
    for s, group in _groups(scales, θ, *held, *lists):
        buffers = _Buffers(group[0], len(group) - len(held) - 1)
        factors = [1.0] * len(group[0]) if s is None else s
        for f, (θ_, *others) in _batches(factors, *group):
            carries_, others = others[: len(held)], others[len(held) :]
            x, wide = buffers.read(θ_, *carries_), buffers.widen(others)
            yield (None if s is None else f), [_cut_like(θ_, x), *wide]
            buffers.write(x, θ_, *carries_)


@final
class _Buffers:
    """Memory for what is widened, used again for each piece."""

    def __init__(self, θ: Tensors, others: int):
        dtype, device = θ[0].dtype, θ[0].device
        count = min(sum(map(Tensor.numel, θ)), PIECE[device.type])
        wide = torch.empty((2 + others, count), dtype=torch.float32, device=device)
        self.exact, self.plain, *self.others = wide
        self.held = torch.empty(count, dtype=dtype, device=device)
        self.rounded = torch.empty_like(self.held)

    def read(self, θ: Tensors, carries: Tensors | None = None) -> Tensor:
        """`θ + carry` where `θ` is what that is rounded to, and `θ` elsewhere."""
        held = _joined(θ, self.held)
        plain = _start(self.plain, held).copy_(held)
        if carries is None:
            return plain
        exact = _start(self.exact, held)
        torch.add(_joined(carries, self.exact), plain, out=exact)
        rounded = _start(self.rounded, held).copy_(exact)
        if held.device.type == "cpu" and _same_bits(rounded, held):
            return exact
        return torch.where(rounded == held, exact, plain, out=exact)

    def widen(self, lists: Sequence[Tensors]) -> list[Tensors]:
        wide = []
        for tensors, buffer in zip(lists, self.others):
            if tensors[0].dtype != torch.float32:
                narrow = _joined(tensors, self.rounded.view(tensors[0].dtype))
                tensors = _cut_like(tensors, _start(buffer, narrow).copy_(narrow))
            wide.append(tensors)
        return wide

    def write(self, x: Tensor, θ: Tensors, carries: Tensors | None = None) -> None:
        """`θ ← x`, rounded, and what it has no bits for into the carries."""
        held = θ[0].view(-1) if len(θ) == 1 else _start(self.held, x)
        held.copy_(x)
        if len(θ) > 1:
            torch._foreach_copy_(θ, _cut_like(θ, held))
        if carries is not None:
            plain = _start(self.plain, x).copy_(held)
            rest = carries[0].view(-1) if len(carries) == 1 else x
            # Nothing is left of an infinity or of what is not a number.
            torch.sub(x, plain, out=rest).nan_to_num_(0.0, 0.0, 0.0)
            if rest is x:
                torch._foreach_copy_(carries, _cut_like(carries, rest))


def _joined(tensors: Tensors, buffer: Tensor) -> Tensor:
    """The tensors one after the other, in the buffer; a single one as it is."""
    flat = [t.view(-1) for t in tensors]
    if len(flat) == 1:
        return flat[0]
    count = sum(map(Tensor.numel, flat))
    return torch.cat(flat, out=buffer.narrow(0, 0, count))


def _start(buffer: Tensor, like: Tensor) -> Tensor:
    return buffer.narrow(0, 0, like.numel())


def _same_bits(x: Tensor, y: Tensor) -> bool:
    """Whether vectors of 16 bits are the same; words of 64 are quick to compare."""
    if x.storage_offset() % 4 or y.storage_offset() % 4:
        return torch.equal(x.view(torch.int16), y.view(torch.int16))
    words = len(x) // 4 * 4
    return torch.equal(
        x[:words].view(torch.int64), y[:words].view(torch.int64)
    ) and torch.equal(x[words:].view(torch.int16), y[words:].view(torch.int16))


def _cut_like(tensors: Tensors, flat: Tensor) -> Tensors:
    return list(torch._C._nn.unflatten_dense_tensors(flat, tensors))


def is_narrow(x: Tensor) -> bool:
    """Whether `x` is of 16 bits."""
    return x.dtype in NARROW


def product(x: Tensor, scale: Scalar | None) -> Tensor:
    """`scale·x`, of 32 bits at least, also where its dtype cannot hold the scale."""
    wide = _wide(x)
    return wide if scale is None else _scaled([wide], [scale])[0]


def _wide(x: Tensor) -> Tensor:
    return x.float() if is_narrow(x) else x


# Factors of the gradients, and lists in parts.


def _subtract(θ: Tensors, f: Factors, g: Tensors) -> None:
    """`θ ← θ − f·g`."""
    if _are_numbers(f) and not _are_tiny(f):
        for f_, (θ_, g_) in _runs(f, θ, g):
            torch._foreach_add_(θ_, g_, alpha=-f_)
    else:
        for some, (θ_, g_) in _batches(f, θ, g):
            torch._foreach_sub_(θ_, _scaled(g_, some))


def _scaled(g: Tensors, f: Factors, scratch: Tensor | None = None) -> list[Tensor]:
    """`f·g` in new tensors, or in `scratch` if it is a single one."""
    if not _are_numbers(f):
        return _scaled_by_tensors(g, f)
    factors = [f]
    if _are_tiny(f):
        factors = [[math.sqrt(abs(x)) for x in f]]
        factors += [[math.copysign(r, x) for r, x in zip(factors[0], f)]]
    if scratch is None or len(g) > 1:
        scaled = list(torch._foreach_mul(g, factors[0]))
    else:
        out = scratch[: g[0].numel()].view_as(g[0])
        scaled = [torch.mul(g[0], factors[0][0], out=out)]
    for more in factors[1:]:
        torch._foreach_mul_(scaled, more)
    return scaled


def _scaled_by_tensors(g: Tensors, f: list[Tensor]) -> list[Tensor]:
    """`f·g` in new tensors, by the roots of `f`, which the dtype of `g` can hold."""
    if _is_one(f):
        roots = _two_roots(f[0], g[0].dtype)
        scaled = torch._foreach_mul(g, roots[0])
        torch._foreach_mul_(scaled, roots[1])
        return list(scaled)
    scaled = list(g)
    small = [t.numel() <= SMALL for t in g]
    for are_small, f_, (g_, places) in _split(small, f, g, list(range(len(g)))):
        roots = _two_roots(torch.stack(f_), g[0].dtype)
        for k, t in zip(places, (_packed if are_small else _each)(g_, *roots)):
            scaled[k] = t
    return scaled


def _two_roots(f: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Two factors whose product is `f`."""
    root = f.abs().sqrt()
    return root.to(dtype), (root * f.sign()).to(dtype)


def _each(g: Tensors, first: Tensor, second: Tensor) -> list[Tensor]:
    """`first·second·g` for each gradient by itself."""
    return [(t * x).mul_(y) for t, x, y in zip(g, first, second)]


def _packed(g: Tensors, first: Tensor, second: Tensor) -> list[Tensor]:
    """The same in one vector: for small ones, a call takes longer than its work."""
    flat = torch.cat([t.reshape(-1) for t in g])
    counts = torch.tensor(list(map(Tensor.numel, g)))
    counts = counts.to(flat.device, non_blocking=True)
    for factors in (first, second):
        flat *= factors.repeat_interleave(counts, output_size=len(flat))
    return _cut_like(g, flat)


def _are_tiny(f: list[float]) -> bool:
    """Whether float32 has few digits of one of them or none, though their root's."""
    return any(0 < abs(x) < torch.finfo(torch.float32).tiny for x in set(f))


def _are_numbers(f: Factors) -> bool:
    return not isinstance(f[0], Tensor)


def _is_one(f: Factors) -> bool:
    """Whether all factors are one and the same tensor."""
    return all(x is f[0] for x in f)


def _is_on_a_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu"


def _known(x: Scalar, device: torch.device) -> Scalar:
    """`x` as a number, or as a tensor on `device` if it is known on a GPU alone."""
    if isinstance(x, Tensor) and "cpu" not in (x.device.type, device.type):
        return x.to(device)
    return float(x)


def sizes(scales: list, norms: Tensor) -> Tensor:
    """`|s|` of each of these scales, beside their norms."""
    if any(isinstance(s, Tensor) for s in scales):
        tensors = [torch.as_tensor(s, device=norms.device).double() for s in scales]
        return torch.stack(tensors).abs()
    numbers = torch.tensor(scales, dtype=torch.float64)
    return numbers.abs().to(norms.device, non_blocking=True)


def listed(scales: Sequence[float] | Tensor) -> Factors:
    """Scales as numbers, or as tensors if they are known on a GPU alone."""
    if not isinstance(scales, Tensor):
        return list(scales)
    return scales.tolist() if _is_on_a_cpu(scales) else list(scales)


def _product(η: Scalar, s: Factors | None, g: Tensors) -> Factors:
    """`η·s` for each gradient, in float64."""
    η = _known(η, g[0].device)
    if s is None:
        return [η] * len(g)
    if _are_numbers(s):
        return [η * x for x in s]
    if _is_one(s):
        return [η * s[0].double()] * len(s)
    return list(η * torch.stack(s).double())


def _groups(
    scales: Scales, *lists: Tensors
) -> Iterator[tuple[Factors | None, list[Tensors]]]:
    """Scales and lists of each dtype and device; no scales where all of them are 1."""
    s = None if scales is None else listed(scales)
    for group in together([x.dtype for x in lists[0]], [x.device for x in lists[0]]):
        device = lists[0][group[0]].device
        factors = None if s is None else [_known(s[k], device) for k in group]
        if factors and _are_numbers(factors) and factors.count(1.0) == len(factors):
            factors = None
        if len(group) == len(lists[0]):
            yield factors, list(lists)
        else:
            yield factors, [[each[k] for k in group] for each in lists]


def together(*keys: list) -> list[list[int]]:
    """The places at which the keys, each a list, are the same; none for empty lists."""
    if all(len(set(each)) == 1 for each in keys):
        return [list(range(len(keys[0])))]
    members: dict[tuple, list[int]] = {}
    for k, key in enumerate(zip(*keys)):
        members.setdefault(key, []).append(k)
    return list(members.values())


def _split(
    which: list[bool], f: Factors, *lists: list
) -> Iterator[tuple[bool, Factors, list]]:
    """Factors and lists of those for which `which` says so, and those of the others."""
    for side in (True, False):
        members = [k for k, each in enumerate(which) if each == side]
        if members:
            rest = [[each[k] for k in members] for each in lists]
            yield side, [f[k] for k in members], rest


def _runs(f: list[float], *lists: Tensors) -> Iterator[tuple[float, Sequence[Tensors]]]:
    """The lists whole if they have one factor, or else one by one."""
    if f.count(f[0]) == len(f):
        yield f[0], lists
    else:
        for factor, *tensors in zip(f, *lists):
            yield factor, [[t] for t in tensors]


def _batches(
    f: Factors, *lists: Tensors
) -> Iterator[tuple[Factors, Sequence[Tensors]]]:
    """The lists, cut and packed into batches of at most `PIECE` elements."""
    room = PIECE[lists[0][0].device.type]
    if sum(map(Tensor.numel, lists[0])) <= room:
        yield f, lists
        return
    batch: list[tuple] = []
    held = 0
    for row in _cut(room, f, *lists):
        if batch and held + row[1].numel() > room:
            yield _columns(batch)
            batch, held = [], 0
        batch.append(row)
        held += row[1].numel()
    yield _columns(batch)


def _cut(room: int, f: Factors, *lists: Tensors) -> Iterator[tuple]:
    """Factor and tensors of each variable, or of each piece of a large one."""
    for factor, *tensors in zip(f, *lists):
        if tensors[0].numel() <= room:
            yield factor, *tensors
        else:
            for pieces in zip(*(t.view(-1).split(room) for t in tensors)):
                yield factor, *pieces


def _columns(batch: list[tuple]) -> tuple[Factors, Sequence[Tensors]]:
    f, *lists = map(list, zip(*batch))
    return f, lists
