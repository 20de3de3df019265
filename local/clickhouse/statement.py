"""Reads as much of a statement as an HTTP server must: where an INSERT's data begins, and the
format of an answer.

chDB takes an INSERT and its data apart, a client sends them as one body. The scan knows quotes,
comments and parentheses and nothing else of SQL; the engine is the parser.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from usagepipe.local.clickhouse.exceptions import Code, refusal
from usagepipe.schemas.errors import ClickHouseError

_TOKEN: Final = re.compile(
    rb"""
      (?P<space>  \s+ | --[^\n]* | \#[!\ ][^\n]* | /\*.*?\*/ )
    | (?P<quoted> '(?:[^'\\]++|\\.)*+' | "(?:[^"\\]++|\\.)*+" | `(?:[^`\\]++|\\.)*+`
                | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<word>   [A-Za-z_]\w* )
    | (?P<number> \d[\w.]* )
    | (?P<open>   ['"`] | /\* | \$\w*\$ )
    | (?P<other>  . )
    """,
    re.VERBOSE | re.DOTALL,
)
_BEFORE_DATA: Final = re.compile(rb"[ \t\f]*\r?\n?")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement without its data. `data_start` is where an INSERT's data begin, else None."""

    sql: bytes
    kind: str  # its first word in capitals: SELECT, INSERT, CREATE, …
    format: str | None  # of the data, or of the answer
    data_start: int | None = None


@dataclass(frozen=True, slots=True)
class _Token:
    text: bytes  # a word in capitals; a quoted token is its opening quote
    start: int
    end: int
    depth: int


def read_statement(buffer: bytes, *, complete: bool) -> Statement | None:
    """The statement at the front of `buffer`; None when more of it must arrive first.

    Raises:
        ClickHouseError: it is empty, several statements, or reads or writes a client's files.
    """
    if _kind(_tokens(buffer)) == "INSERT" and (insert := _insert(buffer, complete)):
        return insert
    return _whole(buffer) if complete else None


def _tokens(buffer: bytes) -> Iterator[_Token]:
    depth = 0
    for match in _TOKEN.finditer(buffer):
        text = match[0]
        if match.lastgroup == "space":
            continue
        if match.lastgroup == "open":  # unfinished: the rest is unknown until more has arrived
            return
        if match["quoted"] is not None:
            text = text[:1]
        if text in {b")", b"]", b"}"}:
            depth -= 1
        yield _Token(text.upper(), match.start(), match.end(), depth)
        if text in {b"(", b"[", b"{"}:
            depth += 1


def _kind(tokens: Iterable[_Token]) -> str:
    word = next((token.text for token in tokens if token.text != b"("), b"")
    return word.decode("ascii", "replace")


def _insert(buffer: bytes, complete: bool) -> Statement | None:
    """An INSERT that is followed by data; None for INSERT … SELECT, or when it is cut off."""
    named: _Token | None = None  # the word FORMAT, when it was the last one
    for token in _tokens(buffer):  # no further than the data: they are no SQL
        if token.depth:
            continue
        if named:
            start = _data_start(buffer, token.end, complete)
            name = buffer[token.start : token.end].decode("ascii", "replace")
            sql = buffer[: named.start]
            return None if start is None else Statement(sql, "INSERT", name, start)
        if token.text in {b"SELECT", b"WITH"}:
            return None
        if token.text == b"INFILE":
            raise _client_side("FROM INFILE")
        if token.text == b"VALUES":
            cut_off = token.end == len(buffer) and not complete
            return (
                None if cut_off else Statement(buffer[: token.start], "INSERT", "Values", token.end)
            )
        named = token if token.text == b"FORMAT" else None
    return None


def _data_start(buffer: bytes, after: int, complete: bool) -> int | None:
    """Data begin after the blanks and one line end that follow the format's name."""
    found = _BEFORE_DATA.match(buffer, after)
    start = found.end() if found else after
    if not complete and (start == len(buffer) or after == len(buffer)):
        return None
    if buffer[start : start + 1] == b";":
        raise refusal(Code.SYNTAX_ERROR, "There is a ';' between FORMAT and the data.")
    return start


def _whole(buffer: bytes) -> Statement:
    tokens = list(_tokens(buffer))
    end = next((i for i, token in enumerate(tokens) if token.text == b";"), len(tokens))
    if any(token.text != b";" for token in tokens[end:]):
        raise refusal(
            Code.SYNTAX_ERROR,
            "Syntax error (Multi-statements are not allowed): failed at position "
            f"{tokens[end].start + 1} (end of query).",
        )
    words = [token for token in tokens[:end] if token.depth == 0]
    if not words:
        raise refusal(Code.SYNTAX_ERROR, "Empty query.")
    for first, second in pairwise(words):
        if (first.text, second.text) == (b"INTO", b"OUTFILE"):
            raise _client_side("INTO OUTFILE")
    kind = _kind(tokens)
    if kind == "INSERT" and not any(token.text in {b"SELECT", b"WITH"} for token in tokens):
        return Statement(buffer[: words[-1].end], kind, None, len(buffer))
    return Statement(buffer, kind, _answer_format(buffer, words))


def _answer_format(buffer: bytes, words: list[_Token]) -> str | None:
    """The name after a FORMAT that ends the statement or is followed only by SETTINGS."""
    for at in range(len(words) - 2, -1, -1):
        if words[at].text != b"FORMAT":
            continue
        if at + 2 == len(words) or words[at + 2].text == b"SETTINGS":
            return buffer[words[at + 1].start : words[at + 1].end].decode("ascii", "replace")
    return None


def _client_side(clause: str) -> ClickHouseError:
    return refusal(
        Code.NOT_IMPLEMENTED, f"{clause} is for command line clients and does not work over HTTP."
    )
