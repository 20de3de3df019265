"""Makes untrusted text safe for a terminal.

A name may hold terminal escapes, marks that reverse a line (U+202E) or end it (U+2028). And the
output's encoding may not be able to hold the text.
"""

import sys
import unicodedata
from typing import Final

LINES: Final = "\n\t"  # kept in our own messages, which may quote untrusted words
UNPRINTABLE: Final = "\N{REPLACEMENT CHARACTER}"


def visible(value: object, keep: str = "") -> str:
    """`value` as text without hidden or control characters, except those in `keep`.

    Characters that standard output cannot encode are escaped, as `\\u4f60`. This happens before a
    table is laid out, so that its columns stay aligned.
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
