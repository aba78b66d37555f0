"""The same step in other libraries, on the same arrays, where they are installed."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks.steps.contender import Contender
from benchmarks.steps.optimizers import LEARNING_RATE, LIMIT, MAIN, PLAIN, Case
from benchmarks.steps.sizes import Arrays

FUSED, FOREACH = "torch.optim fused", "torch.optim foreach"
OPTAX = "optax"
LEGACY = "tf_keras legacy"
SPARSE_ADAM = "torch SparseAdam"
PACKAGES = ("optax", "tf_keras")


def of(
    case: Case, values: Arrays, gradients: Arrays, libraries: Sequence[str]
) -> dict[str, Callable[[], Contender]]:
    """Return what makes each peer of these libraries that takes the case's step."""
    # In 16 bits nobody else carries what is rounded away.
    if case.added not in (PLAIN, "clipnorm", "global_clipnorm", "weight_decay"):
        return {}
    return {
        name: partial(make, case, values, gradients)
        for module in filter(find_spec, libraries)
        for name, (library, make, otherwise) in PEERS.items()
        if library == module and case.name not in otherwise
    }


def _torch(case: Case, values: Arrays, gradients: Arrays, **kind: Any) -> Contender:
    """A clip is in place: the first step meets the gradient, later ones what it left.

    They take as long.
    """
    import torch

    from benchmarks.steps import on_torch

    θ = list(map(torch.nn.Parameter, on_torch.tensors(values, "float32")))
    for x, g in zip(θ, on_torch.tensors(gradients, "float32")):
        x.grad = g
    decay = case.option.arguments.get("weight_decay", 0.0)
    kind = {**kind, "lr": LEARNING_RATE, "weight_decay": decay}
    if case.equation.slots < 2:
        optimizer = torch.optim.SGD(θ, **case.equation.arguments, **kind)
    else:
        make = torch.optim.AdamW if decay else torch.optim.Adam
        arguments = {"amsgrad": False, **case.equation.arguments}
        optimizer = make(θ, eps=arguments.pop("epsilon"), **arguments, **kind)
    clip = torch.nn.utils.clip_grad_norm_

    def step() -> None:
        if "clipnorm" in case.option.arguments:
            for x in θ:
                clip(x, LIMIT)
        if "global_clipnorm" in case.option.arguments:
            clip(θ, LIMIT)
        optimizer.step()
        on_torch.wait()

    return Contender(step, partial(on_torch.values_of, θ))


def _optax(case: Case, values: Arrays, gradients: Arrays) -> Contender:
    import optax

    from benchmarks.steps import on_jax

    arguments = {**case.equation.arguments, **case.option.arguments}
    found = []
    if "clipnorm" in arguments:
        found.append(optax.stateless_with_tree_map(_clipped))
    if "global_clipnorm" in arguments:
        found.append(optax.clip_by_global_norm(LIMIT))
    if "momentum" in arguments:
        found.append(optax.trace(arguments["momentum"], "nesterov" in arguments))
    if "epsilon" in arguments:
        found.append(optax.scale_by_adam(eps=arguments["epsilon"]))
    if "weight_decay" in arguments:
        found.append(optax.add_decayed_weights(arguments["weight_decay"]))
    optimizer = optax.chain(*found, optax.scale(-LEARNING_RATE))

    def update(θ: Any, state: Any, g: Any) -> Any:
        updates, state = optimizer.update(g, state, θ)
        return optax.apply_updates(θ, updates), state

    θ, g = (on_jax.tensors(each, "float32") for each in (values, gradients))
    return on_jax.jitted(update, θ, optimizer.init(θ), g)


def _clipped(g: Any, _: Any) -> Any:
    """By its own norm, which optax has not."""
    import jax

    norm = jax.numpy.linalg.norm(g.ravel())
    return g * (LIMIT / jax.numpy.maximum(norm, LIMIT))


def _legacy(case: Case, values: Arrays, gradients: Arrays) -> Contender:
    import tensorflow as tf

    from benchmarks.steps import on_tensorflow

    θ = [tf.Variable(value) for value in values]
    optimizer = legacy(case)
    step = on_tensorflow.compiled(
        lambda g: optimizer.apply_gradients(zip(g, θ)),
        on_tensorflow.tensors(gradients, "float32"),
    )
    return Contender(step, lambda: [x.numpy() for x in θ])


def legacy(case: Case) -> Any:
    """Return the optimizer of Keras 2."""
    import tf_keras

    make = getattr(tf_keras.optimizers.legacy, case.equation.builtin)
    return make(LEARNING_RATE, **case.equation.arguments, **case.option.arguments)


# Decay goes into the momentum of PyTorch's SGD.
INTO_MOMENTUM = "Momentum + weight_decay"
# By its name, a peer's library, what makes its step, and the cases in which that is
# another than the textbook's.
PEERS: Mapping[str, tuple[str, Callable[..., Contender], Collection[str]]] = {
    FUSED: ("torch", partial(_torch, fused=True), [INTO_MOMENTUM]),
    # Nesterov's step writes into the gradient.
    FOREACH: ("torch", partial(_torch, foreach=True), [INTO_MOMENTUM, "Nesterov"]),
    # It takes the largest of other values.
    OPTAX: ("optax", _optax, ["AMSGrad"]),
    # There is no decay of weights in it.
    LEGACY: ("tf_keras", _legacy, [f"{it.name} + weight_decay" for it in MAIN]),
}
