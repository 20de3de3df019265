"""Every error that usagepipe raises on purpose: one root, few branches, data as attributes.

The class docstring is the default message. `exit_status` is the exit status of a command that ends
with the error: 1 the answer is no, 2 wrong use, 3 a server cannot be reached or refuses the login.

A few signals of the worker are not here, because they carry its own types and never leave it.
"""

import errno
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

UNWRITABLE: Final = 74  # EX_IOERR of sysexits.h
UNREAD: Final = 128 + signal.SIGPIPE  # the status that shells show for a program that it ended


class UsagePipeError(Exception):
    """usagepipe could not do what it was asked to."""

    exit_status: ClassVar[int] = 1
    code: int | None = None  # the server's error code

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class CheckFailedError(UsagePipeError):
    """A check did not hold: the numbers do not balance."""


class WrongUseError(UsagePipeError):
    """The command or call was not understood."""

    exit_status = 2


class SettingsError(WrongUseError):
    """One or more settings are wrong. `problems` holds one sentence for each."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class MissingExtraError(WrongUseError):
    """The command or call needs a part of usagepipe that is not installed."""

    def __init__(self, extra: str, module: str) -> None:
        self.extra = extra
        self.module = module
        super().__init__(f"{module} is not installed: run pip install 'usagepipe[{extra}]'.")


class ServerUnavailableError(UsagePipeError):
    """A server cannot be reached. `server` names it, `address` says where (never a password)."""

    exit_status = 3

    def __init__(self, server: str, address: str, reason: str) -> None:
        self.server = server
        self.address = address
        self.reason = reason
        super().__init__(f"{server} at {address} cannot be reached: {reason}")


class AccessError(UsagePipeError):
    """A server refuses this process's login or lacks a right for it. The text names the cure."""

    exit_status = 3


class MissingTopicError(UsagePipeError):
    """The topic does not exist on the Kafka at `address`."""

    def __init__(self, topic: str, address: str) -> None:
        self.topic = topic
        self.address = address
        super().__init__(
            f"There is no topic {topic} on Kafka at {address}:"
            " check USAGEPIPE_TOPIC, or create it with usagepipe migrate."
        )


class MigrationError(UsagePipeError):
    """The tables differ from the migrations."""


class StartRefusedError(UsagePipeError):
    """The worker does not start, because a guarantee would not hold on these servers."""


class RightMissingError(StartRefusedError, AccessError):
    """The worker's user lacks a right that the preflight needs."""


class SemanticsError(StartRefusedError):
    """ClickHouse handles a repeated insert differently from what the worker relies on.

    `case` describes the test, `expected` and `found` its results.
    """

    def __init__(self, case: str, expected: str, found: str) -> None:
        self.case = case
        self.expected = expected
        self.found = found
        super().__init__(
            f"ClickHouse would lose or double events. {case}: expected {expected}, found {found}."
            " Check its version and the profile of its user, or start at your own risk with"
            " USAGEPIPE_PREFLIGHT=off."
        )


class EventRejectedError(UsagePipeError):
    """Bytes that are not a usage event. `reason` is a word for counters, `detail` a sentence.

    Both may be logged: of the input they quote only the name of a field and the rule that it broke.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class ExportFileError(WrongUseError):
    """A file that is not a complete export. `line` counts from 1; `detail` quotes none of it.

    `verdict` is a sentence about the whole file. The message begins with it.
    """

    def __init__(self, line: int, detail: str, verdict: str = "") -> None:
        self.line = line
        self.detail = detail
        super().__init__(f"{verdict}Line {line} of the file: {detail}")


class UnknownEventError(UsagePipeError):
    """No row of an event is stored."""

    def __init__(self, event_id: str) -> None:
        self.event_id = event_id
        super().__init__(
            f"The event {event_id} is not stored. It may still wait in the log (usagepipe status), "
            "be a dead letter (usagepipe dlq list), or be older than the raw events that are kept."
        )


class DamagedBookError(UsagePipeError):
    """A stored price book cannot be used. `book` names it."""

    _text: ClassVar[str] = (
        "The {book} is damaged: {detail}. Apply the prices again with usagepipe prices apply."
    )

    def __init__(self, book: str, detail: str) -> None:
        self.book = book
        self.detail = detail
        super().__init__(self._text.format(book=book, detail=detail))


class UnreadableBookError(DamagedBookError):
    """An intact price book that this version of usagepipe cannot read. `book` names it."""

    _text = (
        "This version of usagepipe cannot read the {book}: {detail}. A newer version stored it: "
        "update usagepipe here."
    )


class MissingBookError(UsagePipeError):
    """A price book is not stored in ClickHouse. `version` names it."""

    def __init__(self, version: str) -> None:
        self.version = version
        super().__init__(
            f"The price book {version} is not stored. usagepipe prices history lists the books "
            "that were applied, and usagepipe prices apply stores the book of a price file."
        )


class LostHistoryError(UsagePipeError):
    """No price book is noted as applied any more, though `version` was."""

    def __init__(self, version: str) -> None:
        self.version = version
        super().__init__(
            f"The price book {version} was applied, but the table price_book_history is empty now. "
            f"Apply it again with usagepipe prices apply --version {version}, or apply another one."
        )


class PriceFileError(WrongUseError):
    """A price file is wrong. `problems` holds the line and the sentence of each problem."""

    def __init__(self, problems: Sequence[tuple[int, str]]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(f"line {line}: {text}" for line, text in self.problems))


class RollupsBusyError(UsagePipeError):
    """A rollup's keys were being written the whole time: repeat it when less is written."""


class UnprovenRawError(UsagePipeError):
    """Rollups hold more than raw, and the log can no longer show whether raw is complete.

    `keys` counts the rollup keys that hold more; `partitions` are those the log cannot judge.
    """

    def __init__(self, keys: int, partitions: Sequence[int]) -> None:
        self.keys = keys
        self.partitions = partitions
        super().__init__(
            f"Nothing was repaired: {keys:,} keys of rollups hold more than raw, and for the "
            f"partitions {', '.join(map(str, partitions))} the log cannot show whether raw is "
            "complete (see above). The rollups may be the last right record. If raw is right, "
            "--trust-raw lowers the rollups to match it."
        )


class ClickHouseError(UsagePipeError):
    """ClickHouse refused a statement. `code` is ClickHouse's own, `text` its whole message."""

    code: int

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text
        super().__init__(text)


class TraceError(WrongUseError):
    """The trace cannot be read. `line` counts from 1; 0 is the file as a whole."""

    def __init__(self, path: Path, line: int, problem: str) -> None:
        self.path = path
        self.line = line
        self.problem = problem
        super().__init__(f"{path}{f', line {line}' if line else ''}: {problem}")


class ChildEndedError(UsagePipeError):
    """A child process ended by itself. `words` is the end of its standard error."""

    def __init__(self, name: str, status: int, words: str) -> None:
        self.name = name
        self.status = status
        self.words = words
        super().__init__(f"The {name} ended with status {status}. It said:\n{words or '(nothing)'}")


class OutputError(UsagePipeError):
    """Standard output cannot be written. `status` is the exit status of the command.

    `quiet`: its reader has closed it, as `head` does, so no message is needed.
    """

    def __init__(self, number: int) -> None:
        self.quiet = number == errno.EPIPE
        self.status = UNREAD if self.quiet else UNWRITABLE
        super().__init__(f"standard output cannot be written: {os.strerror(number)}.")


class UnwritableFileError(UsagePipeError):
    """A file cannot be written. Its unfinished part was removed."""

    exit_status: ClassVar[int] = UNWRITABLE

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path} cannot be written: {error.strerror or error}.")


class TooLargeError(Exception):
    """Compressed data unpacks to more than the limit."""


class UndecodableError(Exception):
    """The body of a record batch cannot be decompressed: brokers check it less than we do."""


class AnotherTopicError(UsagePipeError):
    """The group's offsets belong to a deleted topic of the same name."""
