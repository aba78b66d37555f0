"""`python -m benchmarks`: what is too long for a test.

A suite is imported by its command, so that `--help` answers at once.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

RESULTS = Path(__file__).parent / "results"

Suite = Literal["boston", "precision", "conformance", "workers", "steps"]
Quick = Annotated[
    bool, typer.Option("--quick", help="A short plan, whose figures prove nothing.")
]
Output = Annotated[
    Path | None, typer.Option(help="Folder of the results.", file_okay=False)
]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

app = typer.Typer(
    help="Benchmarks of keras_textbook_opt, into build/ unless told where.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def boston(quick: Quick = False, output: Output = None) -> None:
    """Repeat the chapter's experiments, ours beside the built-in optimizers.

    The exit code is 1 if ours leaves the built-in's path in float64.
    """
    _carry_out("boston", quick, output)


@app.command()
def norms(output: Output = None) -> None:
    """Draw the norms of the chapter's first ten steps, with a clip and without."""
    _use_tensorflow_on_the_processor()

    from benchmarks.boston import norms as of_gradients

    file = (output or in_build("norms")) / "gradient_norms.png"
    of_gradients.write(file)
    print(file)


@app.command()
def steps(
    quick: Quick = False,
    output: Output = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help='A part to measure, as "dense"; the others stay.'),
    ] = None,
    accelerator: Annotated[
        bool, typer.Option("--accelerator", help="Measure on the GPU; a shorter plan.")
    ] = False,
) -> None:
    """Time one step of each optimizer, ours beside the built-in and other libraries."""
    from benchmarks.steps import command, plans

    parts = [part for part in plans.PARTS if part in (only or plans.PARTS)]
    if unknown := set(only or ()).difference(plans.PARTS):
        said = f"{unknown} is none of {[*plans.PARTS]}"
        raise typer.BadParameter(said, param_hint="--only")
    plan, folder = plans.plan(quick, accelerator), output or in_build("steps", quick)
    try:
        code = command.carry_out(plan, parts, folder, Console(stderr=True))
    except command.MixedPlansError as error:
        raise typer.BadParameter(str(error), param_hint="--output") from None
    raise typer.Exit(code)


@app.command()
def precision(quick: Quick = False, output: Output = None) -> None:
    """Train three models in float32, bfloat16 and float16, and compare their losses."""
    _carry_out("precision", quick, output)


@app.command()
def workers(quick: Quick = False, output: Output = None) -> None:
    """Count the bytes that workers send each other in a step. Linux only."""
    _carry_out("workers", quick, output)


@app.command()
def conformance(
    quick: Quick = False,
    output: Output = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="An optimizer to check; what there is of others stays."),
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(help="A part of a check's name, or a group; the others stay."),
    ] = None,
) -> None:
    """Put the optimizers of Keras, ours and others to all checks, on TensorFlow."""
    _carry_out("conformance", quick, output, only=only, select=select)


@app.command()
def redraw(suite: Suite, output: Output = None) -> None:
    """Write the pages and the plots of results again, by default of the committed."""
    pages = import_module(f"benchmarks.{suite}.pages")
    print(pages.publish(output or RESULTS / suite))


@app.command()
def readme() -> None:
    """Put the committed results into the README, and the checks into their page."""
    from benchmarks.readme import update

    update()


def in_build(command: str, quick: bool = False) -> Path:
    """Return a folder in build/: the committed results are written only on demand."""
    return Path("build") / ("benchmark-quick" if quick else "benchmark") / command


def _carry_out(suite: Suite, quick: bool, output: Path | None, **chosen: Any) -> None:
    """Run a benchmark, and end with its exit code."""
    _use_tensorflow_on_the_processor()
    command = import_module(f"benchmarks.{suite}.command")
    plan = command.QUICK if quick else command.FULL
    folder = output or in_build(suite, quick)
    raise typer.Exit(command.carry_out(plan, folder, Console(stderr=True), **chosen))


def _use_tensorflow_on_the_processor() -> None:
    os.environ |= {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}


if __name__ == "__main__":
    app()
