"""An optimizer file is a page of the textbook: one class, its hooks in one order."""

import ast
import importlib.metadata
import re
from pathlib import Path

import pytest

import keras_textbook_opt

pytestmark = pytest.mark.once

PACKAGE = Path(keras_textbook_opt.__file__).parent
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
    assert form_of((PACKAGE / f"{name}.py").read_text()) == []


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


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: f.stem)
def test_a_class_is_abstract_or_final(file):
    for cls in ast.walk(ast.parse(file.read_text())):
        if isinstance(cls, ast.ClassDef):
            decorators = {getattr(d, "id", "") for d in cls.decorator_list}
            bases = {ast.unparse(base) for base in cls.bases}
            is_abstract = (
                bases & {"abc.ABC", "NamedTuple", "TypedDict"} or cls.name == "Backend"
            )
            assert "final" in decorators or is_abstract, cls.name
