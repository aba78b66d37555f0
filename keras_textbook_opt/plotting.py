"""A training as a picture: norms, and the learning rate."""

from __future__ import annotations

from typing import Any

import numpy as np


def training(history: dict[str, list[float]], clip: dict[str, float]) -> Any:
    """Norms over steps on a logarithmic scale, and the learning rate below.

    Args:
        history: `grad_norm` and `learning_rate`, a number for each step.
        clip: The name and the `c` of a clip by norm; empty without one.

    Raises:
        ImportError: `matplotlib` is not installed.
        ValueError: There is no step.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "`plot` draws with `matplotlib`, which is not installed: "
            'pip install "keras-textbook-opt[plot]"'
        ) from error
    norms = np.array(history.get("grad_norm", []))
    if not len(norms):
        raise ValueError(
            "Expected a monitor that has seen steps: pass it to `fit` as one of its "
            "`callbacks` first. Received: no step"
        )
    steps = np.arange(1, len(norms) + 1)
    figure, (above, below) = pyplot.subplots(
        2, sharex=True, height_ratios=(3, 1), figsize=(7, 4.5), layout="constrained"
    )
    above.semilogy(steps, norms, ".-", linewidth=1, markersize=3, label="norm")
    for name, c in clip.items():
        above.axhline(c, color="C3", linestyle="--", label=f"{name} = {c:g}")
    broken = steps[~np.isfinite(norms)]
    if len(broken):
        bottom = np.full(len(broken), 0.03)
        above.plot(
            *(broken, bottom, "x"),
            color="C3",
            transform=above.get_xaxis_transform(),
            label="not finite",
        )
    above.set_ylabel("gradient norm")
    above.legend()
    below.plot(steps, history["learning_rate"], drawstyle="steps-mid")
    below.set_ylim(bottom=0)
    below.set_ylabel("learning rate")
    below.set_xlabel("step")
    return figure
