"""What the constructor of every optimizer takes: each setting with its range, once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import (
    Any,
    Literal,
    NamedTuple,
    ParamSpec,
    SupportsFloat,
    TypedDict,
    cast,
    get_type_hints,
)

import keras

from keras_textbook_opt.hyperparameters import (
    boolean,
    integer,
    multipliers,
    optional,
    real,
    shown,
    text,
    unknown,
)

LearningRate = SupportsFloat | Callable[[], Any] | Callable[[Any], Any]
SparseUpdate = Literal["exact", "lazy"]
Factors = Mapping[str, float] | Sequence[Sequence[Any]]


class Settings(TypedDict, total=False):
    """The settings that all optimizers have; `TextbookOptimizer` says what they do."""

    clipnorm: float | None
    global_clipnorm: float | None
    clipvalue: float | None
    weight_decay: float | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    loss_scale_factor: float | None
    gradient_accumulation_steps: int | None
    learning_rate_multipliers: Factors | None
    compensate: bool
    name: str | None
    lr: LearningRate


class Setting(NamedTuple):
    """A default, and `check(name, value)`, which returns the value or raises."""

    default: Any
    check: Callable[[str, Any], Any]


_POSITIVE = functools.partial(optional, real, above=0)
SETTINGS = {
    "clipnorm": Setting(None, _POSITIVE),
    "global_clipnorm": Setting(None, _POSITIVE),
    "clipvalue": Setting(None, _POSITIVE),
    "weight_decay": Setting(None, functools.partial(optional, real, at_least=0)),
    "use_ema": Setting(False, boolean),
    "ema_momentum": Setting(0.99, functools.partial(real, at_least=0, at_most=1)),
    "ema_overwrite_frequency": Setting(
        None, functools.partial(optional, integer, at_least=1)
    ),
    "loss_scale_factor": Setting(None, _POSITIVE),
    "gradient_accumulation_steps": Setting(
        None, functools.partial(optional, integer, at_least=2)
    ),
    "learning_rate_multipliers": Setting(
        None, functools.partial(optional, multipliers)
    ),
    "compensate": Setting(True, boolean),
    "name": Setting(None, functools.partial(optional, text)),
}


def checked(optimizer: type, rate: Any, settings: Settings) -> dict[str, Any]:
    """All settings, each in its range: those given, and the defaults of the others.

    Raises:
        ValueError: A setting is out of its range or of another type, or not one of
            those that `optimizer` takes.
    """
    others = {name: value for name, value in settings.items() if name not in SETTINGS}
    if others:
        raise ValueError(_refusal(optimizer, rate, others))
    return {
        name: setting.check(name, settings.get(name, setting.default))
        for name, setting in SETTINGS.items()
    }


def _refusal(optimizer: type, rate: Any, others: dict[str, Any]) -> str:
    if optimizer.__name__ == "SGD" and others.keys() <= {"momentum", "nesterov"}:
        named = [f"{name}={value!r}" for name, value in others.items()]
        return (
            "`SGD` has neither `momentum` nor `nesterov`: expected "
            f"`keras_textbook_opt.Momentum({', '.join([shown(rate), *named])})`. "
            f"Received: {others}"
        )
    return unknown(optimizer, others, list(inspect.signature(optimizer).parameters))


def signature(optimizer: type) -> inspect.Signature:
    """That of the constructor, with what `**settings` stands for written out."""
    constructor = next(c for c in optimizer.__mro__ if "__init__" in vars(c))
    of_init = inspect.signature(vars(constructor)["__init__"])
    _, *own = of_init.parameters.values()
    named = {p.name: p for p in own if p.kind is not p.VAR_KEYWORD}
    if len(named) < len(own):
        parent = constructor.__mro__[1]
        inherited = getattr(parent, "__signature__", None)
        rest = inherited.parameters.values() if inherited else _settings()
        for parameter in rest:
            keyword = parameter.replace(kind=parameter.KEYWORD_ONLY)
            if "lr" not in named or parameter.name != "learning_rate":
                named.setdefault(parameter.name, keyword)
    return inspect.Signature(list(named.values()))


def _settings() -> list[inspect.Parameter]:
    types = get_type_hints(Settings)
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=setting.default,
            annotation=types[name],
        )
        for name, setting in SETTINGS.items()
    ]


P = ParamSpec("P")


def accepting_other_names(init: Callable[P, None]) -> Callable[P, None]:
    """The constructor `init`, which takes `lr` for `learning_rate`, and the reverse.

    What a built-in of the same name takes by position, and `init` does not, is passed
    on under the name that it has there, to be refused by that name.
    """
    parameters = list(inspect.signature(init).parameters.values())[1:]
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    own, other = "learning_rate", "lr"
    if other in (p.name for p in parameters):
        own, other = other, own
    takes_all = any(p.kind is p.VAR_POSITIONAL for p in parameters)

    @functools.wraps(init)
    def accepting(self: Any, *args: Any, **kwargs: Any) -> None:
        if len(args) > len(positional) and not takes_all:
            built_in = getattr(keras.optimizers, type(self).__name__, type(self))
            names = list(inspect.signature(built_in).parameters)[len(positional) :]
            kwargs |= dict(zip(names, args[len(positional) :]))
            args = args[: len(positional)]
        if other in kwargs:
            given = dict(zip(positional or [own], args)) | kwargs
            if own in given:
                raise ValueError(
                    f"`{other}` is another name for `{own}`: expected one of the two. "
                    f"Received: {other}={kwargs[other]!r} and {own}={given[own]!r}"
                )
            kwargs[own] = kwargs.pop(other)
        cast(Any, init)(self, *args, **kwargs)

    return cast(Any, accepting)
