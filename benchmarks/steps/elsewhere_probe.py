"""Times the steps of one list of variables on the Keras backend of this process.

    python -m benchmarks.steps.elsewhere_probe torch full "1 of 20,000,000"

The last line that it prints is JSON. All contenders start from the same values and take
the same step, or there are no times.
"""

import importlib
import json
import sys
from dataclasses import asdict

import numpy as np

from benchmarks.steps import elsewhere, floor, timing
from benchmarks.steps.contenders import CLIPNORM, STEPS, Contender, Step
from benchmarks.steps.figures import BUILTIN, GRAPH, OURS, Measurement, ratio_name
from benchmarks.steps.optimizers import LEARNING_RATE
from benchmarks.steps.plans import FULL, QUICK

# Of a step's length: they round in other places.
TOLERANCE = 1e-3


def main(backend: str, plan_name: str, title: str) -> None:
    plan = next(each for each in (FULL, QUICK) if each.name == plan_name)
    module = importlib.import_module(f"benchmarks.steps.on_{backend}")
    rng = np.random.default_rng(0)
    shapes = elsewhere.shapes(title)
    values, gradients = (
        [rng.normal(size=shape, scale=scale).astype("float32") for shape in shapes]
        for scale in (1.0, 0.1)
    )
    measurements = []
    for step in STEPS:
        contenders = module.contenders(step, values, gradients)
        check_all_take_the_same_step(contenders)
        samples = timing.interleaved(
            {name: contender.step for name, contender in contenders.items()},
            plan.repeats,
        )
        measurements.append(_measurement(title, step, samples, shapes))
        del contenders
    print(json.dumps([asdict(measurement) for measurement in measurements]))


def check_all_take_the_same_step(contenders: dict[str, Contender]) -> None:
    """Let each take its first step.

    Raises:
        AssertionError: One has taken another step than ours.
    """
    after = {}
    for name, contender in contenders.items():
        contender.step()
        after[name] = contender.values()
    for name, values in after.items():
        for theirs, ours in zip(values, after[OURS], strict=True):
            apart = np.abs(theirs - ours).max()
            assert apart <= TOLERANCE * LEARNING_RATE, (name, apart)


def _measurement(
    title: str, step: Step, samples: timing.Samples, shapes: elsewhere.Shapes
) -> Measurement:
    moved = floor.dense(
        sum(int(np.prod(shape)) for shape in shapes),
        step.slots,
        reads_of_gradient=2 if step.option == CLIPNORM else 1,
    )
    return Measurement(
        case=title,
        optimizer=step.title,
        mode=GRAPH,
        values={name: timing.spread(each) for name, each in samples.items()},
        ratios={
            ratio_name(BUILTIN, name): timing.ratio(samples[BUILTIN], samples[name])
            for name in samples
            if name != BUILTIN
        },
        bytes=dict.fromkeys(samples, moved),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
