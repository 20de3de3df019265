"""Text that came from anywhere, made safe for a terminal.

A name may hold escapes that a terminal obeys, marks that turn the order of a line around (U+202E),
or signs that end a line (U+2028). And an output may have an encoding that cannot hold the text.
"""

import sys
import unicodedata
from typing import Final

LINES: Final = "\n\t"  # of a text that is ours, with foreign words in it
UNPRINTABLE: Final = "\N{REPLACEMENT CHARACTER}"


def visible(value: object, keep: str = "") -> str:
    """`value` as text in which no character is hidden or obeyed, except those of `keep`.

    What standard output cannot encode is escaped, as `\\u4f60`: here, before a table is laid out,
    so that its columns stay in line.
    """
    text = str(value)
    if not text.isprintable():
        text = "".join(each if each in keep else _sign(each) for each in text)
    return encodable(text)


def encodable(text: str) -> str:
    """`text` with escapes for what standard output cannot encode."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def can_encode_all() -> bool:
    """Whether standard output takes any text."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return encoding.lower().replace("_", "-").startswith("utf")


def _sign(character: str) -> str:
    if character.isprintable():
        return character
    return " " if unicodedata.category(character) == "Zs" else UNPRINTABLE
