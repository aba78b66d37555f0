"""Tables as Markdown."""

from collections.abc import Mapping, Sequence

import pandas as pd


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the rows under the union of their columns, a missing cell as nothing."""
    frame = pd.DataFrame(rows).fillna("")
    return frame.to_markdown(index=False, disable_numparse=True)
