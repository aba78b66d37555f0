"""Histories of models whose state travels, on the backend of the first argument.

The second is how many are drawn for each route, the third a seed.
"""

import os
import sys

os.environ["KERAS_BACKEND"] = sys.argv[1]

import dataclasses
import random
import tempfile
from pathlib import Path

from tests import histories
from tests.histories import History


def drawn(rng: random.Random) -> History:
    values = {name: rng.choice(of) for name, of in histories.DRAWN.items()}
    return dataclasses.replace(History(), **values)


if __name__ == "__main__":
    _, backend, count, seed = sys.argv
    rng = random.Random(int(seed))
    for route, travel in histories.ROUTES.items():
        taken = 0
        while taken < int(count):
            history = drawn(rng)
            if not histories.can_take(history, route):
                continue
            taken += 1
            print(route, history, flush=True)  # the last one is what failed
            model = histories.lived(history)
            with tempfile.TemporaryDirectory() as folder:
                other = travel(model, history, Path(folder))
            histories.assert_goes_on(model, other)
