"""Lists and releases parked partitions, for `usagepipe dlq parked` and `usagepipe dlq release`."""

from contextlib import closing
from dataclasses import dataclass
from typing import Any

from usagepipe.consumer.maintenance.consumed_topic import NOTES_SECONDS, ConsumedTopic
from usagepipe.consumer.parking.parked import Parked, as_text
from usagepipe.consumer.parking.table import Mode, ParkingTable, Release
from usagepipe.schemas.settings import StorageSettings


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


def read_parked_partitions(settings: StorageSettings) -> list[ParkedPartition]:
    """The partitions that are parked, in order. Blocks.

    Raises:
        MissingTopicError: there is no such topic.
        ServerUnavailableError: no broker answered.
        clickhouse_connect's Error: ClickHouse is unreachable, or refused.
    """
    found: list[ParkedPartition] = []
    with closing(ConsumedTopic(settings)) as topic:
        for number, (parked, notes) in topic.parked(topic.committed()).items():
            last_known = max(topic.log.span(number)[1], parked.last + 1)
            release = notes.release if notes.is_released else None
            found.append(ParkedPartition(parked, topic.log.end_after(number, last_known), release))
    return found


def release_partition(
    settings: StorageSettings, partition: ParkedPartition, mode: Mode, last: int, author: str
) -> None:
    """Note the decision for the partition's worker, up to the offset `last`. Blocks.

    Raises:
        clickhouse_connect's Error: ClickHouse is unreachable, or refused.
    """
    address, group = settings.clickhouse_address, settings.group
    with closing(ParkingTable(address, group, NOTES_SECONDS)) as table:
        table.release(partition.parked, mode, last, author)
