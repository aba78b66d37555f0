"""`python docs/valley.py`: the paths of the three optimizers, into docs/valley.png."""

from pathlib import Path

import keras
import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from keras_textbook_opt import SGD, Adam, Momentum

START, STEPS = (-9.0, 1.5), 40
PATHS = {
    "SGD, η = 0.4": (lambda: SGD(0.4), "#0072B2", "o"),
    "Momentum, η = 0.3, β = 0.8": (lambda: Momentum(0.3, 0.8), "#D55E00", "s"),
    "Adam, η = 0.3": (lambda: Adam(0.3), "#009E73", "^"),
}


def path(optimizer: keras.optimizers.Optimizer) -> np.ndarray:
    """The points of the steps on `J(x, y) = x²/40 + 2y²`, a row each."""
    θ = keras.Variable(START)
    points: list[tuple[float, ...]] = [START]
    for _ in range(STEPS):
        x, y = points[-1]
        optimizer.apply([[x / 20, 4 * y]], [θ])
        points.append(tuple(map(float, keras.ops.convert_to_numpy(θ))))
    return np.array(points)


def draw(file: Path) -> None:
    """Draw the valley's level lines and the three paths."""
    x, y = np.meshgrid(np.linspace(-10, 2, 300), np.linspace(-2, 2, 200))
    figure, axes = plt.subplots(3, 1, sharex=True, figsize=(5, 5.6), dpi=150)
    for panel, (name, (make, color, mark)) in zip(axes, PATHS.items(), strict=True):
        points = path(make())
        panel.contour(
            x, y, x**2 / 40 + 2 * y**2, levels=14, colors="0.8", linewidths=0.8
        )
        panel.plot(*points.T, color=color, marker=mark, markersize=3, linewidth=1.2)
        panel.plot(0, 0, "k*", markersize=10)
        x_end, y_end = points[-1]
        loss = x_end**2 / 40 + 2 * y_end**2
        panel.set_title(f"{name}: J = {loss:.2g} after {STEPS} steps", fontsize=10)
        panel.set_ylabel("y")
    axes[-1].set_xlabel("x")
    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(__file__).with_name("valley.png"))
