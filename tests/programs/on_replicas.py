"""Train cases on two replicas and watch others, in one process with one strategy.

TensorFlow takes seconds to start, and makes logical devices before that alone.
"""

import sys
from pathlib import Path

from tests.programs import train_replicas, watch_replicas
from tests.programs.replica_cases import SETS

if __name__ == "__main__":
    folder, cases = Path(sys.argv[1]), sys.argv[2]
    train_replicas.main(folder, SETS[cases])
    watch_replicas.main(folder / "monitored.json", watch_replicas.SETS[cases])
