"""The equations again, in float64 NumPy and nothing else: the oracle of the tests.

`θ` is a variable, `g` its gradient, `η` the learning rate, `t` the step number,
starting at 1. Every function returns new arrays and leaves its arguments alone.
"""

import numpy as np


def sgd(θ, g, *, η):
    """`θ ← θ − η·g`."""
    return θ - η * g


def momentum(θ, m, g, *, η, β, nesterov=False):
    """`m ← β·m − η·g`, then `θ ← θ + m`; with `nesterov`, `θ ← θ + β·m − η·g`."""
    m = β * m - η * g
    return (θ + β * m - η * g if nesterov else θ + m), m


def adam(θ, m, v, g, *, t, η, β_1, β_2, ε):
    """Kingma & Ba 2014, with "epsilon hat" of the formula just before section 2.1."""
    m, v = adam_moments(m, v, g, β_1=β_1, β_2=β_2)
    return θ - adam_step_size(t, η=η, β_1=β_1, β_2=β_2) * m / (np.sqrt(v) + ε), m, v


def amsgrad(θ, m, v, v_hat, g, *, t, η, β_1, β_2, ε):
    """Adam with `v̂ ← max(v̂, v)` in the place of `v` in the last line."""
    m, v = adam_moments(m, v, g, β_1=β_1, β_2=β_2)
    v_hat = np.maximum(v_hat, v)
    η_hat = adam_step_size(t, η=η, β_1=β_1, β_2=β_2)
    return θ - η_hat * m / (np.sqrt(v_hat) + ε), m, v, v_hat


def adam_moments(m, v, g, *, β_1, β_2):
    """`m ← β₁·m + (1−β₁)·g` and `v ← β₂·v + (1−β₂)·g²`."""
    return β_1 * m + (1 - β_1) * g, β_2 * v + (1 - β_2) * np.square(g)


def adam_step_size(t, *, η, β_1, β_2):
    """`η̂ ← η·√(1−β₂ᵗ)/(1−β₁ᵗ)`."""
    return η * np.sqrt(1 - β_2**t) / (1 - β_1**t)


def decay(θ, *, η, λ):
    """`θ ← θ − η·λ·θ`: weight decay, decoupled from the gradient."""
    return θ - η * λ * θ


def densify(indices, values, shape):
    """The dense gradient: row `i` is the sum of the values that name it."""
    g = np.zeros(shape)
    np.add.at(g, np.asarray(indices, int), np.asarray(values, np.float64))
    return g


def norm(*gradients):
    """`‖g‖₂` over every element of every gradient."""
    return np.sqrt(sum(np.sum(np.square(g)) for g in gradients))


def clip_by_norm(g, c):
    """`g·c/max(‖g‖₂, c)`."""
    return g * (c / max(norm(g), c))


def clip_by_global_norm(gradients, c):
    """`g·c/max(‖(g, g′, …)‖₂, c)` for each gradient `g` of the list."""
    scale = c / max(norm(*gradients), c)
    return [g * scale for g in gradients]


def clip_by_value(g, c):
    """`min(max(g, −c), c)`."""
    return np.clip(g, -c, c)
