"""Reads JSON of any size in pieces and keeps only the paths with usage: a projection of it.

It serves documents that are too large to be held and parsed. Outside the known paths only brackets
are counted, and strings of any length are skipped. The grammar between brackets is not checked: the
kept part is what a parser would return.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from usagepipe.producer.reading.framing.decoding import exactly_decoded
from usagepipe.producer.reading.shapes import SHAPES, Shape, failures, models
from usagepipe.producer.reading.shapes.shape import Paths

MAX_KEPT_BYTES: Final = 32 * 1024  # of one value; a usage object has some hundred bytes
MAX_ITEMS: Final = 64  # of one list; choices and candidates are few


def _merged(*several: Paths) -> dict[str, Any]:
    """All of `several` together."""
    merged: dict[str, Any] = {}
    for paths in several:
        for name, inner in paths.items():
            known = merged.get(name, {})
            merged[name] = inner is True or known is True or _merged(known, inner)
    return merged


def all_paths(shapes: Iterable[Shape]) -> Paths:
    """The paths of `shapes`, of the model and of failures."""
    return _merged(*(shape.paths for shape in shapes), models.PATHS, failures.PATHS)


WANTED: Final = all_paths(SHAPES)

BOM: Final = b"\xef\xbb\xbf"
TOKEN: Final = re.compile(rb'\s*+(?:([{}\[\]":,])|([^\s{}\[\]":,]++))?')
TEXT: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
# Skipped in one step: text without brackets, or one pair of brackets with none inside. It ends at
# another bracket, or at the quote of a string that does not end in this piece.
_PLAIN: Final = rb'(?:[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+'
PASSED: Final = re.compile(rb"(?:%b[{\[]%b[}\]])*+%b" % (_PLAIN, _PLAIN, _PLAIN), re.DOTALL)
OPENING: Final = re.compile(rb"[{\[]*+")


@dataclass(slots=True)
class _Open:
    """An object or list on a known path that has not ended yet."""

    value: dict[str, Any] | list[Any]
    wanted: Paths
    name: str | None = None  # of the member whose value is next


class Projection:
    """Takes JSON in pieces and emits each document, or each item of an array of documents."""

    def __init__(self, emit: Callable[[object], None]) -> None:
        self._emit = emit
        self._open: list[_Open] = []
        self._depth = 0  # open brackets in a value that is skipped or kept as a whole
        self._in_text = False
        self._escaped = False  # the piece ended after a backslash
        self._kept: bytearray | None = None  # of the wanted name or value
        self._sound = True

    @property
    def whole(self) -> bool:
        """Whether every document has ended."""
        return self._sound and not (self._open or self._depth or self._in_text)

    def feed(self, piece: bytes) -> None:
        at = 0
        while at < len(piece):
            if self._in_text:
                at = self._read_text(piece, at)
            elif self._depth:
                at = self._pass_over(piece, at)
            else:
                at = self._walk(piece, at)

    def _read_text(self, piece: bytes, at: int) -> int:
        """Read a string, up to its end or the end of the piece."""
        if self._escaped:
            self._escaped = False
            self._keep(piece[at : at + 1])
            return at + 1
        end = _end(TEXT, piece, at)
        self._keep(piece[at : end + 1])
        if end < len(piece):
            self._escaped = piece[end] == ord("\\")
            self._in_text = self._escaped
            if not self._in_text and not self._depth:
                self._end_text()
        return end + 1

    def _end_text(self) -> None:
        top = self._open[-1] if self._open else None
        if top is not None and top.name is None and isinstance(top.value, dict):
            name = self._value()
            top.name = name if isinstance(name, str) else ""
        else:
            self._end_value()

    def _pass_over(self, piece: bytes, at: int) -> int:
        """Skip or keep a value as a whole, up to its next brackets."""
        end = _end(PASSED, piece, at)
        opened = _end(OPENING, piece, end)
        self._depth += opened - end
        if opened == end:
            mark = piece[end : end + 1]
            self._in_text = mark == b'"'
            self._depth -= mark in (b"}", b"]")
            end += 1
        else:
            end = opened
        self._keep(piece[at:end])
        if not self._depth:
            self._end_value()
        return end

    def _walk(self, piece: bytes, at: int) -> int:
        """Read one token on a known path."""
        match = TOKEN.match(piece, at)
        if match is None:
            return at + 1
        mark, scalar = match.groups()
        if scalar is not None:
            # A document with usage is an object, so a bare token means that this is not JSON.
            self._sound = self._sound and (bool(self._open) or scalar == BOM)
            self._begin_value(scalar, self._kept)
        elif mark == b'"':
            self._in_text = True
            self._begin_value(mark)
        elif mark in (b"{", b"["):
            self._begin(mark)
        elif mark in (b"}", b"]"):
            self._end(mark)
        elif mark == b",":
            self._end_value()
            if self._open:
                self._open[-1].name = None
        return match.end()

    def _wanted(self) -> Any:
        """What to keep of the next value: True (all), names inside it, or None."""
        if not self._open:
            return WANTED
        top = self._open[-1]
        if isinstance(top.value, list):
            return top.wanted
        return True if top.name is None else top.wanted.get(top.name)

    def _begin_value(self, first: bytes, kept: bytearray | None = None) -> None:
        self._kept = (kept or bytearray()) if self._wanted() is True else None
        self._keep(first)

    def _begin(self, mark: bytes) -> None:
        wanted = self._wanted()
        # A list in a list is on no known path, so the depth is bounded by that of `WANTED`.
        in_list = bool(self._open) and isinstance(self._open[-1].value, list)
        if isinstance(wanted, Mapping) and not (in_list and mark == b"["):
            self._open.append(_Open({} if mark == b"{" else [], wanted))
        else:
            self._depth = 1
            self._begin_value(mark)

    def _end(self, mark: bytes) -> None:
        self._end_value()
        if not self._open or isinstance(self._open[-1].value, dict) != (mark == b"}"):
            self._sound = False
            return
        ended = self._open.pop()
        if self._open or isinstance(ended.value, dict):
            self._put(ended.value)

    def _end_value(self) -> None:
        if self._kept is not None:
            value = self._value()
            if value is not None:
                self._put(value)

    def _put(self, value: object) -> None:
        if not self._open:
            self._emit(value)
            return
        top = self._open[-1]
        if isinstance(top.value, dict):
            top.value[top.name or ""] = value
        elif len(self._open) == 1:
            self._emit(value)
        else:
            top.value.append(value)
            if len(top.value) == MAX_ITEMS:  # enough: the rest is skipped
                self._depth = 1
                self._open.pop()
                self._put(top.value)

    def _keep(self, piece: bytes) -> None:
        if self._kept is not None:
            self._kept += piece
            if len(self._kept) > MAX_KEPT_BYTES:
                self._kept = None

    def _value(self) -> Any:
        """The kept value; None if it was too large or is not JSON."""
        kept, self._kept = self._kept, None
        try:
            return None if kept is None else exactly_decoded(kept)
        except (ValueError, RecursionError):
            self._sound = False
            return None


def _end(pattern: re.Pattern[bytes], piece: bytes, at: int) -> int:
    """The end of the longest match that begins at `at`."""
    match = pattern.match(piece, at)
    return at if match is None else match.end()
