"""Where and when a part of a benchmark was measured, in `setting.json`."""

import datetime
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks import machine

FILE = "setting.json"
WHEN = {"date": "{}", "seconds": "{:.0f} s", "load": "load before it {:.2f}"}

Setting = dict[str, Any]


@contextmanager
def of_a_run(plan: str, **facts: Any) -> Iterator[Setting]:
    """Give the setting of what is measured within: it knows its seconds at the end."""
    now = datetime.datetime.now(datetime.timezone.utc)
    start = time.perf_counter()
    setting: Setting = {
        "plan": plan,
        "date": now.isoformat(timespec="seconds"),
        "load": round(psutil.getloadavg()[0], 2),
        "machine": machine.machine(),
        "versions": machine.versions(),
        **facts,
    }
    yield setting
    setting["seconds"] = round(time.perf_counter() - start, 1)


def read(folder: Path) -> dict[str, Setting]:
    """Return the setting of each part that the folder holds."""
    file = folder / FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def write(settings: dict[str, Setting], folder: Path) -> None:
    """Write the setting of each part."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(settings, indent=1, ensure_ascii=False)
    (folder / FILE).write_text(content + "\n", encoding="utf-8")


def in_words(setting: Setting) -> str:
    """Return when, where and with what, as far as it is known."""
    where = setting["machine"]
    when = [
        text.format(setting[name]) for name, text in WHEN.items() if name in setting
    ]
    versions = ", ".join(f"{name} {it}" for name, it in setting["versions"].items())
    return (
        f"{', '.join(when)}; {where['processor']}, {where['cores']} cores, "
        f"{where['memory_gib']} GiB, {where['system']}; {versions}."
    )
