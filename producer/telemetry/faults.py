"""How the producer logs faults: by type and place, never by their text, and without a fault.

The text of an error quotes values, and a value in a web process may be a key or a prompt. And a
log can fail too: its disk is full or its pipe closed. Every module of the producer logs by `log`.
"""

import os
from pathlib import Path
from traceback import extract_tb
from typing import Final

from usagepipe.schemas.logger import HarmlessLogger

log: Final = HarmlessLogger("usagepipe.producer")


def describe(error: BaseException) -> str:
    """`KeyError at app.py:12`: the kind of error, and the line that raised it. Of the system's
    errors its own word too: `OSError (No space left on device) at segments.py:140`."""
    kind = type(error).__name__
    if isinstance(error, OSError) and isinstance(error.errno, int):
        kind += f" ({os.strerror(error.errno)})"
    frames = extract_tb(error.__traceback__)
    if not frames:
        return kind
    return f"{kind} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
