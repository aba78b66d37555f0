"""A gradient or variable that does not fit is refused, and nothing has changed."""

import contextlib
import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_textbook_opt import SGD, Adam, Momentum, TextbookOptimizer
from tests.backends import HAS, LONG, Sparse, gradient, numbers
from tests.recipes import Recipe

pytestmark = pytest.mark.filterwarnings("ignore:.sparse_update=.lazy.. is the same")

RECIPES = [
    Recipe(SGD, {"clipnorm": 0.5, "weight_decay": 0.1}),
    Recipe(Momentum, {"nesterov": True, "use_ema": True}),
    Recipe(Adam, {"amsgrad": True, "global_clipnorm": 0.5}),
    Recipe(Adam, {"sparse_update": "lazy", "weight_decay": 0.1}),
    Recipe(Adam, {"gradient_accumulation_steps": 2, "loss_scale_factor": 4.0}),
]
of_every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=str)

# A table of 4 rows stands between two other variables, and its gradient is the bad one.
SHAPES = [(2,), (4, 3), ()]


ROW = [1.0, 2.0, 3.0]
BAD_SHAPES = {
    "a scalar": np.float32(1),
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
    "unsigned": np.ones((4, 3), "uint8"),
    "bool": np.ones((4, 3), "bool"),
    "complex": np.ones((4, 3), "complex64"),
    "strings": np.full((4, 3), "1.0"),
    "objects": np.full((4, 3), None),
    "an int tensor": ops.ones((4, 3), "int32"),
    "a bool tensor": ops.ones((4, 3), "bool"),
    "a complex tensor": ops.convert_to_tensor(np.ones((4, 3), "complex64")),
    "a list of bools": [[True, False, True]] * 4,
    "a list of strings": [["a", "b", "c"]] * 4,
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
        "rows of rank 2": slices([[ROW]], [0]),
        "rows that are a scalar": slices(1.0, 0),
    }
    BAD_DTYPES |= {
        "a string tensor": tf.fill((4, 3), "1.0"),
        "int rows": slices([[1, 2, 3]], [0], "int32"),
        "complex rows": slices([ROW], [0], "complex64"),
        "string rows": slices([["a", "b", "c"]], [0], "string"),
    }
    BAD_ROWS |= {
        "more rows than indices": slices([ROW, ROW], [0]),
        "more indices than rows": slices([ROW], [0, 1]),
        "indices of rank 2": slices([ROW], [[0]]),
        "indices of rank 0": slices([ROW], 0),
        "the row after the last": slices([ROW], [4]),
        "a negative row": slices([ROW], [-1]),
        "one of many rows": slices([ROW, ROW, ROW], [0, 7, 3]),
        "no row, of many": slices([ROW, ROW], [-3, 2]),
        "indices of floats": slices([ROW], [0.0], index_dtype="float32"),
        "indices of bools": slices([ROW], [True], index_dtype="bool"),
    }

needs_rows = pytest.mark.needs("rows")
needs_graphs = pytest.mark.needs("graphs")


def each(bad, *names):
    """Each case, or those of these names that the backend has."""
    chosen = {name: case for name, case in bad.items() if not names or name in names}
    return pytest.mark.parametrize("bad", chosen.values(), ids=chosen)


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


def apply_with(bad, optimizer, variables):
    optimizer.apply(with_bad(bad), variables)


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


@each(BAD_SHAPES)
def test_a_gradient_of_another_shape_is_refused(bad):
    for recipe in RECIPES:
        with refused(*cached(recipe), "v2", "shape"):
            apply_with(bad, *cached(recipe))


@pytest.mark.parametrize(
    "name, received",
    [
        ("transposed", "(3, 4)"),
        pytest.param("rows too wide", "(1, 4)", marks=needs_rows),
    ],
)
def test_the_message_has_both_shapes(name, received):
    optimizer, variables = make(RECIPES[0])
    with refused(optimizer, variables, "(4, 3)", received):
        optimizer.apply(with_bad(BAD_SHAPES[name]), variables)


@needs_rows
@each(BAD_ROWS)
def test_rows_that_do_not_exist_or_do_not_match_are_refused(bad):
    for recipe in RECIPES:
        with refused(*cached(recipe), "v2", "indices"):
            apply_with(bad, *cached(recipe))


@each(BAD_DTYPES)
def test_a_gradient_of_another_dtype_is_refused(bad):
    for recipe in RECIPES:
        with refused(*cached(recipe), "v2"):
            apply_with(bad, *cached(recipe))


@of_every_recipe
def test_the_step_after_refusals_is_as_if_they_had_not_been(recipe):
    (optimizer, variables), (twin, twin_variables) = make(recipe), make(recipe)
    for bad in [*BAD_SHAPES.values(), *BAD_ROWS.values(), *BAD_DTYPES.values()]:
        with contextlib.suppress(ValueError):
            apply_with(bad, optimizer, variables)
    twin.apply(good_gradients(), twin_variables)
    optimizer.apply(good_gradients(), variables)
    assert state(optimizer, variables) == state(twin, twin_variables)


@each({"shape": BAD_SHAPES["transposed"], "dtype": BAD_DTYPES["int"]})
@of_every_recipe
def test_a_refused_first_step_leaves_the_optimizer_unbuilt(recipe, bad):
    variables = [keras.Variable(np.full(s, 2.0)) for s in SHAPES]
    optimizer = recipe.make()
    with refused(optimizer, variables):
        optimizer.apply(with_bad(bad), variables)
    others = [keras.Variable([1.0])]
    optimizer.apply([[1.0]], others)
    assert optimizer.built


@each(BAD_SHAPES | BAD_ROWS, "transposed", "a negative row")
def test_apply_gradients_refuses_it_too(bad):
    optimizer, variables = make(RECIPES[2])
    with refused(optimizer, variables):
        optimizer.apply_gradients(zip(with_bad(bad), variables, strict=True))


@needs_rows
def test_a_sparse_gradient_of_a_scalar_is_refused():
    optimizer, variables = make(RECIPES[2])
    first, second, _ = good_gradients()
    with refused(optimizer, variables, "v0"):
        optimizer.apply([first, second, slices([1.0], [0])], variables)


@of_every_recipe
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("named", [True, False], ids=["variables", "no variables"])
def test_as_many_gradients_as_variables(recipe, count, named):
    optimizer, variables = cached(recipe)
    gradients = (good_gradients() * 2)[:count]
    with refused(optimizer, variables, "3", str(count)):
        optimizer.apply(gradients, variables if named else None)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
@of_every_recipe
def test_an_integer_variable_is_refused_by_name(recipe, dtype):
    counter = keras.Variable([1, 0], dtype=dtype, trainable=False, name="counter")
    variables = [keras.Variable([1.0]), counter]
    optimizer = recipe.make()
    with refused(optimizer, variables, "counter", dtype):
        optimizer.build(variables)
    with refused(optimizer, variables, "counter", dtype):
        optimizer.apply([[1.0], [1.0, 1.0]], variables)


@of_every_recipe
def test_a_variable_the_optimizer_was_not_built_with_is_refused(recipe):
    optimizer, variables = make(recipe)
    stranger = keras.Variable([1.0])
    before = state(optimizer, [*variables, stranger])
    with pytest.raises(ValueError, match=r"unknown variable.*add_variables.*compile"):
        optimizer.apply([np.ones(2, "float32"), [1.0]], [variables[0], stranger])
    assert state(optimizer, [*variables, stranger]) == before


@of_every_recipe
def test_gradients_that_are_all_none_are_refused(recipe):
    optimizer, variables = make(recipe)
    before = state(optimizer, variables)
    with pytest.raises(ValueError, match=r"No gradients provided"):
        optimizer.apply([None, None, None], variables)
    assert state(optimizer, variables) == before


@of_every_recipe
def test_gradients_without_variables_need_a_built_optimizer(recipe):
    optimizer = recipe.make()
    with pytest.raises(ValueError, match=r"must already be built"):
        optimizer.apply(good_gradients())
    assert not optimizer.built


@of_every_recipe
def test_no_gradients_at_all_change_nothing(recipe):
    optimizer, variables = make(recipe)
    before = state(optimizer, variables)
    optimizer.apply([], variables)
    assert state(optimizer, variables) == before


@needs_graphs
@each(BAD_SHAPES, "a tensor", "rows too wide")
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_a_graph_is_refused_while_it_is_traced(bad, jit_compile):
    optimizer, variables = make(RECIPES[2])

    @tf.function(jit_compile=jit_compile)
    def step():
        apply_with(bad, optimizer, variables)

    with refused(optimizer, variables, "v2", "(4, 3)"):
        step()


@functools.cache
def step_on_any_rows(recipe):
    """A graph that was traced before it knows how many rows will come, and which."""
    optimizer, variables = make(recipe)

    @tf.function(input_signature=[tf.TensorSpec(None), tf.TensorSpec(None, tf.int32)])
    def step(values, indices):
        apply_with(tf.IndexedSlices(values, indices), optimizer, variables)

    return step, optimizer, variables


@needs_graphs
@of_every_recipe
@each(
    {
        "a negative row": ([ROW], [-1]),
        "the row after the last": ([ROW], [4]),
        "one of many rows": ([ROW, ROW, ROW], [0, 7, 3]),
        "more rows than indices": ([ROW, ROW], [0]),
        "more indices than rows": ([ROW], [0, 1]),
        "rows too narrow, would broadcast": ([[1.0]], [0]),
        "rows too wide": ([[*ROW, 4.0]], [0]),
        "rows of rank 1": ([1.0], [0]),
        "indices of rank 2": ([ROW], [[0]]),
    }
)
def test_rows_that_only_the_run_of_a_graph_can_see_stop_all_of_it(recipe, bad):
    """No variable has moved, not even those before the table."""
    step, optimizer, variables = step_on_any_rows(recipe)
    before = state(optimizer, variables)
    with pytest.raises(tf.errors.InvalidArgumentError):
        step(*map(tf.constant, bad))
    assert state(optimizer, variables) == before


@needs_graphs
def test_a_row_out_of_range_in_a_graph_is_refused_in_the_words_of_an_eager_step():
    optimizer, variables = make(RECIPES[2])
    bad = BAD_ROWS["the row after the last"]
    with pytest.raises(ValueError) as eager:
        apply_with(bad, optimizer, variables)
    with pytest.raises(tf.errors.InvalidArgumentError) as in_a_graph:
        tf.function(lambda: apply_with(bad, optimizer, variables))()
    expected, _ = str(eager.value).split(" Received: ")
    assert expected in str(in_a_graph.value).replace("\\'", "'")


@needs_graphs
@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(SGD),
        Recipe(Momentum),
        Recipe(Momentum, {"sparse_update": "lazy"}),
        Recipe(Adam, {"clipvalue": 0.5}),
        Recipe(Adam, {"sparse_update": "lazy", "weight_decay": 0.1}),
    ],
    ids=str,
)
def test_xla_leaves_out_the_rows_that_are_out_of_range(recipe):
    """XLA has no assertions: the other rows, and the other variables, step."""
    optimizer, variables = make(recipe)
    bad = slices([ROW] * 4, [1, 4, -1, -9])
    tf.function(lambda: apply_with(bad, optimizer, variables), jit_compile=True)()
    twin, left_out = make(recipe)
    apply_with(slices([ROW], [1]), twin, left_out)
    for variable, expected in zip(
        [*variables, *optimizer.variables], [*left_out, *twin.variables], strict=True
    ):
        np.testing.assert_allclose(variable, expected, rtol=1e-6)


LAST = pytest.param("bfloat16", True, marks=LONG)


class Plain(TextbookOptimizer):
    """Another's equation: plain arithmetic, in which shapes would broadcast."""

    def apply_dense(self, g, θ, η):
        return θ - η * g


DENSE_SHAPES = {
    name: g for name, g in BAD_SHAPES.items() if isinstance(g, (np.ndarray, np.float32))
}


@needs_graphs
@pytest.mark.parametrize("recipe", [RECIPES[0], RECIPES[-1], Recipe(Plain)], ids=str)
@pytest.mark.parametrize(
    ("dtype", "jit_compile"),
    [("float32", False), ("bfloat16", False), ("float32", True), LAST],
)
def test_a_shape_that_is_not_known_before_the_run_does_not_broadcast(
    recipe, dtype, jit_compile
):
    first = keras.Variable(2.0, dtype=dtype)
    table = keras.Variable(tf.fill((4, 3), 2.0), dtype=dtype, name="table")
    variables = [first, table]
    optimizer = recipe.make()
    optimizer.apply([1.0, np.ones((4, 3))], variables)
    for shape in [None, [None, None]]:
        step = tf.function(
            lambda g: optimizer.apply([1.0, g], variables),
            input_signature=[tf.TensorSpec(shape, dtype)],
            jit_compile=jit_compile,
        )
        before = state(optimizer, variables)
        for bad in DENSE_SHAPES.values():
            if shape is None or bad.ndim == len(shape):
                with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
                    step(tf.cast(bad, dtype))
                assert state(optimizer, variables) == before
        step(tf.ones((4, 3), dtype))
        assert state(optimizer, variables) != before


@needs_graphs
@of_every_recipe
def test_gradients_whose_shape_is_known_only_when_they_arrive_are_not_refused(recipe):
    optimizer, variables = make(recipe)
    first, rows, last = good_gradients()

    @tf.function(
        input_signature=[
            tf.TensorSpec(None),
            tf.TensorSpec(None),
            tf.TensorSpec(None, tf.int32),
        ]
    )
    def step(dense, values, indices):
        optimizer.apply([dense, tf.IndexedSlices(values, indices), last], variables)

    step(first, rows.values, rows.indices)
    twin, twin_variables = make(recipe)
    twin.apply(good_gradients(), twin_variables)
    for variable, expected in zip(variables, twin_variables, strict=True):
        # A graph may fuse what runs one by one eagerly: a few roundings of difference.
        np.testing.assert_allclose(variable, expected, rtol=1e-6)
