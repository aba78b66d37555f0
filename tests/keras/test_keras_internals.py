"""The private names of Keras that the package uses: all of them, and they exist.

When Keras renames one, or the package uses another, a test here fails.
"""

import ast
import inspect
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras.src.saving.saving_lib import H5IOStore

import keras_textbook_opt
from keras_textbook_opt import TextbookOptimizer

OF_AN_OPTIMIZER = {
    "_iterations",
    "_learning_rate",
    "_model_variables_moving_average",
    "_trainable_variables",
    "_use_weight_decay",
    "_var_key",
}
OF_EXCLUSIONS = {"_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"}
OF_A_VARIABLE = {"_value"}
OF_JAX = {"_layout"}
OF_A_STORE = {"_h5_entry_group"}
LIST = OF_AN_OPTIMIZER | OF_EXCLUSIONS | OF_A_VARIABLE | OF_JAX | OF_A_STORE
# The public methods of Keras's optimizer that are overridden, with their parameters.
METHODS = {
    "add_variable": ["shape", "initializer", "dtype", "aggregation", "layout", "name"],
    "apply": ["grads", "trainable_variables"],
    "build": ["variables"],
    "exclude_from_weight_decay": ["var_list", "var_names"],
    "finalize_variable_values": ["var_list"],
    "stateless_apply": ["optimizer_variables", "grads", "trainable_variables"],
}
PACKAGE = Path(keras_textbook_opt.__file__).parent
SOURCES = [
    path.read_text() for path in PACKAGE.rglob("*.py") if "testing" not in path.parts
]


def names_used(source: str) -> set[str]:
    """The private names that `source` takes from objects, asks for, or overrides."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Attribute):
            of_python = ast.unparse(node).startswith("torch.")
            found |= set() if of_python else {node.attr}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return {name for name in found if re.fullmatch(r"_[a-z]\w*", name)}


def names_defined(source: str) -> set[str]:
    """The names that `source` gives to functions, and to attributes of `self`."""
    tree = ast.parse(source)
    functions = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    stored = {
        n.attr
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)
    }
    return functions | stored


def test_the_list_has_every_private_name_in_use():
    of_keras = set(dir(built())) | OF_A_VARIABLE | OF_JAX | OF_A_STORE
    defined = set.union(*map(names_defined, SOURCES)) - of_keras
    used = set.union(*map(names_used, SOURCES)) - defined - {"_replace"}
    assert used == LIST
    assert "keras.src" not in "".join(SOURCES)


def built() -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.SGD(use_ema=True)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build([keras.Variable(1.0)])
    return optimizer


def test_every_name_on_the_list_exists(tmp_path):
    is_jax = keras.backend.backend() == "jax"
    store = H5IOStore(tmp_path / "store.h5", mode="w")
    store.make("here")["a"] = np.zeros(3)
    store.close()
    store = H5IOStore(tmp_path / "store.h5", mode="r")
    for owner, names in (
        (built(), OF_AN_OPTIMIZER | OF_EXCLUSIONS),
        (keras.Variable(1.0), OF_A_VARIABLE),
        (keras.Variable(1.0), OF_JAX if is_jax else set()),
        (store.get("here"), OF_A_STORE),
    ):
        assert [name for name in sorted(names) if not hasattr(owner, name)] == []
    store.close()


@pytest.mark.parametrize("name", METHODS)
def test_an_overridden_method_has_the_parameters_of_keras(name):
    for cls in (keras.optimizers.Optimizer, TextbookOptimizer):
        parameters = inspect.signature(getattr(cls, name)).parameters
        assert [p for p in parameters if p != "self"] == METHODS[name]
