"""Reads one answer as it passes, chunk by chunk, in bounded memory; the answer is never touched.

Today it gathers a JSON body up to its bound. Whatever grows here (event streams, other shapes)
keeps the two calls: `feed` for each chunk, `read` at the end.
"""

import json
from typing import Literal

from pydantic_core import from_json

from usagepipe.producer.counters import UnrecordedReason
from usagepipe.producer.extraction import Usage, usage_of

AnswerKind = Literal["json", "stream", "unknown", "other"]


def kind_of(content_type: str) -> AnswerKind:
    """What a content type says of the body: its case and parameters do not matter."""
    media_type = content_type.partition(";")[0].strip().lower()
    if not media_type:
        return "unknown"
    if media_type == "application/json" or media_type.endswith("+json"):
        return "json"
    if media_type in {"text/event-stream", "application/x-ndjson", "application/jsonl"}:
        return "stream"
    return "other"


class AnswerReader:
    """The body of one answer. `streaming` tells whether its type is one of streams."""

    def __init__(self, content_type: str, content_encoding: str, max_bytes: int) -> None:
        self._kind = kind_of(content_type)
        self._max_bytes = max_bytes
        self._chunks: list[bytes] = []
        self._bytes = 0
        self._refused: UnrecordedReason | None = None
        self.streaming = self._kind == "stream"
        if content_encoding.lower() not in {"", "identity"}:
            self._refused = "compressed"
        elif self._kind == "stream":
            self._refused = "unsupported"
        elif self._kind == "other":
            self._refused = "no_usage"

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. They are kept, not copied, until the bound is passed."""
        if self._refused is not None or not chunk:
            return
        self._bytes += len(chunk)
        if self._bytes > self._max_bytes:
            self._refused = "too_large"
            self._chunks.clear()
            return
        self._chunks.append(chunk)

    def read(self, complete: bool = True) -> Usage | UnrecordedReason:
        """The usage in what was fed, or the reason why there is none."""
        if self._refused is not None:
            return self._refused
        body = b"".join(self._chunks)
        if not body or (self._kind == "unknown" and body.lstrip()[:1] not in {b"{", b"["}):
            return "no_usage"
        try:
            return usage_of(_decoded(body)) or "no_usage"
        except (ValueError, RecursionError):
            return "parse_failed"


def _decoded(body: bytes) -> object:
    try:
        return from_json(body, cache_strings="none")
    except ValueError:
        # Stricter than providers are: half a surrogate pair in a text, or a BOM, is no reason to
        # lose the count beside it.
        return json.loads(body.decode("utf-8-sig", "replace"))
