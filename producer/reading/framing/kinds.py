"""The format of an answer's body. Its first bytes decide; the content type is only a hint.

Gateways label event streams as JSON or as text, and JSON as an event stream. A body is read in
spite of a wrong label, unless the label is one that no model's answer has.
"""

import re
from functools import lru_cache
from typing import Final, Literal

from usagepipe.producer.reading.framing.aws_event_stream import PRELUDE, begins_message

AnswerKind = Literal["json", "lines", "events", "json or events", "aws"]
# `unknown`: no label. `text`: an unspecific label. `octets`: a file, or a binary stream.
Label = Literal["json", "lines", "events", "aws", "unknown", "text", "octets", "other"]

KINDS: Final[dict[str, Label]] = {
    "": "unknown",
    "application/json": "json",
    "text/json": "json",
    "text/event-stream": "events",
    "application/x-ndjson": "lines",
    "application/ndjson": "lines",
    "application/jsonl": "lines",
    "application/x-jsonlines": "lines",
    "application/vnd.amazon.eventstream": "aws",
    "application/octet-stream": "octets",
    "binary/octet-stream": "octets",
}
STREAMS: Final = ("lines", "events", "aws")
# These never contain a model's usage.
OTHER: Final = re.compile(r"(?:audio|image|video|font)/|.*(?:html|xml|css|csv|javascript)\b")
BLANK: Final = b"\xef\xbb\xbf \t\r\n"  # a byte order mark, and whitespace before JSON
FIELDS: Final = (b"data:", b"event:", b"id:", b"retry:", b":")  # of a server-sent event
OBJECT_OF_LINES: Final = re.compile(rb"\{[ \t]*[\r\n]")  # such an object goes on in the next line


@lru_cache(maxsize=256)  # a server writes few of them, with every answer
def label_of(content_type: str) -> Label:
    """The label for a content type. Case and parameters do not matter."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type.endswith("+json"):
        return "json"
    return KINDS.get(media_type) or ("other" if OTHER.match(media_type) else "text")


def kind_by(
    head: bytes, label: Label, *, ended: bool = False
) -> AnswerKind | Literal["other"] | None:
    """What a body is that begins with `head`, without blanks. None: more bytes are needed.

    Twelve bytes are always enough.
    """
    if head.startswith((b"{", b"[")) and label != "octets":
        return _kind_of_json(head, label, ended)
    if head.startswith(FIELDS):
        return "events"
    may_be_field = any(field.startswith(head) for field in FIELDS)
    # Messages of AWS are shorter than 16 MiB, so the first byte of their length is zero.
    may_be_message = head.startswith(b"\0") and len(head) < PRELUDE.size
    if not ended and (may_be_field or may_be_message):
        return None
    if begins_message(head):
        return "aws"
    match label:  # the beginning is unknown
        case "text" | "octets":
            return "other"
        case "unknown":
            return "events"
        case _:
            return label


def _kind_of_json(head: bytes, label: Label, ended: bool) -> AnswerKind | None:
    if label == "events":
        return "json or events"
    if label != "lines" or head.startswith(b"["):
        return "json"
    if len(head) == 1 and not ended:
        return None
    return "json" if OBJECT_OF_LINES.match(head) else "lines"
