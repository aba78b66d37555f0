"""Train in processes that are killed at random moments, each resuming the one before.

Each process is forked from one that has imported TensorFlow and used nothing of it.
`report.json` says how many were killed, how many found the newest save torn, and where
the state, to the bit, was not that of a run that nobody stopped: when a run had
resumed, or after an epoch.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from keras_textbook_opt import Adam

FORK = multiprocessing.get_context("fork")
STEPS, BATCH = 3, 4
EPOCHS_A_KILL, LAST_EPOCHS = 8, 10
TIMEOUT = 120
_random = np.random.default_rng(20)
IDS = _random.integers(0, 9, (STEPS * BATCH, 3)).astype("int32")
TARGETS = _random.normal(size=(STEPS * BATCH, 1)).astype("float32")


def make_model() -> keras.Model:
    keras.utils.set_random_seed(5)
    ids = keras.Input((3,), dtype="int32")
    x = keras.layers.Embedding(12, 2, name="table")(ids)
    x = keras.layers.Flatten(name="flat")(x)
    model = keras.Model(ids, keras.layers.Dense(1, name="head")(x))
    optimizer = Adam(
        0.01, amsgrad=True, use_ema=True, gradient_accumulation_steps=2, clipnorm=1.0
    )
    model.compile(optimizer, keras.losses.MeanSquaredError())
    return model


def steps_taken(model: keras.Model) -> int:
    """The batches seen, which `optimizer.iterations` counts in pairs here."""
    return int(model.optimizer.variables[0].numpy())


def digest(model: keras.Model) -> str:
    variables = [*model.variables, *model.optimizer.variables]
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in variables)).hexdigest()


class Tell(keras.callbacks.Callback):
    """Send how far the run is, and a digest of its state; stop after some epochs."""

    def __init__(self, send: Callable[[dict], None], epochs: int):
        super().__init__()
        self._send, self._epochs_left, self.torn = send, epochs, 0

    def on_train_begin(self, logs=None) -> None:
        self.model.optimizer.build(self.model.trainable_variables)
        self._tell("resumed")

    def on_epoch_end(self, epoch, logs=None) -> None:
        self._tell("epoch")
        self._epochs_left -= 1
        self.model.stop_training = self._epochs_left == 0

    def _tell(self, event: str) -> None:
        steps, state = steps_taken(self.model), digest(self.model)
        self._send({"event": event, "steps": steps, "state": state, "torn": self.torn})


def resume_nothing(folder: Path, tell: Tell) -> None:
    fit(make_model(), 0, tell)


def resume_checkpoint(folder: Path, tell: Tell) -> None:
    model = make_model()
    for path in sorted(folder.glob("*.keras"), reverse=True):
        try:
            model = keras.models.load_model(path)
            break
        except Exception:
            tell.torn += 1
    save = keras.callbacks.ModelCheckpoint(folder / "{epoch:05d}.keras")
    fit(model, steps_taken(model) // STEPS, save, tell)


def fit(model: keras.Model, first_epoch: int, *callbacks) -> None:
    """Train until a callback stops it."""
    more = {"batch_size": BATCH, "epochs": 10**9, "shuffle": False, "verbose": 0}
    model.fit(IDS, TARGETS, initial_epoch=first_epoch, callbacks=[*callbacks], **more)


def run(
    resume: Callable, folder: Path, epochs: int, kill_after: int | None = None
) -> list[dict]:
    """The messages of a child; it is killed soon after one of them, if at all."""
    receiver, sender = FORK.Pipe(duplex=False)
    child = FORK.Process(target=resume, args=(folder, Tell(sender.send, epochs)))
    child.start()
    sender.close()
    messages: list[dict] = []
    try:
        while receiver.poll(TIMEOUT):
            messages.append(receiver.recv())
            if len(messages) == kill_after:
                time.sleep(random.uniform(0, 0.2))
                child.kill()
    except (EOFError, OSError):  # the child is gone, perhaps within a message
        child.join()
    assert child.exitcode == (0 if kill_after is None else -signal.SIGKILL)
    return messages


def faults(runs: list[list[dict]], truth: dict[int, str]) -> list[str]:
    """A state that is not the truth's, or a run that lost more than its last save."""
    found = [
        f"run {k} is not the truth's at {message}"
        for k, messages in enumerate(runs)
        for message in messages
        if message["state"] != truth[message["steps"]]
    ]
    for k, (before, after) in enumerate(itertools.pairwise(runs)):
        saved, resumed = before[-1]["steps"], after[0]["steps"]
        if not saved <= resumed <= saved + STEPS:
            found.append(f"run {k} had saved step {saved}, the next began at {resumed}")
    return found


def main(folder: Path, kills: int) -> None:
    random.seed(0)
    epochs = kills * EPOCHS_A_KILL + LAST_EPOCHS
    undisturbed = run(resume_nothing, folder, epochs)
    truth = {message["steps"]: message["state"] for message in undisturbed}
    saves = folder / "saves"
    saves.mkdir()
    times = [random.randrange(1, 5) for _ in range(kills)]
    runs = [run(resume_checkpoint, saves, epochs, after) for after in times]
    runs.append(run(resume_checkpoint, saves, LAST_EPOCHS))
    report = {
        "kills": kills,
        "torn": sum(messages[0]["torn"] for messages in runs),
        "epochs": sum(m["event"] == "epoch" for messages in runs for m in messages),
        "faults": faults(runs, truth),
    }
    (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
