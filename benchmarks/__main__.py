"""`python -m benchmarks`: what is too long for a test.

TensorFlow is imported by the commands, so that `--help` answers at once.
"""

import enum
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import INTERRUPTED

BUILD = Path("build")
RESULTS = Path(__file__).parent / "results"

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

app = typer.Typer(
    help="Benchmarks of keras_textbook_opt.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Output = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the results; by default one in build/.", file_okay=False
    ),
]


class Suite(str, enum.Enum):
    """A benchmark whose pages are made of its rows."""

    BOSTON = "boston"
    PRECISION = "precision"
    CONFORMANCE = "conformance"
    WORKERS = "workers"
    STEPS = "steps"


class Part(str, enum.Enum):
    """A part of the steps."""

    DENSE = "dense"
    SPARSE = "sparse"
    MODELS = "models"
    MEMORY = "memory"
    FIRST = "first"
    FILES = "files"


@app.callback()
def benchmarks() -> None:
    """Keep the commands' names, even while there is only one."""


@app.command()
def boston(
    quick: Annotated[
        bool, typer.Option("--quick", help="Run a twentieth of the epochs, two seeds.")
    ] = False,
    output: Output = None,
) -> None:
    """Repeat the chapter's experiments, ours beside the built-in optimizers.

    The exit code is 1 if ours leaves the built-in's path in float64.
    """
    _carry_out("boston", quick, output)


@app.command()
def norms(output: Output = None) -> None:
    """Draw the norms of the chapter's first ten steps, with a clip and without."""
    with _one_line_when_interrupted():
        _use_tensorflow_on_the_processor()

        from benchmarks.boston import norms as of_gradients

        file = (output or output_folder("norms", quick=False)) / "gradient_norms.png"
        of_gradients.write(file)
        print(file)


@app.command()
def steps(
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes and three rounds; no verdict.")
    ] = False,
    only: Annotated[
        list[Part] | None,
        typer.Option(help="A part to measure; the others stay as they are."),
    ] = None,
    output: Output = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=0, help="How long to repeat each case."),
    ] = None,
    accelerator: Annotated[
        bool,
        typer.Option("--accelerator", help="Measure on the GPU; a shorter plan."),
    ] = False,
) -> None:
    """Time one step of each optimizer, ours beside the built-in and other libraries."""
    with _one_line_when_interrupted():
        from rich.console import Console

        from benchmarks.steps import command, plans

        folder = output or output_folder("steps", quick)
        parts = [part.value for part in Part if part in (only or Part)]
        plan = plans.plan(quick, accelerator, seconds)
        try:
            code = command.carry_out(plan, parts, folder, Console(stderr=True))
        except command.MixedPlansError as error:
            raise typer.BadParameter(str(error), param_hint="--output") from None
        raise typer.Exit(code)


@app.command()
def precision(
    quick: Annotated[
        bool, typer.Option("--quick", help="Run a tenth of the epochs, two seeds.")
    ] = False,
    output: Output = None,
) -> None:
    """Train three models in float32, bfloat16 and float16, and compare their losses."""
    _carry_out("precision", quick, output)


@app.command()
def workers(
    quick: Annotated[
        bool, typer.Option("--quick", help="A small table and one stream.")
    ] = False,
    output: Output = None,
) -> None:
    """Count the bytes that workers send each other in a step. Linux only."""
    _carry_out("workers", quick, output)


@app.command()
def conformance(
    quick: Annotated[
        bool, typer.Option("--quick", help="Check one optimizer of each house.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(help="An optimizer to check; what there is of others stays."),
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(help="A part of a check's name, or a group; the others stay."),
    ] = None,
    output: Output = None,
) -> None:
    """Put the optimizers of Keras, ours and others to all checks, on TensorFlow."""
    _carry_out("conformance", quick, output, only=only, select=select)


@app.command()
def redraw(
    suite: Suite,
    output: Annotated[
        Path | None,
        typer.Option(help="By default the committed results.", file_okay=False),
    ] = None,
) -> None:
    """Write the pages and the plots of earlier results again, and measure nothing."""
    _use_tensorflow_on_the_processor()
    pages = importlib.import_module(f"benchmarks.{suite.value}.pages")
    print(pages.publish(output or RESULTS / suite.value))


@app.command()
def readme() -> None:
    """Put the committed results into the README, and the checks into their page."""
    from benchmarks.conformance import page
    from benchmarks.readme import update

    update()
    page.update()


def output_folder(command: str, quick: bool) -> Path:
    """Return a folder in build/: the committed results are written only on demand."""
    return BUILD / ("benchmark-quick" if quick else "benchmark") / command


def _carry_out(suite: str, quick: bool, output: Path | None, **chosen: Any) -> None:
    """Run a benchmark, and end with its exit code."""
    with _one_line_when_interrupted():
        _use_tensorflow_on_the_processor()

        from rich.console import Console

        command = importlib.import_module(f"benchmarks.{suite}.command")
        plan = command.QUICK if quick else command.FULL
        folder = output or output_folder(suite, quick)
        console = Console(stderr=True)
        raise typer.Exit(command.carry_out(plan, folder, console, **chosen))


def _use_tensorflow_on_the_processor() -> None:
    os.environ["KERAS_BACKEND"] = "tensorflow"

    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")


@contextmanager
def _one_line_when_interrupted() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        raise typer.Exit(INTERRUPTED) from None


if __name__ == "__main__":
    app()
