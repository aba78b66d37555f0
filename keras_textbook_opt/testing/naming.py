"""The name of a factory: in a message, and in code that makes it again."""

from __future__ import annotations

import importlib
from typing import Any


def shown(factory: Any) -> str:
    """A factory as one would write it: `Adam`, `Adam(amsgrad=True)`."""
    if hasattr(factory, "__qualname__"):
        return factory.__qualname__
    if _is_partial(factory):
        return f"{shown(factory.func)}({', '.join(_arguments(factory))})"
    return repr(factory)


def written(thing: Any) -> tuple[list[str], str]:
    """The modules to import, and the expression: `functools.partial(my.Lion, b=0.9)`.

    An object that no module has under its name, such as a function in a function, is
    written as it is shown.
    """
    if _is_partial(thing):
        modules, function = written(thing.func)
        arguments = ", ".join([function, *_arguments(thing)])
        return ["functools", *modules], f"functools.partial({arguments})"
    module, name = getattr(thing, "__module__", None), shown(thing)
    if module in (None, "__main__") or _named(module, name) is not thing:
        return [], name
    return [module], f"{module}.{name}"


def _is_partial(factory: Any) -> bool:
    return hasattr(factory, "func") and hasattr(factory, "keywords")


def _arguments(partial: Any) -> list[str]:
    named = [f"{name}={value!r}" for name, value in partial.keywords.items()]
    return [*map(repr, partial.args), *named]


def _named(module: str, path: str) -> Any:
    """The attribute of a module with this name, if it has one."""
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found
