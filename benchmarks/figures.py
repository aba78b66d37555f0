"""One style for all pictures: readable on a phone, on light and dark pages."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

OURS = "ours"
BUILTIN = "built-in"
# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, PINK, SKY, RED, GREY = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#777777",
)
COLORS = (SKY, BLUE, GREEN, ORANGE, RED, PINK, GREY)
# A backend has one colour in all pictures; blue is ours, grey is the built-in.
BACKENDS = {
    "tensorflow": ("TensorFlow", ORANGE),
    "tensorflow, XLA": ("TensorFlow with XLA", PINK),
    "jax": ("JAX", GREEN),
    "torch": ("PyTorch", RED),
}
WIDTH = 5  # inches: on a phone, the text is about as large as that of the page

plt.rcParams |= {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "font.size": 10,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "savefig.dpi": 180,
}


def save(figure: Figure, file: Path) -> None:
    """Write the figure and forget it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    plt.close(figure)


def legend_below(figure: Figure, columns: int = 2) -> None:
    """Draw one legend for all panels, each label once."""
    shown = [zip(*axes.get_legend_handles_labels()) for axes in figure.axes]
    handles = {label: handle for of_axes in shown for handle, label in of_axes}
    labels, artists = list(handles), list(handles.values())
    figure.legend(artists, labels, loc="outside lower center", ncols=columns)
