"""Train in processes that are killed at random moments, each resuming the one before.

Each process is forked from one that has imported TensorFlow and used nothing of it.
It compares its state, to the bit, with that of a run that nobody stopped: when it has
resumed, and after every epoch. `report.json` says how many were killed, how many found
the newest save torn, and what was not as it should be.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from keras_textbook_opt import Adam

STEPS, BATCH = 3, 4
EPOCHS_A_KILL = 8
LAST_EPOCHS = 10
TIMEOUT = 120
METADATA = "training_metadata.json"
FORK = multiprocessing.get_context("fork")
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


class Digests(keras.callbacks.Callback):
    """The state after each step of a run that nobody stops."""

    def __init__(self) -> None:
        super().__init__()
        self.of: list[str] = []

    def on_train_begin(self, logs=None) -> None:
        self.model.optimizer.build(self.model.trainable_variables)
        self.of.append(digest(self.model))

    def on_train_batch_end(self, batch, logs=None) -> None:
        self.of.append(digest(self.model))


class Compare(keras.callbacks.Callback):
    """Tell how far the run is, and whether it is where it would be without a stop."""

    def __init__(self, truth: list[str], tell: Callable[[dict], None], epochs: int):
        super().__init__()
        self._truth, self._tell, self._epochs_left = truth, tell, epochs
        self.torn = 0

    def on_train_begin(self, logs=None) -> None:
        self.model.optimizer.build(self.model.trainable_variables)
        self._compare("resumed")

    def on_epoch_end(self, epoch, logs=None) -> None:
        self._compare("epoch")
        self._epochs_left -= 1
        self.model.stop_training = self._epochs_left == 0

    def _compare(self, event: str) -> None:
        steps = steps_taken(self.model)
        same = digest(self.model) == self._truth[steps]
        self._tell({"event": event, "steps": steps, "same": same, "torn": self.torn})


class Backup(keras.callbacks.BackupAndRestore):
    """Falls back to the backup before where Keras does, and on torn metadata."""

    def __init__(self, folder: Path, compare: Compare):
        super().__init__(folder, double_checkpoint=True)
        self._compare = compare

    def on_train_begin(self, logs=None) -> None:
        try:
            self._load_model()
        except (OSError, json.JSONDecodeError):
            self._compare.torn = 1
            self._fall_back(Path(self.backup_dir))

    def _fall_back(self, folder: Path) -> None:
        weights, metadata = folder / "latest.weights.h5", folder / METADATA
        if not Path(f"{metadata}.bkp").exists():
            shutil.rmtree(folder)
            return
        shutil.copy(f"{weights}.bkp", weights)
        shutil.copy(f"{metadata}.bkp", metadata)
        self._load_model()


def resume_backup(folder: Path, truth: list[str], tell, epochs: int) -> None:
    compare = Compare(truth, tell, epochs)
    fit(make_model(), 0, Backup(folder, compare), compare)


def resume_checkpoint(folder: Path, truth: list[str], tell, epochs: int) -> None:
    model, compare = make_model(), Compare(truth, tell, epochs)
    for path in sorted(folder.glob("*.keras"), reverse=True):
        try:
            model = keras.models.load_model(path)
            break
        except Exception:
            compare.torn += 1
    save = keras.callbacks.ModelCheckpoint(folder / "{epoch:05d}.keras")
    fit(model, steps_taken(model) // STEPS, save, compare)


RESUME = {"BackupAndRestore": resume_backup, "ModelCheckpoint": resume_checkpoint}


def fit(model: keras.Model, first_epoch: int, *callbacks) -> None:
    """Train until a callback stops it."""
    model.fit(
        IDS,
        TARGETS,
        batch_size=BATCH,
        initial_epoch=first_epoch,
        epochs=10**9,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )


def write_truth(path: Path, epochs: int) -> None:
    digests = Digests()
    ids, targets = np.tile(IDS, (epochs, 1)), np.tile(TARGETS, (epochs, 1))
    make_model().fit(
        ids, targets, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[digests]
    )
    path.write_text(json.dumps(digests.of))


def run(
    how: str, folder: Path, truth: list[str], epochs: int, patience: int | None = None
) -> list[dict]:
    """The messages of a child that resumes the run; it is killed a moment after as
    many as `patience`, or ends by itself if that is `None`."""
    receiver, sender = FORK.Pipe(duplex=False)
    child = FORK.Process(target=RESUME[how], args=(folder, truth, sender.send, epochs))
    child.start()
    sender.close()
    messages: list[dict] = []
    try:
        while receiver.poll(TIMEOUT):
            messages.append(receiver.recv())
            if len(messages) == patience:
                time.sleep(random.uniform(0, 0.2))
                child.kill()
    except (EOFError, OSError):  # the child is gone, perhaps within a message
        child.join()
    assert child.exitcode == (0 if patience is None else -signal.SIGKILL)
    return messages


def faults(runs: list[list[dict]]) -> list[str]:
    """A state that is not the truth's, or a run that lost more than its last save."""
    found = [
        f"run {k} is not the truth's at {message}"
        for k, run in enumerate(runs)
        for message in run
        if not message["same"]
    ]
    for k, (run, following) in enumerate(itertools.pairwise(runs)):
        saved, resumed = run[-1]["steps"], following[0]["steps"]
        if not saved <= resumed <= saved + STEPS:
            found.append(f"run {k} had saved step {saved}, the next began at {resumed}")
    return found


def main(how: str, folder: Path, kills: int) -> None:
    truth_path = folder / "truth.json"
    epochs = kills * EPOCHS_A_KILL + LAST_EPOCHS
    child = FORK.Process(target=write_truth, args=(truth_path, epochs))
    child.start()
    child.join()
    truth = json.loads(truth_path.read_text())
    random.seed(0)
    saves = folder / "saves"
    saves.mkdir()
    runs = [
        run(how, saves, truth, epochs, random.randrange(1, 5)) for _ in range(kills)
    ]
    runs.append(run(how, saves, truth, LAST_EPOCHS))
    report = {
        "kills": kills,
        "torn": sum(messages[0]["torn"] for messages in runs),
        "epochs": sum(m["event"] == "epoch" for messages in runs for m in messages),
        "faults": faults(runs),
    }
    (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
