"""Logs errors by type and location, never by message (it may quote a key). Never raises.

The message of an error quotes values, and in a web process a value may be a key or a prompt.
Logging itself can fail too: a full disk, a closed pipe. All modules of the producer use `log`.
"""

import os
from pathlib import Path
from traceback import extract_tb
from typing import Final

from usagepipe.schemas.logger import HarmlessLogger

log: Final = HarmlessLogger("usagepipe.producer")


def describe(error: BaseException) -> str:
    """The type of the error and the line that raised it: `KeyError at app.py:12`.

    An error of the operating system also has its description:
    `OSError (No space left on device) at segments.py:140`.
    """
    kind = type(error).__name__
    if isinstance(error, OSError) and isinstance(error.errno, int):
        kind += f" ({os.strerror(error.errno)})"
    frames = extract_tb(error.__traceback__)
    if not frames:
        return kind
    return f"{kind} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
