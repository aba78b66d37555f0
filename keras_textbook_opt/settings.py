"""The arguments of a constructor, each checked at every assignment.

A class names its settings as attributes, with their types and ranges:

    class Lion(TextbookOptimizer):
        beta_1 = Real(at_least=0, below=1)

and `self.beta_1 = beta_1` in its constructor then raises a `ValueError` for a value
that does not fit, as does `optimizer.beta_1 = 2` later.
"""

import difflib
import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, SupportsFloat, TypedDict, final, get_type_hints

import numpy as np

LearningRate = SupportsFloat | Callable[[], Any] | Callable[[Any], Any]
Factors = Mapping[str, float] | Sequence[Sequence[Any]]


class Settings(TypedDict, total=False):
    """The settings of every optimizer, by name.

    Args:
        clipnorm: `c` or `None`. Each variable's gradient becomes `g·c/max(‖g‖₂, c)`.
        global_clipnorm: `c` or `None`. The same, with one norm over all gradients.
        clipvalue: `c` or `None`. Each element of a gradient is clipped to `[−c, c]`.
            Only one of the three clips can be set, to a `c` in `[1e-18, 1e18]`.
        weight_decay: `λ` >= 0 or `None`: `θ ← θ − η·λ·θ` before each update
            (Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization").
        exclude_from_weight_decay: A list of patterns, such as `["bias", "norm"]`. A
            variable in whose path one of them is found does not decay. A pattern is
            text, in which `*` stands for any characters, `^` for the start and `$` for
            the end of the path.
        use_ema: Whether to keep an exponential moving average of each variable, which
            replaces the variable at the end of training. An average starts at its
            variable's value.
        ema_momentum: The decay rate of the average, in `[0, 1]`.
        ema_overwrite_frequency: The number of updates, >= 1, after which the average
            replaces the variable during training; `None` for never.
        loss_scale_factor: A number > 0 or `None`. The loss is multiplied by it, the
            gradients are divided by it.
        gradient_accumulation_steps: An integer `n` >= 2 or `None`. Variables are
            updated once in `n` micro-batches, with the mean of their gradients: as with
            one batch `n` times as large. Schedules count micro-batches. Those left over
            at the end of an epoch count for the first update of the next.
        learning_rate_multipliers: A dict of patterns, each with a factor of `η` >= 0,
            or a list of its pairs. The first pattern found in a variable's path counts;
            1 if none is. The weight decay is scaled as well. A factor of 0 leaves the
            variable and its slots unchanged.
        sparse_update: How to treat rows of an embedding that the batch did not use.
            `"exact"`: their gradient is zero, so moments decay and `θ` still moves.
            `"lazy"`: they are left unchanged, and a step costs only the rows in use.
            Only TensorFlow has sparse gradients; elsewhere `"lazy"` equals `"exact"`.
        compensate: Whether a variable of 16 bits carries what it rounds off to the next
            step (Kahan 1965, "Further remarks on reducing truncation errors"), for 4
            bytes an element. Without it, small steps are lost.
        monitor: Whether to record what `OptimizerMonitor` shows.
        name: The optimizer's name.
        lr: Another name for `learning_rate`.
    """

    clipnorm: float | None
    global_clipnorm: float | None
    clipvalue: float | None
    weight_decay: float | None
    exclude_from_weight_decay: Iterable[str] | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    loss_scale_factor: float | None
    gradient_accumulation_steps: int | None
    learning_rate_multipliers: Factors | None
    sparse_update: Literal["exact", "lazy"]
    compensate: bool
    monitor: bool
    name: str | None
    lr: LearningRate


DEFAULTS: dict[str, Any] = {
    "clipnorm": None,
    "global_clipnorm": None,
    "clipvalue": None,
    "weight_decay": None,
    "exclude_from_weight_decay": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
    "learning_rate_multipliers": None,
    "sparse_update": "exact",
    "compensate": True,
    "monitor": False,
    "name": None,
}
# Keras's own constructor does not take these.
OWN = ["exclude_from_weight_decay", "learning_rate_multipliers", "sparse_update"]
OWN += ["compensate", "monitor"]


class Setting:
    """An attribute of an optimizer that is checked at every assignment.

    Args:
        fixed: Whether the state depends on it, so that it cannot change after `build`.
    """

    expected = "anything"

    def __init__(self, fixed: bool = False):
        self.fixed = fixed

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, optimizer: Any, owner: type | None = None) -> Any:
        if optimizer is None:
            return self
        try:
            return vars(optimizer)[self.name]
        except KeyError:
            raise AttributeError(self.name) from None

    def __set__(self, optimizer: Any, value: Any) -> None:
        value = self.checked(self.name, value)
        old = vars(optimizer).get(self.name, value)
        if old != value:
            optimizer._setting_changes(self)
        vars(optimizer)[self.name] = value

    def checked(self, name: str, value: Any) -> Any:
        """`value`, converted; a `ValueError` if it is not valid."""
        if not self.fits(value):
            raise ValueError(message(name, self.expected, value))
        return value

    def fits(self, value: Any) -> bool:
        return True


@final
class Real(Setting):
    """A finite number in a range, which it must be in float32 as well: steps use that.

    Args:
        above, at_least, below, at_most: The limits of the range.
        fixed: See `Setting`.
    """

    def __init__(
        self,
        *,
        above: float = -math.inf,
        at_least: float = -math.inf,
        below: float = math.inf,
        at_most: float = math.inf,
        fixed: bool = False,
    ):
        super().__init__(fixed)
        self.above, self.at_least = above, at_least
        self.below, self.at_most = below, at_most
        limits = {">": above, ">=": at_least, "<": below, "<=": at_most}
        known = [f"{sign} {x:g}" for sign, x in limits.items() if math.isfinite(x)]
        self.expected = f"a finite number {' and '.join(known)}".strip()

    def checked(self, name: str, value: Any) -> float:
        number = _number(value)
        for x, where in (number, ""), (_in_float32(number), " in float32"):
            fits = self.above < x < self.below and self.at_least <= x <= self.at_most
            if not (fits and math.isfinite(x)):
                raise ValueError(message(name, self.expected + where, value))
        return number


@final
class Integer(Setting):
    """An integer >= `at_least` of 32 bits."""

    def __init__(self, *, at_least: int, fixed: bool = False):
        super().__init__(fixed)
        self.at_least = at_least
        self.expected = f"an integer >= {at_least}"

    def checked(self, name: str, value: Any) -> int:
        return int(super().checked(name, value))

    def fits(self, value: Any) -> bool:
        is_integer = isinstance(value, numbers.Integral) and not _is_boolean(value)
        return is_integer and self.at_least <= int(value) < 2**31


@final
class Boolean(Setting):
    """`True` or `False`."""

    expected = "True or False"

    def checked(self, name: str, value: Any) -> bool:
        return bool(super().checked(name, value))

    def fits(self, value: Any) -> bool:
        return _is_boolean(value)


@final
class Text(Setting):
    """A string."""

    expected = "a string"

    def fits(self, value: Any) -> bool:
        return isinstance(value, str)


@final
class Choice(Setting):
    """One of several strings."""

    def __init__(self, *choices: str, fixed: bool = False):
        super().__init__(fixed)
        self.choices = choices
        self.expected = " or ".join(map(repr, choices))

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.choices


class Optional(Setting):
    """`None`, or what another setting takes."""

    def __init__(self, setting: Setting):
        super().__init__(setting.fixed)
        self.setting = setting

    def checked(self, name: str, value: Any) -> Any:
        return None if value is None else self.setting.checked(name, value)


@final
class Clip(Optional):
    """`c` > 0 or `None`; of the three clips an optimizer has one at most."""

    names = ("clipnorm", "global_clipnorm", "clipvalue")

    def __init__(self):
        # Beyond this range, c² is zero or infinite in float32.
        super().__init__(Real(at_least=1e-18, at_most=1e18))

    def __set__(self, optimizer: Any, value: Any) -> None:
        others = [name for name in self.names if name != self.name]
        given = [n for n in others if vars(optimizer).get(n) is not None]
        if value is not None and given:
            raise ValueError(
                "Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set. "
                f"Received: {self.name}={value!r}, and the optimizer has {given[0]}="
                f"{getattr(optimizer, given[0])!r}. Set `{given[0]}` to None first."
            )
        super().__set__(optimizer, value)


def _number(value: Any) -> float:
    """`value` as a float; NaN unless it is a real number, or holds a single one."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(())[()]
    if not isinstance(value, numbers.Real) or _is_boolean(value):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _is_boolean(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


def _in_float32(number: float) -> float:
    """`number` in float32, where kernels flush subnormal numbers to zero."""
    with np.errstate(over="ignore"):
        rounded = float(np.float32(number))
    return rounded if abs(rounded) >= np.finfo(np.float32).tiny else 0.0


FIXED = (
    "`{}` cannot change after the optimizer is built, since the state depends on it. "
    "Make a new optimizer."
)


def message(name: str, expected: str, received: Any) -> str:
    """An error that says what was expected and what was received."""
    return f"`{name}` must be {expected}. Received: {name}={received!r}"


def split(optimizer: type, settings: dict[str, Any]) -> tuple[dict, dict]:
    """The settings of this package with their defaults, and those that Keras takes.

    Raises:
        ValueError: `optimizer` has no argument of such a name.
    """
    for name, value in settings.items():
        if name not in DEFAULTS:
            raise ValueError(_unknown(optimizer, name, value))
    of_keras = DEFAULTS | settings
    return {name: of_keras.pop(name) for name in OWN}, of_keras


def _unknown(optimizer: type, name: str, value: Any) -> str:
    title = optimizer.__name__
    names = list(inspect.signature(optimizer).parameters)
    if name in names:
        return (
            f"`{title}` must keep its argument `{name}` and not pass it on to "
            f"`super().__init__`. Received: {name}={value!r}"
        )
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean `{close[0]}`?" if close else f"It has: {', '.join(names)}."
    if title == "SGD" and name in ("momentum", "nesterov"):
        hint = "Use `keras_textbook_opt.Momentum`."
    return f"`{title}` has no argument `{name}`. {hint} Received: {name}={value!r}"


def config(optimizer: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments: `known` ones, and attributes of the same names.

    Raises:
        ValueError: An argument is neither.
    """
    arguments = {}
    for name in inspect.signature(type(optimizer)).parameters:
        if name not in known and not hasattr(optimizer, name):
            raise ValueError(
                f"`{type(optimizer).__name__}` takes the argument `{name}` and has no "
                f"attribute `{name}`: set it in the constructor, or override "
                "`get_config`."
            )
        arguments[name] = known[name] if name in known else getattr(optimizer, name)
    return arguments


def signature(optimizer: type) -> inspect.Signature:
    """The constructor's arguments, with `**settings` written out."""
    constructor = next(c for c in optimizer.__mro__ if "__init__" in vars(c))
    of_init = inspect.signature(vars(constructor)["__init__"]).parameters.values()
    named = {p.name: p for p in of_init if p.name != "self"}
    rest = [p.name for p in named.values() if p.kind is p.VAR_KEYWORD]
    if rest:
        del named[rest[0]]
        parent = constructor.__mro__[1]
        inherited = getattr(parent, "__signature__", None)
        more = inherited.parameters.values() if inherited else _parameters()
        for parameter in more:
            keyword = parameter.replace(kind=parameter.KEYWORD_ONLY)
            named.setdefault(parameter.name, keyword)
    return inspect.Signature(list(named.values()))


def _parameters() -> list[inspect.Parameter]:
    kind, types = inspect.Parameter.KEYWORD_ONLY, get_type_hints(Settings)
    return [
        inspect.Parameter(name, kind, default=default, annotation=types[name])
        for name, default in DEFAULTS.items()
    ]
