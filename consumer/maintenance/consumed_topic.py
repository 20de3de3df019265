"""The topic of the events with its consumer group, as the commands read both. Changes nothing."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Final

from usagepipe.consumer.clickhouse.lazy_client import LazyClient
from usagepipe.consumer.parking.parked import Parked
from usagepipe.consumer.parking.table import Notes, ParkingTable
from usagepipe.consumer.protocol.positions import Position
from usagepipe.consumer.rollups.comparison_sql import UnsettledOffsets
from usagepipe.consumer.topics.group_offsets import GroupOffsets
from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.schemas.settings import StorageSettings

STATEMENT_SECONDS: Final = 300.0
NOTES_SECONDS: Final = 30.0  # the table of parked partitions is small


class ConsumedTopic:
    """The log of the topic, what the workers' group has committed, and a client of the tables.

    Use it in one thread and close it.
    """

    def __init__(self, settings: StorageSettings) -> None:
        """Blocks until Kafka answers.

        Raises:
            MissingTopicError: there is no such topic.
            ServerUnavailableError: no broker answered.
        """
        self.settings: Final = settings
        self.log: Final = LogReader(settings, settings.topic)
        try:
            self.topic_id: Final = self.log.topic_id()
        except BaseException:
            self.log.close()
            raise
        self.group: Final = GroupOffsets(settings, settings.group)
        self.client: Final = LazyClient(settings.clickhouse_address, STATEMENT_SECONDS)

    def close(self) -> None:
        for each in (self.log, self.group, self.client):
            each.close()

    def committed(self) -> dict[int, Position]:
        """The committed position of each partition that has one."""
        return self.group.read(self.settings.topic, self.log.partitions)

    def unsettled(self) -> list[UnsettledOffsets]:
        """What workers may still insert or insert again: all from their committed offset on.

        A partition without a commit has no insert under way, because the announcement is a commit.
        """
        return [
            UnsettledOffsets(self.topic_id, number, each.offset)
            for number, each in self.committed().items()
        ]

    def parked(self, committed: Mapping[int, Position]) -> dict[int, tuple[Parked, Notes]]:
        """The partitions that are parked now, with their notes. `committed` is read before.

        Raises the errors of ClickHouse's client.
        """
        address, group = self.settings.clickhouse_address, self.settings.group
        offsets = {number: each.offset for number, each in committed.items()}
        with closing(ParkingTable(address, group, NOTES_SECONDS)) as table:
            return table.read_parked(self.topic_id, offsets)

    def epoch_starts(self, partition: int, low: int, high: int) -> Sequence[int]:
        """The offsets between `low` and `high` where a leader epoch of the log begins.

        Before the first of them nothing was truncated. A broker that does not know the request
        reports none: then no truncation is found.
        """
        return self.group.epoch_borders(self.settings.topic, partition, low, high) or ()
