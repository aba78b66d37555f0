"""The optimizers that are compared, each as ours and as Keras's.

Keras is imported when one is made, so that a backend may be chosen first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

OURS, EXACT, LAZY = "ours", "exact", "lazy"
BUILTIN = "built-in"
# Ours without the option whose cost is measured.
WITHOUT = "ours without it"

LEARNING_RATE = 1e-3
LIMIT = 1.0
# Others have it elsewhere in the formula: it is too small to tell.
EPSILON = 1e-16

Makers = dict[str, Callable[[], Any]]


@dataclass(frozen=True)
class Equation:
    """One optimizer twice: the names of our class and of Keras's."""

    name: str
    ours: str
    builtin: str
    slots: int
    arguments: Mapping[str, Any] = field(default_factory=dict)


HEAVY_BALL = {"momentum": 0.9}
SGD = Equation("SGD", "SGD", "SGD", 0)
MOMENTUM = Equation("Momentum", "Momentum", "SGD", 1, HEAVY_BALL)
NESTEROV = Equation("Nesterov", "Momentum", "SGD", 1, HEAVY_BALL | {"nesterov": True})
ADAM = Equation("Adam", "Adam", "Adam", 2, {"epsilon": EPSILON})
AMSGRAD = Equation("AMSGrad", "Adam", "Adam", 3, {"epsilon": EPSILON, "amsgrad": True})
MAIN = (SGD, MOMENTUM, ADAM)


@dataclass(frozen=True)
class Option:
    """What a step does beside its equation.

    Args:
        name: What stands behind the equation's name.
        arguments: What a constructor takes for it.
        keras_has_it: If not, the others go without it, and take another step.
        watched: Whether a monitor watches the step.
        dtype: Of variables and gradients.
        norms: Whether the whole gradient is read before the update.
        averages: How many arrays are read and written beside the slots.
        over: The option beside which its own cost stands.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    keras_has_it: bool = True
    watched: bool = False
    dtype: str = "float32"
    norms: bool = False
    averages: int = 0
    over: str = ""


PLAIN = ""
CLIP = {"clipnorm": LIMIT}
MULTIPLIERS = {"learning_rate_multipliers": {"[02468]$": 0.5}}
OPTIONS = {
    option.name: option
    for option in (
        Option(PLAIN),
        Option("clipnorm", CLIP, norms=True),
        Option("global_clipnorm", {"global_clipnorm": LIMIT}, norms=True),
        Option("weight_decay", {"weight_decay": 0.004}),
        Option("ema", {"use_ema": True}, averages=1),
        Option("multipliers", MULTIPLIERS, keras_has_it=False),
        Option("monitor", watched=True, norms=True),
        Option("clipnorm + monitor", CLIP, watched=True, norms=True, over="clipnorm"),
        # Keras has no carry, and its Adam does not move.
        Option("bfloat16", dtype="bfloat16", keras_has_it=False),
    )
}


@dataclass(frozen=True)
class Case:
    """An equation, and the name of an option beside it."""

    equation: Equation
    added: str = PLAIN

    @property
    def name(self) -> str:
        return " + ".join(filter(None, (self.equation.name, self.added)))

    @property
    def option(self) -> Option:
        return OPTIONS[self.added]

    def ours(self, **more: Any) -> Any:
        import keras_textbook_opt

        make = getattr(keras_textbook_opt, self.equation.ours)
        return self._made(make, **self.option.arguments, **more)

    def builtin(self) -> Any:
        import keras

        options = self.option.arguments if self.option.keras_has_it else {}
        return self._made(getattr(keras.optimizers, self.equation.builtin), **options)

    def makers(self) -> Makers:
        return {OURS: self.ours, BUILTIN: self.builtin}

    def makers_by_rows(self) -> Makers:
        """Return the same, ours by its sparse meanings; without slots there is one."""
        if not self.equation.slots:
            return self.makers()
        ours = {it: partial(self.ours, sparse_update=it) for it in (EXACT, LAZY)}
        return {**ours, BUILTIN: self.builtin}

    def _made(self, make: Any, **options: Any) -> Any:
        return make(LEARNING_RATE, **self.equation.arguments, **options)


def cases(options: Sequence[str]) -> list[Case]:
    """Return the main equations under each option, and their variants under none."""
    main = [Case(equation, option) for equation in MAIN for option in options]
    return [*main, Case(NESTEROV), Case(AMSGRAD)]
