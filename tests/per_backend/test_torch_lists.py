"""Lists of PyTorch tensors take the step of the equation, whatever the tensors.

Each step is judged by itself: from the state that the step before has left, the
equations of `reference.py` in float64 give what must be there after it, to 2e-6 (in
float32) of the terms that are added. A decayed spike hides nothing that way.
"""

from contextlib import contextmanager
from functools import partial
from unittest import mock

import keras
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from keras_textbook_opt import SGD
from keras_textbook_opt.backends import torch_lists as lists
from keras_textbook_opt.backends.plain import Backend
from tests import reference

pytestmark = pytest.mark.needs("torch")

SHAPES = [(), (1,), (0,), (5,), (3, 4), (2, 0, 3), (2, 3, 2), (31,)]
UNIT = {torch.float32: 2e-6, torch.float64: 1e-14}
LEAST = {torch.float32: 1e-37, torch.float64: 1e-300}
SCALES = [1.0, 0.5, 1e-3, 1e-12, 1e-30]


@contextmanager
def pieces_of(elements: int):
    """As if so few elements made a piece: small lists are cut and packed then."""
    with mock.patch.dict(lists.parts.PIECE, cpu=elements):
        yield


@contextmanager
def numbers_unknown():
    """As on a GPU: what comes as a tensor is never read. Ten elements are many."""
    with (
        mock.patch.object(lists.factors, "SMALL", 10),
        mock.patch.object(lists.equations, "SMALL", 10),
        mock.patch.object(lists.factors, "known", lambda x, device: x),
        mock.patch.object(lists.equations, "known", lambda x, device: x),
        mock.patch.object(lists.factors, "listed", list),
        mock.patch.object(lists.clips, "listed", list),
    ):
        yield


def array(x):
    return x.detach().numpy().astype(np.float64)


@st.composite
def runs(draw, slots: int, largest: float = 1e8):
    """Variables, slots, the gradients of some steps and the scales of each."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shapes = draw(st.lists(st.sampled_from(SHAPES), max_size=9))
    dtypes = [rng.choice(["float32", "float32", "float64"]) for _ in shapes]
    variables = [tensor(rng.normal(size=s), d) for s, d in zip(shapes, dtypes)]
    sizes = st.sampled_from([0.0, 1e-8, 1e-3, 1.0, 1e4, largest])
    steps = []
    for size in draw(st.lists(sizes, min_size=1, max_size=4)):
        g = [
            tensor(rng.normal(size=s) * size * (rng.random(s) < 0.8), d)
            for s, d in zip(shapes, dtypes)
        ]
        kind = draw(st.sampled_from(["none", "one", "ones", "each"]))
        scales = {
            "none": None,
            "one": [float(rng.choice(SCALES))] * len(g),
            "ones": [1.0] * len(g),
            "each": torch.tensor(rng.choice(SCALES, len(g)), dtype=torch.float64),
        }[kind]
        steps.append((g, scales))
    return (
        variables,
        [[torch.zeros_like(x) for x in variables] for _ in range(slots)],
        steps,
    )


def tensor(values, dtype):
    return torch.from_numpy(np.asarray(values, dtype))


PIECES = st.sampled_from([1, 7, 40, 2**20])
RATES = st.sampled_from([0.0, 1e-12, 1e-3, 0.1, 2.0])


def factors(scales, g) -> list[float]:
    return [1.0] * len(g) if scales is None else [float(s) for s in scales]


def close(x, expected, *terms) -> None:
    """`x` is `expected` to some rounding of each of the terms that are added there."""
    reach = sum(np.abs(term) for term in terms)
    tolerance = UNIT[x.dtype] * reach + LEAST[x.dtype]
    excess = np.abs(array(x) - expected) - tolerance
    assert np.all(excess <= 0), (array(x), expected, tolerance)


def check_steps(run, step, judge) -> None:
    """Take the steps, each from the state before it; `g` stays and versions grow."""
    variables, slots, steps = run
    for g, scales in steps:
        places = [variables, *slots]
        before = [[array(x) for x in each] for each in places]
        gradients = [x.clone() for x in g]
        versions = [x._version for each in places for x in each]
        step(variables, *slots, g, scales)
        for k, (x, s) in enumerate(zip(gradients, factors(scales, g))):
            assert torch.equal(x, g[k])
            judge([each[k] for each in places], [b[k] for b in before], array(x), s)
        after = [x._version for each in places for x in each]
        assert all(a > b for a, b in zip(after, versions))


@given(run=runs(0), η=RATES, piece=PIECES)
def test_sgd(run, η, piece):
    def step(θ, g, scales):
        with pieces_of(piece):
            lists.sgd(θ, g, scales, η=η)

    def judge(now, old, g, s):
        close(now[0], reference.sgd(old[0], s * g, η=η), old[0], η * s * g)

    check_steps(run, step, judge)


def judge_momentum(now, old, g, s, η, β, nesterov):
    held = float(np.asarray(β, array_dtype(now[0])))
    θ, m = old
    expected = reference.momentum(θ, m, s * g, η=η, β=held, nesterov=nesterov)
    close(now[1], expected[1], held * old[1], η * s * g)
    close(now[0], expected[0], old[0], held * old[1], η * s * g)


def array_dtype(x):
    return np.float32 if x.dtype == torch.float32 else np.float64


@given(
    run=runs(1),
    η=RATES,
    β=st.sampled_from([0.0, 1e-9, 0.3, 0.9, 0.999, 1.0]),
    nesterov=st.booleans(),
    piece=PIECES,
)
def test_momentum(run, η, β, nesterov, piece):
    def step(θ, m, g, scales):
        with pieces_of(piece):
            lists.momentum(θ, m, g, scales, η=η, β=β, nesterov=nesterov)

    check_steps(run, step, partial(judge_momentum, η=η, β=β, nesterov=nesterov))


def judge_adam(now, old, g, s, η, β_1, β_2, ε):
    dtype = array_dtype(now[0])
    β_1, β_2 = (float(np.asarray(β, dtype)) for β in (β_1, β_2))
    g = s * g
    m, v = reference.adam_moments(old[1], old[2], g, β_1=β_1, β_2=β_2)
    close(now[1], m, β_1 * old[1], (1 - β_1) * g)
    close(now[2], v, v)
    root = array(now[2])
    if len(now) > 3:
        root = np.maximum(old[3], root)
        close(now[3], root, root)
    move = η * array(now[1]) / (np.sqrt(root) + ε)
    close(now[0], old[0] - move, old[0], move)


BETAS = st.sampled_from([0.0, 1e-9, 0.1, 0.3, 0.5, 0.9, 0.999, 0.999999])


@given(
    run=runs(2),
    η=RATES,
    β_1=BETAS,
    β_2=BETAS,
    ε=st.sampled_from([1e-12, 1e-8, 1.0]),
    amsgrad=st.booleans(),
    piece=PIECES,
)
def test_adam(run, η, β_1, β_2, ε, amsgrad, piece):
    variables, slots, steps = run
    slots = [*slots, [torch.zeros_like(x) for x in variables]][: 2 + amsgrad]

    def step(θ, m, v, *rest):
        *v_hat, g, scales = rest
        largest = v_hat[0] if v_hat else None
        with pieces_of(piece):
            lists.adam(θ, m, v, largest, g, scales, η_hat=η, β_1=β_1, β_2=β_2, ε=ε)

    judge = partial(judge_adam, η=η, β_1=β_1, β_2=β_2, ε=ε)
    check_steps((variables, slots, steps), step, judge)


@given(run=runs(3), nesterov=st.booleans(), β_1=st.sampled_from([0.0, 0.1, 0.9]))
def test_numbers_that_only_the_gpu_knows(run, nesterov, β_1):
    """Scales and rates that are tensors and stay so give the same steps."""
    θ, (m, v, v_hat), steps = run
    η = torch.tensor(0.125)
    for g, scales in steps:
        scales = torch.tensor(factors(scales, g), dtype=torch.float64)
        for judge, slots, step in (
            (
                lambda now, old, g, s: close(
                    now[0], old[0] - 0.125 * s * g, old[0], 0.125 * s * g
                ),
                [],
                lambda θ, g, s: lists.sgd(θ, g, s, η=η),
            ),
            (
                partial(judge_momentum, η=0.125, β=0.9, nesterov=nesterov),
                [m],
                lambda θ, m, g, s: lists.momentum(
                    θ, m, g, s, η=η, β=0.9, nesterov=nesterov
                ),
            ),
            (
                partial(judge_adam, η=0.125, β_1=β_1, β_2=0.999, ε=1e-8),
                [[torch.zeros_like(x) for x in θ], v, v_hat],
                lambda θ, m, v, v_hat, g, s: lists.adam(
                    θ, m, v, v_hat, g, s, η_hat=η, β_1=β_1, β_2=0.999, ε=1e-8
                ),
            ),
        ):
            with numbers_unknown(), pieces_of(40):
                check_steps((θ, slots, [(g, scales)]), step, judge)


# Norms and clips.

LENGTHS = [0, 1, 7, 1023, 1024, 4096, 4097, 5000, 70_000]
MAGNITUDES = st.floats(-45, 38.4)


def norm64(x) -> float:
    """`‖x‖₂`, with the exponent of the largest taken out first."""
    x = np.asarray(x, np.float64)
    return float(np.sqrt(np.sum(np.square(x))))


@given(
    seed=st.integers(0, 2**32),
    lengths=st.lists(st.sampled_from(LENGTHS), max_size=4),
    exponent=MAGNITUDES,
    spread=st.sampled_from([0.0, 1.0, 10.0]),
)
def test_norms_of_every_finite_gradient(seed, lengths, exponent, spread):
    rng = np.random.default_rng(seed)
    g = [gradient(rng, n, exponent, spread) for n in lengths]
    found = lists.norms([torch.from_numpy(x) for x in g])
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, [norm64(x) for x in g], rtol=1e-6)


def gradient(rng, n: int, exponent: float, spread: float):
    """Of about `10**exponent`; all alike for a spread of 0."""
    powers = exponent + spread * rng.uniform(-1, 0, n)
    x = 10.0 ** np.minimum(powers, 38.53) * rng.choice([-1.0, 1.0], n)
    return np.clip(x, -3.4e38, 3.4e38).astype(np.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_norms_of_other_dtypes(dtype):
    for n in (3, 5000, 70_000):
        x = (torch.linspace(-3, 3, n, dtype=torch.float64) * 1e3).to(dtype)
        np.testing.assert_allclose(lists.norms([x])[0], norm64(x.double()), rtol=1e-6)
    large = torch.full((5000,), 1e30, dtype=torch.float64)
    np.testing.assert_allclose(lists.norms([large])[0], norm64(large), rtol=1e-6)


def test_norms_of_what_is_not_finite():
    for bad, n in [(np.inf, 3), (np.inf, 9000), (np.nan, 3), (np.nan, 9000)]:
        x = torch.ones(n)
        x[n // 2] = bad
        np.testing.assert_equal(lists.norms([x]).tolist(), [bad])
    assert lists.norms([]).shape == (0,)


def test_the_norm_of_20_million():
    for x in (torch.full((20_000_000,), 0.1), torch.rand(20_000_000)):
        expected = norm64(x.numpy())
        np.testing.assert_allclose(lists.norms([x])[0], expected, rtol=1e-6)


@given(
    seed=st.integers(0, 2**32),
    n=st.sampled_from([1, 7, 5000]),
    exponent=st.floats(-37, 38.4),
    clip=st.floats(-37, 38.4),
    step=st.sampled_from(["sgd", "momentum", "nesterov", "tensors"]),
)
def test_a_clipped_step_has_its_direction_and_length(seed, n, exponent, clip, step):
    g = gradient(np.random.default_rng(seed), n, exponent, 1.0)
    c, norm = 10.0**clip, norm64(g)
    θ, m = [torch.zeros(n)], [torch.zeros(n)]
    scales = lists.clip_scales(lists.norms([torch.from_numpy(g)]), c)
    if step == "sgd":
        lists.sgd(θ, [torch.from_numpy(g)], scales, η=1.0)
    elif step == "tensors":
        with numbers_unknown():
            lists.sgd(θ, [torch.from_numpy(g)], scales, η=torch.tensor(1.0))
    else:
        lists.momentum(
            θ,
            m,
            [torch.from_numpy(g)],
            scales,
            η=1.0,
            β=0.5,
            nesterov=step == "nesterov",
        )
        θ = [θ[0].double() / (1.5 if step == "nesterov" else 1.0)]
    expected = -(g.astype(np.float64) * min(1.0, c / norm))
    np.testing.assert_allclose(θ[0], expected, rtol=3e-6, atol=3e-45)


# What surrounds an equation.


@given(run=runs(1), μ=BETAS, known=st.booleans())
def test_average(run, μ, known):
    θ, (averages,), _ = run
    for average, spike in zip(averages, (1e8, 1.0, 1e-8) * 3):
        average.fill_(spike)
    old = [array(x) for x in averages]
    if known:
        lists.average(averages, θ, μ=μ)
    else:
        with numbers_unknown():
            lists.average(averages, θ, μ=torch.tensor(0.75))
            μ = 0.75
    for x, before, target in zip(averages, old, map(array, θ)):
        kept, new = μ * before, (1 - μ) * target
        close(x, kept + new, kept, new)


@given(run=runs(1), rate=RATES)
def test_decay(run, rate):
    θ, _, _ = run
    old = [array(x) for x in θ]
    lists.decay(θ, ηλ=rate)
    for x, before in zip(θ, old):
        close(x, before - rate * before, before, rate * before)


@given(run=runs(1), c=st.sampled_from([1e-3, 1.0, 1e9]))
def test_accumulated_and_clamped(run, c):
    _, (total,), steps = run
    expected = [array(x) for x in total]
    terms = [np.abs(x) for x in expected]
    for g, scales in steps:
        lists.accumulate(total, g, scales)
        scaled = [s * array(x) for s, x in zip(factors(scales, g), g)]
        expected = [e + x for e, x in zip(expected, scaled)]
        terms = [t + np.abs(x) for t, x in zip(terms, scaled)]
        for x, clamped in zip(scaled, lists.clamped(g, scales, c)):
            close(clamped, np.clip(x, -c, c), x)
    for x, e, t in zip(total, expected, terms):
        close(x, e, t)


# Variables of 16 bits.

NARROW = st.sampled_from([torch.float16, torch.bfloat16])


@given(
    seed=st.integers(0, 2**32),
    dtype=NARROW,
    piece=PIECES,
    carried=st.booleans(),
    steps=st.integers(1, 6),
)
def test_steps_of_16_bits_are_those_of_float32(seed, dtype, piece, carried, steps):
    """With carries `θ` is a float32 variable that is rounded where it is read."""
    rng = np.random.default_rng(seed)
    wide = [tensor(rng.normal(size=s), np.float32).to(dtype).float() for s in SHAPES]
    θ = [x.to(dtype) for x in wide]
    carries = [torch.zeros_like(x) for x in wide] if carried else None
    m, v, m_wide, v_wide = ([torch.zeros_like(x) for x in wide] for _ in range(4))
    arguments = {"η_hat": 1e-4, "β_1": 0.9, "β_2": 0.999, "ε": 1e-8}
    for _ in range(steps):
        g = [tensor(rng.normal(size=s), np.float32).to(dtype) for s in SHAPES]
        with pieces_of(piece):
            for _, (x, g_x, m_x, v_x) in lists.widened(θ, carries, None, g, m, v):
                assert all(t.dtype == torch.float32 for t in [*x, *g_x, *m_x, *v_x])
                lists.adam(x, m_x, v_x, None, g_x, **arguments)
        lists.adam(wide, m_wide, v_wide, None, [x.float() for x in g], **arguments)
        for now, expected in zip([*m, *v], [*m_wide, *v_wide]):
            torch.testing.assert_close(now, expected, rtol=1e-6, atol=1e-9)
        for k, x in enumerate(θ):
            exact = x.float() + carries[k] if carries else x.float()
            unit = 1e-6 if carried else torch.finfo(dtype).eps
            torch.testing.assert_close(exact, wide[k], rtol=unit, atol=unit * 1e-4)
            assert torch.equal(exact.to(dtype), x)
            wide[k].copy_(exact)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_carry_counts_while_its_variable_is_as_it_was_left(dtype):
    θ = [torch.tensor([1.0, 1000.0], dtype=dtype)]
    carries = [torch.tensor([1e-4, 0.1])]
    θ[0][1] = 0.0
    for _, (x,) in lists.widened(θ, carries, None):
        assert x[0].tolist() == [np.float32(1) + np.float32(1e-4), 0.0]
    assert θ[0].tolist() == [1.0, 0.0]
    np.testing.assert_allclose(carries[0], [1e-4, 0.0], rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_nothing_is_carried_beside_what_is_not_finite(dtype):
    θ, carries = [torch.zeros(4, dtype=dtype)], [torch.zeros(4)]
    for _, (x,) in lists.widened(θ, carries, None):
        x[0].copy_(torch.tensor([np.inf, -np.inf, np.nan, 3.4e38]))
    np.testing.assert_equal(θ[0].tolist(), [np.inf, -np.inf, np.nan, np.inf])
    assert carries[0].tolist() == [0.0] * 4


# Autograd, and which tensors are taken.

STEPS = {
    "sgd": lambda θ, m, v, g: lists.sgd(θ, g, η=0.1),
    "momentum": lambda θ, m, v, g: lists.momentum(θ, m, g, η=0.1, β=0.9),
    "nesterov": lambda θ, m, v, g: lists.momentum(θ, m, g, η=0.1, β=0.9, nesterov=True),
    "adam": lambda θ, m, v, g: lists.adam(
        θ, m, v, None, g, η_hat=0.1, β_1=0.9, β_2=0.999, ε=1e-8
    ),
    "clipped": lambda θ, m, v, g: lists.adam(
        θ, m, v, None, g, [0.5], η_hat=0.1, β_1=0.9, β_2=0.999, ε=1e-8
    ),
    "decay": lambda θ, m, v, g: lists.decay(θ, ηλ=0.1),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_autograd_notices_a_step_between_forward_and_backward(step):
    θ = torch.nn.Parameter(torch.ones(6))
    loss = (θ * θ).sum()
    m, v, g = (torch.ones(6) for _ in range(3))
    with pieces_of(4):
        step([θ], [m], [v], [g])
    assert θ.requires_grad and θ.is_leaf
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


class Marked(torch.Tensor):
    """What has a meaning of its own that a kernel does not know."""


def test_what_is_taken():
    plain, double = torch.ones(2, 3), torch.ones(2, 3, dtype=torch.float64)
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    g = torch.ones(2, 3)
    assert lists.takes([], []) == []
    assert lists.takes([plain, parameter], [g, g]) == [True, True]
    assert lists.takes([plain, double], [g, double.clone()]) == [True, True]
    narrow = plain.bfloat16()
    assert lists.takes([narrow, narrow.clone()], [narrow.clone(), g]) == [True, True]
    assert lists.takes([narrow], [g], [g]) == [True]
    assert lists.takes([narrow], [g], [narrow]) == [False]
    refused = [
        (torch.ones(3, 2).T, g),
        (torch.ones(2, 3), torch.ones(3, 2).T),
        (torch.ones(2, 3), torch.ones(3, 2)),
        (torch.ones(2, 3), double),
        (torch.ones(2, 3), narrow),
        (torch.ones(2, 3).bfloat16(), torch.ones(2, 3).half()),
        (torch.ones(2, 3).as_subclass(Marked), g),
        (torch.ones(2, 3), g.to_sparse()),
        (torch.ones(2, 3, device="meta"), torch.ones(2, 3, device="meta")),
    ]
    variables, gradients = zip(*refused)
    expected = [False] * len(refused) + [True]
    assert lists.takes([*variables, plain], [*gradients, g]) == expected


@pytest.mark.parametrize("of_gradients", ["own", "float32"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_gradients_of_every_dtype_accumulate_as_a_list(
    monkeypatch, dtype, of_gradients
):
    monkeypatch.delattr(Backend, "accumulate")
    θ = [keras.Variable(np.ones(5), dtype=dtype) for _ in range(3)]
    optimizer = SGD(0.5, gradient_accumulation_steps=2)
    g_dtype = getattr(torch, dtype if of_gradients == "own" else of_gradients)
    for _ in range(2):
        optimizer.apply([torch.full((5,), 0.5, dtype=g_dtype) for _ in θ], θ)
    for variable in θ:
        assert torch.equal(variable.value, torch.full_like(variable.value, 0.75))


def test_no_variable_is_taken_where_two_share_memory():
    flat, g = torch.ones(8), torch.ones(4)
    whole, first, second, middle = flat.view(8), flat[:4], flat[4:], flat[2:6]
    assert lists.takes([first, second], [g, g]) == [True, True]
    assert lists.takes([first, first], [g, g]) == [False, False]
    assert lists.takes([first, middle], [g, g]) == [False, False]
    assert lists.takes([whole, second], [torch.ones(8), g]) == [False, False]
    assert lists.takes([first, second], [second, g]) == [False, False]
    empty = torch.ones(0)
    assert lists.takes([empty, empty], [empty, empty]) == [True, True]


def test_nothing_is_taken_in_a_transformed_function():
    seen = []

    def f(x):
        seen.append(lists.takes([torch.ones(3)], [torch.ones(3)]))
        return x.sum()

    torch.func.grad(f)(torch.ones(3))
    assert seen == [[False]]


# GPUs, which need not be here: tensors without values cannot be read on the host.


@pytest.fixture
def gpu():
    """Makes lists "on a GPU" whose values nobody can wait for."""
    fake_tensor = pytest.importorskip("torch._subclasses.fake_tensor")
    shapes = [(3,), (2, 4), (50_000,), ()]
    # PyTorch cannot pretend to run these two.
    fused = [mock.patch.object(torch, name) for name in ("_fused_sgd_", "_fused_adam_")]
    with fake_tensor.FakeTensorMode(), fused[0], fused[1]:

        def make(dtype=torch.float32):
            return [torch.ones(s, device="cuda", dtype=dtype) for s in shapes]

        with pytest.raises(Exception, match=r"CUDA|cuda|data|Cannot|scalar"):
            float(make()[0].sum())
        yield make


@pytest.mark.parametrize("clip", ["none", "clipnorm", "global_clipnorm"])
@pytest.mark.parametrize("η", [0.1, "a tensor"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_step_waits_for_a_gpu(gpu, dtype, η, clip):
    θ, m, v, v_hat, g = (gpu(dtype) for _ in range(5))
    rate = torch.ones((), device="cuda") if η == "a tensor" else η
    scales = None
    if clip != "none":
        norms = lists.norms(g)
        if clip == "global_clipnorm":
            norms = torch.linalg.vector_norm(norms).expand(len(g))
        scales = lists.clip_scales(norms, 1.0)
    lists.sgd(θ, g, scales, η=rate)
    for nesterov in (False, True):
        lists.momentum(θ, m, g, scales, η=rate, β=0.9, nesterov=nesterov)
    for β_1 in (0.1, 0.9):
        rates = {"η_hat": rate, "β_1": β_1, "β_2": 0.999, "ε": 1e-8}
        lists.adam(θ, m, v, v_hat, g, scales, **rates)
        lists.adam(θ, m, v, None, g, scales, **rates)
    lists.decay(θ, ηλ=rate)
    lists.average(m, θ, μ=rate)
    lists.accumulate(m, g, scales)
    lists.clamped(g, scales, 1.0)


def test_kernels_of_a_gpu_get_tensors_of_the_same_strides(gpu):
    """They refuse others, as those of contiguous tensors with few elements may be."""
    shapes = [(4, 1), (2, 0, 3), (0,), (5, 2)]
    θ, m, v, v_hat = ([torch.ones(s, device="cuda") for s in shapes] for _ in range(4))
    strides = [(1, 4), (0, 0, 0), (0,), (2, 1)]
    g = [
        torch.empty_strided(shape, stride, device="cuda")
        for shape, stride in zip(shapes, strides)
    ]
    assert all(map(torch.Tensor.is_contiguous, g))
    lists.momentum(θ, m, g, η=0.1, β=0.9)
    lists.adam(θ, m, v, v_hat, g, η_hat=0.1, β_1=0.9, β_2=0.999, ε=1e-8)
    for kernel, count in ((torch._fused_sgd_, 3), (torch._fused_adam_, 5)):
        of_each = [[t.stride() for t in each] for each in kernel.call_args.args[:count]]
        assert of_each == of_each[:1] * count


def test_no_reading_of_16_bits_waits_for_a_device():
    """As on a GPU: tensors of the device "meta" have no values to read."""
    θ, g = ([torch.ones(5, device="meta").half()] * 2 for _ in range(2))
    carries, m = ([torch.ones(5, device="meta")] * 2 for _ in range(2))
    with mock.patch.dict(lists.parts.PIECE, meta=7):
        for _, (x, g_x, m_x) in lists.widened(θ, carries, None, g, m):
            torch._foreach_add_(x, g_x)
            torch._foreach_add_(m_x, g_x)
