"""Tables as Markdown."""

from collections.abc import Mapping, Sequence

import pandas as pd


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the rows under the union of their columns, a missing cell as nothing."""
    frame = pd.DataFrame(rows).fillna("")
    return frame.to_markdown(index=False, disable_numparse=True)


def missing(names: Sequence[str]) -> list[str]:
    """Return the paragraph that names what an interrupted run has not, if anything."""
    return [f"**Interrupted.** Missing: {'; '.join(names)}."] if names else []
