"""An import goes down the list of rooms, never up, and each room has its form."""

import ast
import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

import keras_textbook_opt

PACKAGE = Path(keras_textbook_opt.__file__).parent
NAME = PACKAGE.name

# From the top to the bottom. Modules in one line stand side by side.
ROOMS = [
    ["__init__"],
    ["adam", "momentum", "sgd"],
    ["base"],
    ["stateful"],
    ["moving", "swapping"],
    ["state"],
    ["replicas", "step"],
    ["gradients"],
    ["rows"],
    ["clip"],
    ["hyperparameters"],
    ["reference"],
    ["fused"],
]
LEVEL = {module: level for level, room in enumerate(ROOMS) for module in room}
BACKENDS = {"tensorflow", "jax", "torch"}
NAMES_BACKENDS = {"replicas", "rows", "fused"}
OPTIMIZERS = ["adam", "momentum", "sgd"]
HOOKS = [
    "__init__",
    "create_slots",
    "step_size",
    "apply_dense",
    "apply_sparse",
    "get_config",
]
OPTIONAL_HOOKS = {"step_size"}
IMPORTERS = {"__import__", "import_module"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


SOURCES = {
    str(path.relative_to(PACKAGE)): (room_of(path), path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
}
of_every_file = pytest.mark.parametrize("file", SOURCES)


def imported(source: str) -> set[str]:
    """The dotted names that `source` imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            names |= {f"{origin}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and _called(node) in IMPORTERS:
            names |= {str(a.value) for a in node.args if isinstance(a, ast.Constant)}
    return names


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def broken_rules(room: str, source: str) -> list[str]:
    """What `source` imports that a module of `room` must not."""
    broken = []
    for name in sorted(imported(source)):
        top, *inner = name.split(".")
        if top == "":
            broken.append(f"{name} is relative")
        elif room == "reference":
            broken += [] if name == "numpy" else [f"{name} is not numpy"]
        elif top == NAME and inner and inner[0] in LEVEL:
            within = room == inner[0] and room in ("fused", "state")
            if not (LEVEL[inner[0]] > LEVEL[room] or within):
                broken.append(f"{name} is not below {room}")
        elif top == NAME:
            broken.append(f"{name} is the top")
        elif top in BACKENDS and room not in NAMES_BACKENDS:
            broken.append(f"{name} is a backend")
        elif top not in sys.stdlib_module_names | BACKENDS | {"keras", "numpy"}:
            broken.append(f"{name} is no dependency")
    return broken


@of_every_file
def test_an_import_goes_down_and_names_no_backend_above_rows(file):
    assert broken_rules(*SOURCES[file]) == []


def test_every_module_has_its_room():
    assert {room for room, _ in SOURCES.values()} == set(LEVEL)


@pytest.mark.parametrize(
    "room, source, broken",
    [
        ("rows", "from keras_textbook_opt import base", "not below rows"),
        ("rows", "import keras_textbook_opt.base as b", "not below rows"),
        ("rows", "from keras_textbook_opt.gradients import Scaled", "not below rows"),
        ("adam", "from keras_textbook_opt.sgd import SGD", "not below adam"),
        ("base", "from keras_textbook_opt import SGD", "is the top"),
        ("base", "from keras_textbook_opt.base import x", "not below base"),
        ("base", "import tensorflow as tf", "is a backend"),
        ("base", "def f():\n    from jax import numpy", "is a backend"),
        ("base", "import importlib\nimportlib.import_module('torch')", "is a backend"),
        ("base", "__import__('tensorflow.raw_ops')", "is a backend"),
        ("base", "from . import rows", "is relative"),
        ("base", "if True:\n    import scipy.linalg", "is no dependency"),
        ("reference", "import keras", "is not numpy"),
        ("reference", "from keras_textbook_opt import fused", "is not numpy"),
        ("fused", "from keras_textbook_opt.rows import Rows", "not below fused"),
    ],
)
def test_the_checker_sees_a_broken_rule(room, source, broken):
    assert broken in "; ".join(broken_rules(room, source))


def test_reference_stands_alone_on_numpy():
    _, source = SOURCES["reference.py"]
    assert imported(source) == {"numpy"}


def test_the_runtime_dependencies_are_keras_and_numpy():
    requirements = importlib.metadata.requires("keras-textbook-opt") or []
    runtime = [r for r in requirements if "extra ==" not in r]
    names = {re.split(r"[^\w.-]", requirement)[0] for requirement in runtime}
    assert names == {"keras", "numpy"}


def form_of(source: str) -> list[str]:
    """What an optimizer file gets wrong of its form."""
    classes = [n for n in ast.parse(source).body if isinstance(n, ast.ClassDef)]
    if len(classes) != 1:
        return [f"{len(classes)} classes"]
    (cls,) = classes
    wrong = []
    if "final" not in {getattr(d, "id", "") for d in cls.decorator_list}:
        wrong.append("not final")
    if [getattr(base, "id", "") for base in cls.bases] != ["TextbookOptimizer"]:
        wrong.append("not over TextbookOptimizer")
    if ast.get_docstring(cls) is None:
        wrong.append("no docstring")
    members = [getattr(n, "name", ast.unparse(n)) for n in cls.body[1:]]
    expected = [h for h in HOOKS if h in members or h not in OPTIONAL_HOOKS]
    if members != expected:
        wrong.append(f"members {members}")
    return wrong


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_file_is_one_final_class_with_its_hooks_in_order(name):
    _, source = SOURCES[f"{name}.py"]
    assert form_of(source) == []


GOOD_FORM = '''
@final
class Good(TextbookOptimizer):
    """One sentence."""
    def __init__(self): ...
    def create_slots(self, variables): ...
    def apply_dense(self, g, θ, η): ...
    def apply_sparse(self, g, θ, η): ...
    def get_config(self): ...
'''


@pytest.mark.parametrize(
    "good, bad, wrong",
    [
        ("@final", "", "not final"),
        ("(TextbookOptimizer)", "(Adam)", "not over"),
        ('"""One sentence."""', "pass", "no docstring"),
        ("create_slots", "build", "members"),
        ("    def get_config(self): ...\n", "", "members"),
        ("apply_sparse", "step_size", "members"),
        ("(self): ...\n    def create", "(self): ...\n    β = 1\n    def create", "β"),
        ("@final", "class Other: ...\n@final", "2 classes"),
    ],
)
def test_the_checker_sees_a_broken_form(good, bad, wrong):
    assert form_of(GOOD_FORM) == []
    assert wrong in "; ".join(form_of(GOOD_FORM.replace(good, bad, 1)))


@of_every_file
def test_a_class_is_abstract_or_final(file):
    _, source = SOURCES[file]
    for cls in ast.walk(ast.parse(source)):
        if isinstance(cls, ast.ClassDef):
            decorators = {getattr(d, "id", "") for d in cls.decorator_list}
            bases = {ast.unparse(base) for base in cls.bases}
            assert "final" in decorators or bases & {"abc.ABC", "NamedTuple"}, cls.name
