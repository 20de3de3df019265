"""The trace that the demo replays: when each request came and how many tokens it had.

A trace file is untrusted input: errors name its line and column, before any server starts.
"""

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from random import Random
from typing import IO

from usagepipe.schemas.errors import TraceError
from usagepipe.schemas.event import MAX_TOKENS

TIMESTAMP = "TIMESTAMP"
CONTEXT_TOKENS = "ContextTokens"
GENERATED_TOKENS = "GeneratedTokens"
COLUMNS = (TIMESTAMP, CONTEXT_TOKENS, GENERATED_TOKENS)

MAX_LINE_BYTES = 65_536  # a line of a trace has 50: a longer one is another kind of file
MAX_REQUESTS = 5_000_000  # about a gigabyte of memory
_SHOWN_CHARS = 40  # of a wrong value, in a message
_COUNT = re.compile(r"[0-9]{1,15}")


DEFAULT_REQUESTS = 5_000

CALM_PER_SECOND = 4.0
BURST_PER_SECOND = 40.0
STATE_SECONDS = 20.0  # mean length of a calm or a burst

_PROMPT_MEDIAN, _PROMPT_SPREAD = 1_000, 0.9
_COMPLETION_MEDIAN, _COMPLETION_SPREAD = 130, 1.0
_LONGEST = 200_000  # a context window of today


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One request of the trace. `at_seconds` counts from the trace's first request."""

    at_seconds: float
    prompt_tokens: int
    completion_tokens: int


def read_trace(path: Path, limit: int | None = None) -> list[TraceRow]:
    """The first `limit` requests of the CSV file at `path`, in the order of their time.

    Raises:
        TraceError: the file is no trace; its text names the line and the column.
    """
    try:
        with path.open("rb") as file:
            parsed = list(islice(_parse(path, file), min(limit or MAX_REQUESTS, MAX_REQUESTS)))
    except OSError as error:
        raise TraceError(path, 0, f"cannot be read: {error.strerror}") from None
    if not parsed:
        raise TraceError(path, 0, "has a header and no request below it")
    start = min(moment for moment, _, _ in parsed)
    rows = [TraceRow((moment - start).total_seconds(), p, c) for moment, p, c in parsed]
    return sorted(rows, key=lambda row: row.at_seconds)


def synthesize(requests: int, seed: int) -> list[TraceRow]:
    """A made-up trace of `requests` rows, in the order of time; equal arguments give equal rows.

    It has bursts and long tails. The shapes follow a public trace of a chat service: half of the
    prompts have more than 1,000 tokens, half of the answers more than 130.
    """
    random = Random(f"trace {seed}")
    rows = []
    at, bursting, turns_at = 0.0, False, 0.0
    for _ in range(requests):
        at += random.expovariate(BURST_PER_SECOND if bursting else CALM_PER_SECOND)
        if at >= turns_at:
            bursting = not bursting
            turns_at = at + random.expovariate(1 / STATE_SECONDS)
        prompt = _synthetic_length(random, _PROMPT_MEDIAN, _PROMPT_SPREAD)
        completion = _synthetic_length(random, _COMPLETION_MEDIAN, _COMPLETION_SPREAD)
        rows.append(TraceRow(at, prompt, completion))
    return rows


def _parse(path: Path, file: IO[bytes]) -> Iterator[tuple[datetime, int, int]]:
    reader = csv.reader(_lines(path, file), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            raise TraceError(path, 0, f"is empty: its first line must name {', '.join(COLUMNS)}")
        places = _places(path, header)
        for cells in reader:
            if cells:  # many files end with an empty line
                yield _row(path, reader.line_num, cells, len(header), places)
    except csv.Error as error:
        raise TraceError(path, reader.line_num, f"is not CSV: {error}") from None


def _lines(path: Path, file: IO[bytes]) -> Iterator[str]:
    """The file's lines as text: UTF-8 with or without its mark, any line end, bounded."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise TraceError(path, number, f"is longer than {MAX_LINE_BYTES} bytes: no trace")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise TraceError(path, number, "is not UTF-8 text") from None


def _places(path: Path, header: list[str]) -> tuple[int, int, int]:
    names = [name.strip() for name in header]
    for column in COLUMNS:
        if names.count(column) != 1:
            problem = "occurs twice" if column in names else "is missing"
            found = _shown(", ".join(names))
            raise TraceError(path, 1, f"column {column} {problem}: the header is {found}")
    at, prompt, completion = (names.index(column) for column in COLUMNS)
    return at, prompt, completion


def _row(
    path: Path, line: int, cells: list[str], width: int, places: tuple[int, int, int]
) -> tuple[datetime, int, int]:
    if len(cells) != width:
        raise TraceError(path, line, f"has {len(cells)} columns where the header has {width}")
    at, prompt, completion = (cells[place].strip() for place in places)
    return (
        _moment(path, line, at),
        _tokens(path, line, CONTEXT_TOKENS, prompt),
        _tokens(path, line, GENERATED_TOKENS, completion),
    )


def _moment(path: Path, line: int, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        form = "write it as 2023-11-16 18:15:46.680"
        raise TraceError(path, line, f"column {TIMESTAMP} is {_shown(text)}: {form}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _tokens(path: Path, line: int, column: str, text: str) -> int:
    if _COUNT.fullmatch(text) and int(text) <= MAX_TOKENS:
        return int(text)
    rule = f"a whole number from 0 to {MAX_TOKENS} is needed"
    raise TraceError(path, line, f"column {column} is {_shown(text)}: {rule}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…")


def _synthetic_length(random: Random, median: int, spread: float) -> int:
    return min(_LONGEST, 1 + int(random.lognormvariate(math.log(median), spread)))
