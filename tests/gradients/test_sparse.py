"""A sparse gradient gives what its densified gradient gives, however it is written.

`"exact"`: the equation runs on every row; `"lazy"`: only on the rows that are listed.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given
from hypothesis import strategies as st

from keras_textbook_opt import TextbookOptimizer
from tests.backends import MODES_IN_TIME, Sparse, in_modes, numbers
from tests.programs.own_hooks import OwnEquation, OwnRows
from tests.recipes import EXACT, FEW_EXACT, FEW_LAZY, LAZY
from tests.reference import densify
from tests.trainer import assert_steps_follow, kept, runs, trainer

pytestmark = pytest.mark.needs("rows")

SPECS = (
    ((6, 3), "float32"),
    ((5,), "float64"),
    ((4, 2, 2), "float32"),
    ((3, 0), "float32"),
    ((3,), "float32"),
)
TABLES = (0, 1, 2, 3)
# XLA compiles anew for each number of rows.
COUNTS = {"eager": (0, 1, 4, 9), "graph": (0, 1, 4, 9), "xla": (0, 9)}
of_each_mode = pytest.mark.parametrize("mode", MODES_IN_TIME)


@pytest.mark.parametrize(
    ("recipe", "mode"), in_modes(EXACT + LAZY, slice(5, None, 3), MODES_IN_TIME)
)
@given(data=st.data())
def test_sparse_steps_follow_the_equation(recipe, mode, data):
    run = data.draw(runs(SPECS, TABLES, COUNTS[mode]))
    assert_steps_follow(recipe, mode, run, SPECS, TABLES)


@of_each_mode
@pytest.mark.parametrize("recipe", LAZY[1::2], ids=str)
@given(data=st.data())
def test_a_lazy_step_leaves_absent_rows_unchanged_bit_for_bit(recipe, mode, data):
    values, gradients = data.draw(runs(SPECS, TABLES, COUNTS[mode]))
    assume(gradients)
    subject = trainer(recipe, mode, SPECS, TABLES)
    subject.run(values, gradients[:-1])
    before = [_state(subject, k) for k in TABLES]
    subject.run(values, gradients)
    for k in TABLES:
        absent = np.setdiff1d(np.arange(SPECS[k][0][0]), gradients[-1][k].indices)
        for old, new in zip(before[k], _state(subject, k), strict=True):
            np.testing.assert_array_equal(new[absent], old[absent])


def _state(subject, k: int) -> list:
    variable = subject.variables[k]
    return [*map(numbers, [variable, *kept(subject.optimizer, variable).values()])]


@pytest.mark.parametrize("recipe", LAZY, ids=str)
def test_a_lazy_step_writes_no_tensor_of_the_size_of_the_table(recipe):
    subject = trainer(recipe, "graph", (((1000, 3), "float32"),), (0,))
    sizes = [
        (op.type, output.shape)
        for op in subject._step.graph.get_operations()
        for output in op.outputs
        if op.type != "ReadVariableOp" and output.shape.rank
    ]
    assert any(shape[0] is None for _, shape in sizes)
    assert not [(kind, shape) for kind, shape in sizes if shape[0] == 1000]


AS_WRITTEN = {
    "a list": lambda x: x.tolist(),
    "a tuple": lambda x: tuple(x.tolist()),
    "a list of arrays": list,
    "an array": lambda x: x,
}


@pytest.mark.parametrize("mode", MODES_IN_TIME[:2])
@pytest.mark.parametrize("recipe", FEW_EXACT[:1] + FEW_LAZY[1:], ids=str)
@pytest.mark.parametrize("count", [0, 3])
def test_indices_and_values_may_be_lists_tuples_or_arrays(recipe, mode, count):
    i, x = np.array([1, 3, 1][:count], int), np.arange(2.0 * count).reshape(count, 2)
    expected = _stepped(recipe, "eager", lambda: (tf.constant(x), tf.constant(i)))
    for write in AS_WRITTEN.values():
        indices = _stepped(recipe, mode, lambda write=write: (x, write(i)))
        np.testing.assert_allclose(indices, expected)
        if count:  # an empty list does not say how wide its rows are
            values = _stepped(recipe, mode, lambda write=write: (write(x), i))
            np.testing.assert_allclose(values, expected)


def _stepped(recipe, mode, parts) -> np.ndarray:
    """A variable of float64 after one step on the values and indices `parts()`."""
    θ = keras.Variable(np.ones((4, 2)), dtype="float64")
    optimizer = recipe.make()
    in_mode(mode, optimizer, [θ], lambda: [tf.IndexedSlices(*parts())])()
    return θ.numpy()


def in_mode(mode, optimizer, variables, gradients):
    """A function without arguments that takes one step on `gradients()`."""
    optimizer.build(variables)

    def step():
        optimizer.apply(gradients(), variables)

    return step if mode == "eager" else tf.function(step, jit_compile=mode == "xla")


# Hooks of a user's class.

SETTINGS = [
    {},
    {"sparse_update": "lazy"},
    {"clipvalue": 0.5, "sparse_update": "lazy"},
    {"clipnorm": 0.5},
    {"global_clipnorm": 0.5, "sparse_update": "lazy"},
    {"gradient_accumulation_steps": 2, "sparse_update": "lazy", "clipnorm": 0.5},
    {"loss_scale_factor": 2.0, "use_ema": True},
]


@of_each_mode
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("cls", [OwnEquation, OwnRows])
def test_the_hooks_of_a_users_class_get_each_row_once(cls, settings, mode):
    step = [Sparse(np.array([1, 1, 2]), np.array([[3.0], [1.0], [-5.0]]))]
    own, twin = (keras.Variable(np.ones((4, 1))) for _ in range(2))
    optimizer = cls(0.25, **settings)
    densified = OwnEquation(0.25, **settings | {"sparse_update": "exact"})
    apply = in_mode(
        mode,
        optimizer,
        [own],
        lambda: [tf.IndexedSlices(g.values, g.indices) for g in step],
    )
    for _ in range(2):
        apply()
        densified.apply([densify(*step[0], (4, 1))], [twin])
    assert optimizer.counts.numpy().max() == 1, "a clip keeps a gradient sparse"
    np.testing.assert_allclose(own, twin, rtol=1e-6)
    m, expected = optimizer.get_slot(own, "m"), densified.get_slot(twin, "m")
    np.testing.assert_allclose(m, expected, rtol=1e-6)


@of_each_mode
def test_a_class_may_be_lazy_by_itself_and_a_hook_return_its_rows(mode):
    class Lazy(TextbookOptimizer):
        def __init__(self, learning_rate, **settings):
            super().__init__(learning_rate, **{"sparse_update": "lazy"} | settings)

        def apply_dense(self, g, θ, η):
            return θ - η * g

    class Alone(Lazy):
        def apply_sparse(self, g, θ, η):
            return g.with_values(tf.gather(θ, g.indices) - η * g.values)

    for cls in (Lazy, Alone):
        for settings in ({}, {"weight_decay": 0.5}):
            θ = keras.Variable(np.ones((4, 1)))
            rows = tf.IndexedSlices(tf.constant([[3.0], [1.0], [4.0]]), [1, 1, 2])
            optimizer = cls(0.25, **settings)
            in_mode(mode, optimizer, [θ], lambda rows=rows: [rows])()
            decayed = 1 - 0.25 * settings.get("weight_decay", 0.0)
            assert θ.numpy().ravel().tolist() == [1.0, decayed - 1, decayed - 1, 1.0]
