"""A gradient or variable that does not fit is refused, and nothing has changed."""

import contextlib
import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_textbook_opt import SGD, Adam, Momentum
from tests.backends import BACKEND, HAS, Sparse, gradient, numbers
from tests.recipes import Recipe

pytestmark = pytest.mark.filterwarnings("ignore:.sparse_update=.lazy.")

RECIPES = [
    Recipe(SGD, {"clipnorm": 0.5, "weight_decay": 0.1}),
    Recipe(Momentum, {"nesterov": True, "use_ema": True}),
    Recipe(Adam, {"sparse_update": "lazy", "weight_decay": 0.1}),
    Recipe(Adam, {"gradient_accumulation_steps": 2, "loss_scale_factor": 4.0}),
]
of_every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=str)

# A table of 4 rows is between two other variables, and its gradient is the bad one.
SHAPES = [(2,), (4, 3), ()]
ROW = [1.0, 2.0, 3.0]
BAD_SHAPES = {
    "a number": 1.0,
    "rank 1, would broadcast": np.ones(3, "float32"),
    "rank 3, would broadcast": np.ones((1, 4, 3), "float32"),
    "one column, would broadcast": np.ones((4, 1), "float32"),
    "transposed": np.ones((3, 4), "float32"),
    "too many rows": np.ones((5, 3), "float32"),
    "empty": np.ones((0, 3), "float32"),
    "a tensor": ops.ones((4, 2)),
    "a list": [ROW, ROW],
    "a ragged list": [ROW, ROW, ROW, [1.0]],
}
BAD_DTYPES = {
    "int": np.ones((4, 3), "int64"),
    "bool": np.ones((4, 3), "bool"),
    "complex": np.ones((4, 3), "complex64"),
    "strings": np.full((4, 3), "1.0"),
    "objects": np.full((4, 3), None),
    "an int tensor": ops.ones((4, 3), "int32"),
    "a list of bools": [[True, False, True]] * 4,
    "a list of complex numbers": [[1j, 2.0, 3.0]] * 4,
    "a list with a None": [[None, 2.0, 3.0]] * 4,
    "a dict": {"gradient": np.ones((4, 3))},
    "a string": "gradient",
    "an object": object(),
}
BAD_ROWS: dict = {}
if "rows" in HAS:
    import tensorflow as tf

    def slices(values, indices, dtype="float32", index_dtype="int32"):
        return tf.IndexedSlices(
            tf.constant(values, dtype), tf.constant(indices, index_dtype)
        )

    BAD_SHAPES |= {
        "rows too wide": slices([[1.0, 2.0, 3.0, 4.0]], [0]),
        "rows too narrow, would broadcast": slices([[1.0]], [0]),
        "rows of rank 0": slices([1.0], [0]),
        "rows that are a scalar": slices(1.0, 0),
    }
    BAD_DTYPES |= {
        "a string tensor": tf.fill((4, 3), "1.0"),
        "int rows": slices([[1, 2, 3]], [0], "int32"),
    }
    BAD_ROWS |= {
        "more rows than indices": slices([ROW, ROW], [0]),
        "more indices than rows": slices([ROW], [0, 1]),
        "indices of rank 2": slices([ROW], [[0]]),
        "indices of rank 0": slices([ROW], 0),
        "the row after the last": slices([ROW], [4]),
        "a negative row": slices([ROW], [-1]),
        "one of many rows": slices([ROW, ROW, ROW], [0, 7, 3]),
        "indices of floats": slices([ROW], [0.0], index_dtype="float32"),
    }

needs_graphs = pytest.mark.needs("graphs")


def make(recipe):
    """Variables and an optimizer that has taken one step on them."""
    variables = [keras.Variable(np.full(s, 2.0), name=f"v{len(s)}") for s in SHAPES]
    optimizer = recipe.make()
    optimizer.apply(good_gradients(), variables)
    return optimizer, variables


def good_gradients():
    table = gradient(Sparse(np.array([3, 1]), np.array([ROW, ROW])), (4, 3), "float32")
    return [np.ones(2, "float32"), table, np.float32(-1)]


def with_bad(bad):
    first, _, last = good_gradients()
    return [first, bad, last]


def state(optimizer, variables):
    """Every bit that a step may change, and how many variables there are."""
    everything = [*variables, *optimizer.variables]
    return [numbers(v).tobytes() for v in everything], optimizer.built


cached = functools.cache(make)


@contextlib.contextmanager
def refused(optimizer, variables, *words):
    before = state(optimizer, variables)
    with pytest.raises(ValueError, match=r"(?s)Expected .*Received: ") as refusal:
        yield
    assert state(optimizer, variables) == before
    for word in words:
        assert word in str(refusal.value)


WORDS = {name: ("shape", "(4, 3)") for name in BAD_SHAPES}
WORDS |= {name: ("ind",) for name in BAD_ROWS}
BAD = BAD_SHAPES | BAD_ROWS | BAD_DTYPES


@pytest.mark.parametrize("name", BAD)
def test_a_gradient_that_does_not_fit_is_refused(name):
    for recipe in RECIPES:
        optimizer, variables = cached(recipe)
        with refused(optimizer, variables, "v2", *WORDS.get(name, ())):
            optimizer.apply(with_bad(BAD[name]), variables)


@pytest.mark.parametrize("name", ["transposed", "int"])
def test_a_refused_first_step_leaves_the_optimizer_unbuilt(name):
    for recipe in RECIPES:
        variables = [keras.Variable(np.full(s, 2.0)) for s in SHAPES]
        optimizer = recipe.make()
        with refused(optimizer, variables):
            pairs = zip(with_bad(BAD[name]), variables, strict=True)
            optimizer.apply_gradients(pairs)
        optimizer.apply([[1.0]], [keras.Variable([1.0])])
        assert optimizer.built


@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_an_integer_variable_is_refused_by_name(dtype):
    counter = keras.Variable([1, 0], dtype=dtype, trainable=False, name="counter")
    variables, optimizer = [keras.Variable([1.0]), counter], SGD()
    with refused(optimizer, variables, "counter", dtype):
        optimizer.build(variables)
    with refused(optimizer, variables, "counter", dtype):
        optimizer.apply([[1.0], [1.0, 1.0]], variables)


@of_every_recipe
def test_an_unknown_variable_is_refused_with_the_way_out(recipe):
    optimizer, variables = make(recipe)
    stranger = keras.Variable([1.0], name="stranger")
    before = state(optimizer, [*variables, stranger])
    message = r"(?s)nknown variable 'stranger'.*set_variables.*compile"
    with pytest.raises(ValueError, match=message):
        optimizer.apply([np.ones(2, "float32"), [1.0]], [variables[0], stranger])
    assert state(optimizer, [*variables, stranger]) == before


def test_as_many_gradients_as_variables_are_needed():
    optimizer, variables = make(RECIPES[1])
    for count in (1, 4):
        for named in (variables, None):
            with refused(optimizer, variables, "3", str(count)):
                optimizer.apply((good_gradients() * 2)[:count], named)
    before = state(optimizer, variables)
    optimizer.apply([], variables)
    with pytest.raises(ValueError, match="No gradients provided"):
        optimizer.apply([None, None, None], variables)
    assert state(optimizer, variables) == before
    with pytest.raises(ValueError, match="build"):
        SGD().apply(good_gradients())


@pytest.mark.parametrize("built", [False, True])
def test_a_variable_and_its_gradient_in_the_wrong_order_are_refused(built):
    for cls in (SGD, Momentum, Adam):
        θ, optimizer = keras.Variable([1.0]), cls(0.5)
        if built:
            optimizer.build([θ])
        for g in ([1.0], np.ones(1), ops.ones(1)):
            with pytest.raises(ValueError, match=r"(?s)gradient.*variable.*Received"):
                optimizer.apply_gradients([(θ, g)])
        assert optimizer.built == built and numbers(θ) == [1.0]


@pytest.mark.needs("torch")
def test_a_parameter_of_pytorch_as_a_variable_is_refused_with_its_type():
    import torch

    parameter = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match=r"(?s)keras.*Received.*Parameter"):
        SGD().apply([torch.ones(2)], [parameter])
    assert parameter.tolist() == [1.0, 1.0]


@needs_graphs
@pytest.mark.parametrize("name", ["a tensor", "rows too wide"])
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_a_graph_is_refused_while_it_is_traced(name, jit_compile):
    optimizer, variables = make(RECIPES[2])

    @tf.function(jit_compile=jit_compile)
    def step():
        optimizer.apply(with_bad(BAD[name]), variables)

    with refused(optimizer, variables, "v2", "(4, 3)"):
        step()


@needs_graphs
@of_every_recipe
def test_gradients_whose_shape_is_known_only_at_run_time_are_accepted(recipe):
    optimizer, variables = make(recipe)
    first, rows, last = good_gradients()
    unknown = [tf.TensorSpec(None), tf.TensorSpec(None), tf.TensorSpec(None, tf.int32)]

    @tf.function(input_signature=unknown)
    def step(dense, values, indices):
        optimizer.apply([dense, tf.IndexedSlices(values, indices), last], variables)

    step(first, rows.values, rows.indices)
    twin, twin_variables = make(recipe)
    twin.apply(good_gradients(), twin_variables)
    for variable, expected in zip(variables, twin_variables, strict=True):
        # A graph may fuse operations: a few roundings of difference.
        np.testing.assert_allclose(variable, expected, rtol=1e-6)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        step(np.ones(5, "float32"), rows.values, rows.indices)


# Gradients that are accepted.

FORMS = {
    "array": numbers,
    "wider array": lambda g: numbers(g).astype("float64"),
    "list": lambda g: numbers(g).tolist(),
    "tuple": lambda g: tuple(numbers(g).tolist()),
    "keras variable": keras.Variable,
}
if BACKEND == "torch":  # whose `Embedding(sparse=True)` has such gradients
    FORMS["COO"] = lambda g: g.to_sparse()


@pytest.mark.parametrize("form", FORMS)
def test_a_dense_gradient_may_come_in_any_form(form):
    for recipe in RECIPES[::2]:
        given, plain = make(recipe), make(recipe)
        for k in range(2):
            gradients = [ops.ones(shape) * (0.1 + k) for shape in SHAPES[:2]]
            plain[0].apply(gradients, plain[1][:2])
            given[0].apply([FORMS[form](g) for g in gradients], given[1][:2])
        assert state(*given) == state(*plain)


@pytest.mark.needs("tensorflow")
@of_every_recipe
def test_variables_may_be_tensorflows_own(recipe):
    optimizer, variables = make(recipe)
    native = [tf.Variable(np.full(s, 2.0)) for s in SHAPES]
    twin = recipe.make()
    for _ in range(2):
        twin.apply(good_gradients(), native)
    optimizer.apply(good_gradients(), variables)
    for variable, expected in zip(native, variables, strict=True):
        assert numbers(variable).tobytes() == numbers(expected).tobytes()
