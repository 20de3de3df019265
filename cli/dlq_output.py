"""Prints dead letters. Their content is untrusted: control characters never reach a terminal."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import click

from usagepipe.consumer.dead_letters.listing import ListedDeadLetter, Listing, ReasonCount
from usagepipe.consumer.dead_letters.record import DeadLetter
from usagepipe.consumer.dead_letters.replay import DeadLetterReplay, why_missing
from usagepipe.query.cards import Cards, iso_text, json_text, terminal
from usagepipe.schemas.visible import visible

DUMP_BYTES: Final = 16  # on a line
NONE: Final = "(none)"
LIST_COLUMNS: Final = (
    *("partition", "offset", "reason", "detail"),
    *("record (UTC)", "letter (UTC)", "bytes", "copies"),
)
SUMMARY_COLUMNS: Final = ("reason", "letters", "copies", "first (UTC)", "last (UTC)")


def print_list(listing: Listing, topic: str, *, as_json: bool) -> None:
    """Print the listed dead letters; a hint that there are more goes to standard error."""
    rows, title = listing.rows.values(), f"Dead letters on {topic}"
    if as_json:
        _print_json(map(_listed_fields, rows))
    elif rows:
        terminal().print(
            Cards(title, LIST_COLUMNS, map(_listed_cells, rows), words=("reason", "detail"))
        )
    else:
        click.echo(f"No dead letters on {topic} match.")
    if listing.total > len(rows):
        click.echo(
            f"The first {len(rows):,} of {listing.total:,}: see --limit and --summary.", err=True
        )


def print_summary(listing: Listing, topic: str, *, as_json: bool) -> None:
    title = f"Dead letters on {topic}"
    counts = sorted(listing.reasons.values(), key=lambda count: (-count.dead_letters, count.reason))
    if as_json:
        _print_json(map(_count_fields, counts))
    elif counts:
        terminal().print(
            Cards(title, SUMMARY_COLUMNS, map(_count_cells, counts), words=("reason",))
        )
    else:
        click.echo(f"No dead letters on {topic} match.")


def print_letter(letter: DeadLetter, value: bytes | None, copies: int, max_bytes: int) -> None:
    """Print a whole dead letter. `value` is the record's value."""
    envelope = letter.envelope
    fields = {"letter written": _moment(envelope.written_at), "copies": str(copies)}
    fields |= {"record arrived": _moment(envelope.recorded_at)}
    headers = [
        (name, "" if text is None else text.decode(errors="replace"))
        for name, text in letter.headers
    ]
    for name, text in [*headers, *fields.items()]:
        click.echo(f"{visible(name) + ':':<22}{visible(text)}")
    _print_bytes("key", letter.key, max_bytes, NONE)
    gone = why_missing(envelope) if envelope.value_omitted else NONE
    _print_bytes("value", value, max_bytes, gone)


def print_plan(counts: Mapping[str, int], topic: str) -> None:
    """The dead letters that a replay would send, or is about to send."""
    for reason, letters in sorted(counts.items()):
        click.echo(f"{visible(reason)}: {letters:,}")
    total = sum(counts.values())
    click.echo(
        f"{total:,} dead letters to replay to {topic}." if total else "No dead letters to replay."
    )


def print_replayed(replay: DeadLetterReplay, topic: str) -> None:
    """Print the result of a replay, also when it was interrupted or failed."""
    for reason, letters in sorted(replay.replayed.items()):
        click.echo(f"{visible(reason)}: {letters:,}")
    click.echo(f"{replay.replayed.total():,} replayed to {topic}.")
    if replay.skipped:
        click.echo(f"{replay.skipped:,} could not be replayed.", err=True)
    if replay.unconfirmed:
        click.echo(
            f"{replay.unconfirmed:,} were sent and not confirmed: they may have arrived."
            " Replaying them again does no harm to valid events.",
            err=True,
        )
    if replay.since:
        click.echo(
            "Records that are refused again become new dead letters:"
            f" usagepipe dlq list --from {iso_text(replay.since)}"
        )


def _listed_fields(listed: ListedDeadLetter) -> dict[str, Any]:
    envelope = listed.envelope
    topic_id, partition, offset = envelope.coordinates
    return {
        "topic": envelope.topic,
        "topic_id": topic_id,
        "partition": partition,
        "offset": offset,
        "reason": envelope.reason,
        "detail": envelope.detail,
        "code": envelope.code,
        "column": envelope.column or None,
        "record_time": iso_text(envelope.recorded_at),
        "letter_time": iso_text(envelope.written_at),
        "key_bytes": envelope.key_bytes,
        "value_bytes": envelope.value_bytes,
        "value_omitted": envelope.value_omitted,
        "copies": listed.copies,
    }


def _listed_cells(listed: ListedDeadLetter) -> tuple[str, ...]:
    envelope = listed.envelope
    _, partition, offset = envelope.coordinates
    code = "" if envelope.code is None else f"code {envelope.code}"
    detail = "; ".join(filter(None, (code, envelope.column, envelope.detail)))
    size = NONE if envelope.value_bytes is None else f"{envelope.value_bytes:,}"
    if envelope.value_omitted:
        size = "omitted" if envelope.value_bytes is None else f"{size} omitted"
    return (
        str(partition),
        str(offset),
        envelope.reason,
        detail,
        _moment(envelope.recorded_at),
        _moment(envelope.written_at),
        size,
        f"{listed.copies:,}",
    )


def _count_fields(count: ReasonCount) -> dict[str, Any]:
    return {
        "reason": count.reason,
        "letters": count.dead_letters,
        "copies": count.copies,
        "first_letter_time": iso_text(count.first_written_at),
        "last_letter_time": iso_text(count.last_written_at),
    }


def _count_cells(count: ReasonCount) -> tuple[str, ...]:
    return (
        count.reason,
        f"{count.dead_letters:,}",
        f"{count.copies:,}",
        _moment(count.first_written_at),
        _moment(count.last_written_at),
    )


def _print_json(rows: Iterable[Mapping[str, Any]]) -> None:
    for row in rows:
        click.echo(json_text(row))


def _print_bytes(name: str, content: bytes | None, max_bytes: int, missing: str) -> None:
    if content is None:
        click.echo(f"\n{name}: {missing}")
        return
    shown = content[:max_bytes]
    click.echo(f"\n{name}, {len(content):,} bytes:")
    click.echo(_text(shown, cut=len(shown) < len(content)) or _dump(shown))
    if len(shown) < len(content):
        click.echo(f"… {len(content) - len(shown):,} bytes more: see --max-bytes and --raw.")


def _text(content: bytes, *, cut: bool) -> str | None:
    """`content` as text, if it has only characters that a terminal can show."""
    for end in range(len(content), len(content) - (4 if cut else 1), -1):
        try:
            text = content[:end].decode()
        except UnicodeDecodeError:
            continue  # cut in the middle of a character
        return text if all(line.isprintable() for line in re.split("[\t\n]", text)) else None
    return None


def _dump(content: bytes) -> str:
    """Offsets, hexadecimal digits, and the ASCII characters."""
    lines = []
    for start in range(0, len(content), DUMP_BYTES):
        part = content[start : start + DUMP_BYTES]
        signs = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:08x}  {part.hex(' '):<{3 * DUMP_BYTES - 1}}  {signs}")
    return "\n".join(lines)


def _moment(moment: datetime | None) -> str:
    return "unknown" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"
