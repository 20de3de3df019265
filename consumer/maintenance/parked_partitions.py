"""Which partitions are parked now, for commands: the notes, held against the group's offsets."""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from usagepipe.consumer.parking.parked import Parked, as_text
from usagepipe.consumer.parking.parking_table import Mode, Notes, ParkingTable, Release, parked_now
from usagepipe.consumer.topics.group_offsets import GroupOffset, GroupOffsets
from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.schemas.settings import StorageSettings

STATEMENT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A parked partition, the end of its log, and what an operator decided about it."""

    parked: Parked
    end: int
    release: Release | None = None  # no worker has acted on it yet

    @property
    def after(self) -> int:
        """How many offsets wait after the parked range."""
        return max(0, self.end - self.parked.last - 1)

    def fields(self) -> dict[str, Any]:
        """All of it, for `--json`."""
        release = self.release
        return self.parked.fields() | {
            "offsets_after_it": self.after,
            "release": release
            and {
                "mode": release.mode.value,
                "first_offset": release.first,
                "last_offset": release.last,
                "author": release.author,
                "noted_at": as_text(release.noted_at),
            },
        }


def read_parked(
    settings: StorageSettings, topic_id: str, committed: Mapping[int, GroupOffset], seconds: float
) -> dict[int, Parked]:
    """The partitions that are parked now. Blocks; `seconds` is the most that one answer may take.

    Raises whatever ClickHouse's client raises.
    """
    with closing(ParkingTable(settings.clickhouse_address, settings.group, seconds)) as table:
        notes = table.read_all(topic_id)
    return parked_now(notes, {number: each.offset for number, each in committed.items()})


class ParkedPartitions:
    """Reads and releases the parked partitions of one topic and group. Close it."""

    def __init__(self, settings: StorageSettings) -> None:
        """Blocks until Kafka answers.

        Raises:
            MissingTopicError: there is no such topic.
            ServerUnavailableError: no broker answered.
        """
        self._topic = settings.topic
        with ExitStack() as stack:
            self._log = stack.enter_context(LogReader(settings, settings.topic))
            self._group = stack.enter_context(closing(GroupOffsets(settings, settings.group)))
            self._table = ParkingTable(
                settings.clickhouse_address, settings.group, STATEMENT_SECONDS
            )
            stack.callback(self._table.close)
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def read(self) -> list[Waiting]:
        """The partitions that are parked, in order."""
        notes = self._table.read_all(self._log.topic_id())
        committed = self._group.read(self._topic, self._log.partitions)
        parked = parked_now(notes, {number: each.offset for number, each in committed.items()})
        return [self._waiting(each, notes[number]) for number, each in parked.items()]

    def release(self, waiting: Waiting, mode: Mode, last: int, author: str) -> None:
        """Note the decision for the worker of the partition, up to the offset `last`."""
        self._table.release(waiting.parked, mode, last, author)

    def _waiting(self, parked: Parked, notes: Notes) -> Waiting:
        number = parked.partition.partition
        end = self._log.end_behind(number, max(self._log.span(number)[1], parked.last + 1))
        return Waiting(parked, end, notes.release if notes.is_released else None)
