"""Lists and releases parked partitions, for `usagepipe dlq parked` and `usagepipe dlq release`."""

from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, Final

from usagepipe.consumer.parking.parked import Parked, as_text
from usagepipe.consumer.parking.table import Mode, Notes, ParkingTable, Release
from usagepipe.consumer.topics.group_offsets import GroupOffsets
from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.schemas.settings import StorageSettings

STATEMENT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class ParkedPartition:
    """A parked partition, the end of its log, and an operator's decision about it."""

    parked: Parked
    end: int
    release: Release | None = None  # a decision that no worker has acted on yet

    @property
    def waiting_after(self) -> int:
        """How many offsets wait after the parked range."""
        return max(0, self.end - self.parked.last - 1)

    def fields(self) -> dict[str, Any]:
        """The fields of `--json`."""
        release = self.release
        return self.parked.fields() | {
            "offsets_after_it": self.waiting_after,
            "release": release
            and {
                "mode": release.mode.value,
                "first_offset": release.first,
                "last_offset": release.last,
                "author": release.author,
                "noted_at": as_text(release.noted_at),
            },
        }


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

    def read(self) -> list[ParkedPartition]:
        """The partitions that are parked, in order."""
        committed = self._group.read(self._topic, self._log.partitions)
        offsets = {number: each.offset for number, each in committed.items()}
        found = self._table.read_parked(self._log.topic_id(), offsets)
        return [self._with_end(parked, notes) for parked, notes in found.values()]

    def release(self, partition: ParkedPartition, mode: Mode, last: int, author: str) -> None:
        """Note the decision for the partition's worker, up to the offset `last`."""
        self._table.release(partition.parked, mode, last, author)

    def _with_end(self, parked: Parked, notes: Notes) -> ParkedPartition:
        number = parked.partition.partition
        end = self._log.end_after(number, max(self._log.span(number)[1], parked.last + 1))
        return ParkedPartition(parked, end, notes.release if notes.is_released else None)
