"""Train with N workers on this machine, and restart all of them if one dies.

    python examples/supervise.py 2 build/towers --kill-after-epoch 2

TensorFlow's workers cannot continue without one of them, and a restarted worker cannot
rejoin. So all are stopped, and started again from their last save.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

WORKER = Path(__file__).with_name("tensorflow_workers.py")
RESTARTS = 3


def free_addresses(count: int) -> list[str]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [f"localhost:{each.getsockname()[1]}" for each in sockets]


def start(count: int, folder: Path) -> list[subprocess.Popen]:
    cluster = {"worker": free_addresses(count)}
    workers = []
    for k in range(count):
        task = {"type": "worker", "index": k}
        config = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
        command = [sys.executable, WORKER, folder]
        workers.append(subprocess.Popen(command, env=os.environ | config))
    return workers


def all_end_well(workers: list[subprocess.Popen], kill_when: Path | None) -> bool:
    """Wait until all have ended or one has failed; then stop the others."""
    while None in (statuses := [worker.poll() for worker in workers]):
        if any(statuses):
            break
        if kill_when is not None and kill_when.exists():
            print("killing the last worker", flush=True)
            workers[-1].kill()
            kill_when = None
        time.sleep(0.1)
    for worker in workers:
        worker.kill()
        worker.wait()
    return not any(statuses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workers", type=int)
    parser.add_argument("folder", type=Path, help="where the workers save")
    parser.add_argument("--kill-after-epoch", type=int, metavar="E")
    given = parser.parse_args()
    epoch = given.kill_after_epoch
    kill_when = None if epoch is None else given.folder / "0" / f"ckpt-{epoch}.index"
    for _ in range(1 + RESTARTS):
        if all_end_well(start(given.workers, given.folder), kill_when):
            return
        kill_when = None
        print("a worker died: starting all again", flush=True)
    sys.exit(f"gave up after {RESTARTS} restarts")


if __name__ == "__main__":
    main()
