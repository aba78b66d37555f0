"""What the API reference makes of the sections of a docstring."""

import re
from typing import Any

import griffe


class OneExample(griffe.Extension):
    """A section `Example:` is one of code, as `Examples:` is to griffe."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.M)
            obj.docstring.value = text
