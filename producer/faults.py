"""How a swallowed error is told in the log: its type and place, never its text.

The text of an error quotes values, and a value in a web process may be a key or a prompt.
"""

from pathlib import Path
from traceback import extract_tb


def describe(error: BaseException) -> str:
    """`KeyError at app.py:12`: the kind of error, and the line that raised it."""
    frames = extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    return f"{type(error).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
