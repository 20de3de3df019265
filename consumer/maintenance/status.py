"""The state of the pipeline, for `usagepipe status`: members, lag, age of the newest stored event.

It only reads. Kafka and ClickHouse are read separately, so during an outage of one server a status
still shows the state of the other.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from usagepipe.consumer.dead_letters.listing import Listing
from usagepipe.consumer.dead_letters.record import Selection, moment
from usagepipe.consumer.dead_letters.topic import DeadLetterTopic
from usagepipe.consumer.maintenance.consumed_topic import ConsumedTopic
from usagepipe.consumer.parking.parked import Parked
from usagepipe.consumer.protocol.positions import Position
from usagepipe.consumer.topics.group_offsets import Member, unconsumed
from usagepipe.schemas.clickhouse.client import usagepipe_errors
from usagepipe.schemas.clickhouse.sql_files import read_sql
from usagepipe.schemas.errors import MissingTopicError, UsagePipeError
from usagepipe.schemas.settings import StorageSettings

RECENT: Final = timedelta(hours=1)  # dead letters of this period are counted


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition: how much waits in it, and which member consumes it.

    `waiting` counts offsets, including control records of transactions between the records; it is
    0 if no record waits. `waiting_since` is the arrival of the oldest waiting record.
    `newest_stored_at` is None if no event is stored, or ClickHouse did not answer.
    """

    partition: int
    committed: int | None
    end: int
    waiting: int
    waiting_since: datetime | None
    newest_stored_at: datetime | None
    member: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """The state of one topic and group at one moment."""

    at: datetime
    topic: str
    group: str
    state: str  # of the group, as Kafka names it
    members: tuple[Member, ...]
    partitions: tuple[PartitionStatus, ...]
    parked: tuple[Parked, ...]
    dead_letters: Mapping[str, int]  # of the last hour, by reason
    problems: tuple[UsagePipeError, ...]  # servers that did not answer

    @property
    def waiting(self) -> int:
        return sum(each.waiting for each in self.partitions)

    @property
    def newest_stored_at(self) -> datetime | None:
        """When the newest stored event of all partitions arrived."""
        return max(
            (each.newest_stored_at for each in self.partitions if each.newest_stored_at),
            default=None,
        )

    def age(self, moment_: datetime | None) -> float | None:
        """Seconds since `moment_`, by this machine's clock; never below 0."""
        if moment_ is None:
            return None
        return max(0.0, round((self.at - moment_).total_seconds(), 3))

    @property
    def unconsumed(self) -> tuple[PartitionStatus, ...]:
        """Partitions with waiting records that no member consumes."""
        waiting = [each.partition for each in self.partitions if each.waiting]
        alone = unconsumed(waiting, self.state, self.members)
        return tuple(each for each in self.partitions if each.partition in alone)


def read_status(settings: StorageSettings) -> Status:
    """Read Kafka and ClickHouse once. Blocks.

    Raises:
        MissingTopicError: the topic does not exist.
        ServerUnavailableError: Kafka does not answer.
    """
    with closing(ConsumedTopic(settings)) as topic:
        log = topic.log
        state, members = topic.group.members(settings.topic)
        committed = topic.committed()
        spans = {number: log.span(number) for number in log.partitions}
        ends = log.ends(log.partitions)
        positions = {
            number: _position(committed.get(number), low) for number, (low, _) in spans.items()
        }
        first = log.first_times(positions)
        newest, parked, problems = _in_clickhouse(topic, committed)
    owners = {number: member for member in members for number in member.partitions or ()}
    partitions = tuple(
        PartitionStatus(
            number,
            committed[number].offset if number in committed else None,
            max(high, ends[number], positions[number] + (number in first)),
            _waiting(positions[number], high, ends[number], number in first),
            moment(first[number]) if number in first else None,
            newest.get(number),
            owners[number].client_id if number in owners else None,
        )
        for number, (_, high) in spans.items()
    )
    return Status(
        datetime.now(UTC),
        settings.topic,
        settings.group,
        state,
        members,
        partitions,
        parked,
        _recent_dead_letters(settings, topic.topic_id),
        problems,
    )


def _waiting(position: int, decided: int, end: int, has_record: bool) -> int:
    """How many offsets wait: none if only control records follow the last record."""
    held_back = decided < end  # by an open transaction
    return max(end - position, 1 if has_record else 0) if has_record or held_back else 0


def _position(committed: Position | None, low: int) -> int:
    """Where a worker would resume."""
    return max(committed.offset, low) if committed else low


def _in_clickhouse(
    topic: ConsumedTopic, committed: Mapping[int, Position]
) -> tuple[dict[int, datetime], tuple[Parked, ...], tuple[UsagePipeError, ...]]:
    """The newest stored event's arrival by partition, the parked partitions, and any problem.

    Answers before an error are kept: a user may have the right to read only one of the tables.
    """
    newest: dict[int, datetime] = {}
    sql = read_sql("usagepipe.consumer.maintenance", "newest_arrival")
    try:
        with usagepipe_errors(topic.settings.clickhouse_address):
            for number in topic.log.partitions:
                parameters = {"topic_id": topic.topic_id, "partition": number}
                for (arrived,) in topic.client.rows(sql, parameters, {}):
                    newest[number] = arrived
            parked = tuple(parked for parked, _ in topic.parked(committed).values())
    except UsagePipeError as error:
        return newest, (), (error,)
    return newest, parked, ()


def _recent_dead_letters(settings: StorageSettings, topic_id: str) -> dict[str, int]:
    selection = Selection(topic_id=topic_id, start=datetime.now(UTC) - RECENT)
    try:
        with closing(DeadLetterTopic(settings)) as topic:
            listing = Listing.of(topic.read(selection), 0)
    except MissingTopicError:
        return {}
    return {reason: count.dead_letters for reason, count in sorted(listing.reasons.items())}
