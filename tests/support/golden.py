"""Golden files: the expected texts of tests. `UPDATE_GOLDEN=1` writes them again."""

import os
from pathlib import Path


def golden(path: Path, text: str) -> str:
    """The golden text of `path`; with `UPDATE_GOLDEN=1` it is `text` from now on."""
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(text)
    return path.read_text()
