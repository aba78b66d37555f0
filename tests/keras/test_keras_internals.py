"""What the package takes for granted of Keras's private methods is still so.

Each of these tests fails when Keras renames, moves or reorders what the order of a step
relies on. Then `step.py` needs a second look before a new Keras may be allowed.
"""

import ast
import functools
import inspect
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format
from keras.src.models import Functional
from keras.src.saving import saving_lib

import keras_textbook_opt
from keras_textbook_opt import TextbookOptimizer
from keras_textbook_opt.state import keras_loaders

pytestmark = pytest.mark.once

PACKAGE = Path(keras_textbook_opt.__file__).parent
KERAS = keras.optimizers.Optimizer

# The private methods of Keras that are overridden or called, with their parameters.
METHODS = {
    "_backend_apply_gradients": ["grads", "trainable_variables"],
    "_clip_gradients": ["grads"],
    "_overwrite_variable_with_gradient": ["variable"],
    "_untrack_variable": ["variable"],
    "_use_weight_decay": ["variable"],
    "_var_key": ["variable"],
}
# The same of the public methods that it overrides or calls through `super()`.
PUBLIC = {
    "add_variable_from_reference": ["reference_variable", "name", "initializer"],
    "apply": ["grads", "trainable_variables"],
    "assign": ["variable", "value"],
    "assign_add": ["variable", "value"],
    "assign_sub": ["variable", "value"],
    "build": ["variables"],
    "exclude_from_weight_decay": ["var_list", "var_names"],
    "from_config": ["config", "custom_objects"],
    "get_config": [],
    "update_step": ["gradient", "variable", "learning_rate"],
}
ATTRIBUTES = {
    "_accumulated_gradients",
    "_exclude_from_weight_decay",
    "_exclude_from_weight_decay_pattern",
    "_iterations",
    "_learning_rate",
    "_tracker",
    "_trainable_variables",
    "_trainable_variables_indices",
    "_variables",
}
# What Keras's callback swaps, which is a property here.
AVERAGES = "_model_variables_moving_average"
OF_A_VARIABLE = {"_layout"}
OF_A_BACKEND = {"_distribution_strategy"}

# Where in a step what is called; the spy below records just these.
STEPS = [
    "build",
    "_filter_empty_gradients",
    "_overwrite_variables_directly_with_gradients",
    "_backend_apply_gradients",
    "_clip_gradients",
    "_decay",
    "apply_dense",
    "_overwrite_with_averages",
]


class Plain(TextbookOptimizer):
    def apply_dense(self, g, θ, η):
        return θ - η * g


def spying(**arguments):
    """An optimizer that records the order in which its methods are called."""
    calls = []

    def recorded(name):
        original = getattr(Plain, name)

        @functools.wraps(original)
        def method(self, *args, **kwargs):
            calls.append(name)
            return original(self, *args, **kwargs)

        return method

    spy = type("Spy", (Plain,), {name: recorded(name) for name in STEPS})
    return spy(0.5, **arguments), calls


def variables_under(calls, optimizer):
    """Two variables; the constraint of the first records in which step it is called."""

    class Recorded(keras.constraints.Constraint):
        def __call__(self, w):
            calls.append(f"constraint in step {int(optimizer._iterations)}")
            return w

    first = keras.Variable([1.0, 2.0])
    first.constraint = Recorded()
    return [first, keras.Variable(3.0)]


def calls_of_a_step(optimizer, calls, variables):
    calls.clear()
    optimizer.apply([[1.0, 1.0], 1.0], variables)
    return list(calls)


EVERY_STEP = [
    "_filter_empty_gradients",
    "_overwrite_variables_directly_with_gradients",
    "_backend_apply_gradients",
]
UPDATE = ["_clip_gradients", *2 * ["_decay", "apply_dense"]]


def test_a_functional_model_knows_the_uses_of_its_layers_by_depth():
    """And a layer those in it, with the variables of each, frozen or not."""
    inputs = keras.Input((2,))
    hidden, head = keras.layers.Dense(2), keras.layers.Dense(1)
    model = keras.Model(inputs, head(hidden(inputs)))
    assert isinstance(model, Functional)
    (last,), (before,), (first,) = (model._nodes_by_depth[k] for k in range(3))
    assert [node.operation for node in (last, before)] == [head, hidden]
    assert [*last.parent_nodes, *before.parent_nodes] == [before, first]
    head.trainable = False
    assert list(head._flatten_layers()) == [head]
    assert head._trainable_variables == [head.kernel, head.bias]


def test_the_order_of_one_step():
    optimizer, calls = spying(
        clipnorm=1.0, weight_decay=0.5, use_ema=True, ema_overwrite_frequency=1
    )
    variables = variables_under(calls, optimizer)
    expected = [
        *EVERY_STEP,
        *UPDATE,
        "_overwrite_with_averages",
        "constraint in step 0",
    ]
    assert calls_of_a_step(optimizer, calls, variables) == ["build", *expected]
    assert int(optimizer._iterations) == 1


def test_the_order_of_accumulated_steps():
    optimizer, calls = spying(
        gradient_accumulation_steps=2, clipnorm=1.0, weight_decay=0.5
    )
    variables = variables_under(calls, optimizer)
    optimizer.build(variables)
    assert calls_of_a_step(optimizer, calls, variables) == [
        *EVERY_STEP,
        "constraint in step 0",
    ]
    assert calls_of_a_step(optimizer, calls, variables) == [
        *EVERY_STEP,
        *UPDATE,
        "constraint in step 1",
    ]


def test_keras_unscales_after_it_drops_none_and_before_the_backend_applies():
    class Spy(Plain):
        def _backend_apply_gradients(self, grads, trainable_variables):
            received.extend(float(g.values) for g in grads)

    received: list[float] = []
    θ, unused = keras.Variable(1.0), keras.Variable(1.0)
    optimizer = Spy(0.5, loss_scale_factor=4.0)
    with pytest.warns(UserWarning, match=r"Gradients do not exist"):
        optimizer.apply([8.0, None], [θ, unused])
    assert received == [2.0]


@pytest.mark.parametrize("name", [*METHODS, *PUBLIC])
def test_keras_and_base_agree_on_the_parameters(name):
    expected = METHODS.get(name, PUBLIC.get(name))
    for cls in (KERAS, TextbookOptimizer):
        parameters = inspect.signature(getattr(cls, name)).parameters
        assert [p for p in parameters if p != "self"] == expected


@pytest.mark.parametrize("name", sorted({*ATTRIBUTES, *OF_A_BACKEND, AVERAGES}))
def test_a_built_keras_optimizer_has_the_attribute(name):
    optimizer = keras.optimizers.SGD(use_ema=True, gradient_accumulation_steps=2)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build([keras.Variable(1.0)])
    assert hasattr(optimizer, name)


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def overridden(source: str) -> list[ast.FunctionDef]:
    """The private methods of Keras's optimizer that classes in `source` define."""
    return [
        member
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
        for member in node.body
        if isinstance(member, ast.FunctionDef)
        and private(member.name)
        and hasattr(KERAS, member.name)
    ]


def relied_on(source: str) -> set[str]:
    """The private names that `source` takes from an object without defining them."""
    tree = ast.parse(source)
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    stores = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    loads = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    looked_up = {
        str(node.args[1].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "getattr"
        and isinstance(node.args[1], ast.Constant)
    }
    return {
        name
        for name in (loads | looked_up | stores) - own
        if private(name) and (name not in stores or name in ATTRIBUTES)
    }


SOURCES = {path.name: path.read_text() for path in PACKAGE.rglob("*.py")}


OF_KERAS = {
    name: source
    for name, source in SOURCES.items()
    if name in ("optimizer.py", "step.py", "stateful.py", "moving.py")
}


def test_the_tables_above_name_all_that_is_overridden_or_called():
    sources = "".join(OF_KERAS.values())
    overrides = {member.name for member in overridden(sources)}
    named = set(METHODS) | ATTRIBUTES | OF_A_VARIABLE
    assert overrides | relied_on(sources) == named


def test_private_methods_of_keras_are_overridden_for_the_order_of_a_step_alone():
    found = {name for name, source in SOURCES.items() if overridden(source)}
    assert found == {"step.py"}


def test_private_names_of_keras_are_used_by_its_subclasses_and_a_backend_alone():
    found = {
        name
        for name, source in SOURCES.items()
        if any(hasattr(KERAS, used) for used in relied_on(source))
    }
    assert found == {*OF_KERAS, "tensorflow.py", "torch.py"}


@pytest.mark.parametrize("method", overridden(SOURCES["step.py"]), ids=lambda m: m.name)
def test_an_override_says_why_in_one_line(method):
    docstring = ast.get_docstring(method)
    assert docstring and len(docstring.splitlines()) == 1
    assert docstring.endswith(".")


# What state/ reads off Keras's loaders, and has no other way to know.

READ_OFF_FRAMES = [
    (saving_lib._load_state, {"skip_mismatch", "error_msgs"}),
    (legacy_h5_format.load_model_from_hdf5, {"f", "model"}),
]


@pytest.mark.parametrize(("loader", "names"), READ_OFF_FRAMES)
def test_a_loader_has_the_names_that_are_read_off_its_frame(loader, names):
    code = loader.__code__
    assert names <= {*code.co_varnames, *code.co_cellvars}
    read = SOURCES["keras_loaders.py"]
    module = loader.__module__.rpartition(".")[2]
    assert f'_frames("{module}", "{loader.__name__}")' in read
    assert all(f'f_locals["{name}"]' in read for name in names)


def test_what_could_not_be_loaded_is_in_the_frame_with_its_error(tmp_path):
    """Before the optimizer is, by the id of the layer."""

    class Looks(keras.optimizers.SGD):
        def load_own_variables(self, store):
            seen.append(dict(keras_loaders.skipped() or {}))

    def model(width):
        layer = keras.layers.Dense(width)
        made = keras.Sequential([keras.Input((2,)), layer])
        made.compile(Looks())
        return made

    seen: list[dict] = []
    model(3).save_weights(tmp_path / "of.weights.h5")
    other = model(4)
    with pytest.warns(UserWarning, match="could not be loaded"):
        other.load_weights(tmp_path / "of.weights.h5", skip_mismatch=True)
    with pytest.raises(ValueError, match="could not be loaded"):
        other.load_weights(tmp_path / "of.weights.h5")
    ((key, (layer, error)),) = seen[0].items()
    assert layer is other.layers[0] and key == id(layer)
    assert isinstance(error, ValueError)
    assert seen[1:] == [{}]
    assert keras_loaders.skipped() is None


def test_the_legacy_loader_has_the_function_that_reads_an_optimizers_values():
    name = "load_optimizer_weights_from_hdf5_group"
    assert list(inspect.signature(getattr(legacy_h5_format, name)).parameters) == [
        "group"
    ]
    assert f'f_globals["{name}"]' in SOURCES["keras_loaders.py"]


def test_a_store_has_its_group_of_the_file(tmp_path):
    """An entry that is taken from the store itself is read whole."""
    store = saving_lib.H5IOStore(tmp_path / "store.h5", mode="w")
    store.make("here")["a"] = np.zeros(3)
    store.close()
    store = saving_lib.H5IOStore(tmp_path / "store.h5", mode="r")
    for path, keys in (("here", ["a"]), ("nowhere", [])):
        group = store.get(path)._h5_entry_group
        assert list(group) == keys
        assert all(isinstance(group[key], h5py.Dataset) for key in keys)
    assert store.archive is None
    store.close()


def test_the_checks_see_what_they_look_for():
    plant = """
class Optimizer:
    def _clip_gradients(self, grads):
        return super()._filter_empty_gradients(grads, self._trainable_variables)
    def _mine(self):
        self._own = getattr(self, "_lock", None)
        return self._own, self._mine()
"""
    assert [member.name for member in overridden(plant)] == ["_clip_gradients"]
    relied = {"_filter_empty_gradients", "_trainable_variables", "_lock"}
    assert relied_on(plant) == relied
