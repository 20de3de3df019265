"""Whether anything consumes the topic: the group's members, the lag, the age of what is stored.

It only reads. Kafka and ClickHouse are asked apart, so a status during an outage still shows what
the other server knows.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from clickhouse_connect.driver.exceptions import Error

from usagepipe.consumer.dead_letters.listing import Listing
from usagepipe.consumer.dead_letters.record import Selection, moment
from usagepipe.consumer.dead_letters.topic import DeadLetterTopic
from usagepipe.consumer.maintenance.parked_partitions import STATEMENT_SECONDS, read_parked
from usagepipe.consumer.parking.parked import Parked
from usagepipe.consumer.topics.group_offsets import GroupOffset, GroupOffsets, Member, unconsumed
from usagepipe.consumer.topics.log_reader import LogReader
from usagepipe.schemas.clickhouse.client import as_usagepipe_error, connect
from usagepipe.schemas.errors import MissingTopicError, UsagePipeError
from usagepipe.schemas.settings import StorageSettings

RECENT: Final = timedelta(hours=1)  # dead letters of this last stretch are counted
# The table's order backwards reads one row, where max(ingested_at) would read all of them.
_NEWEST: Final = (
    "SELECT ingested_at FROM usage_events"
    " WHERE kafka_topic_id = {topic_id:String} AND kafka_partition = {partition:UInt32}"
    " ORDER BY kafka_topic_id DESC, kafka_partition DESC, kafka_offset DESC LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition: what waits in it, and who consumes it.

    `waiting` counts offsets, so marks of transactions between records are counted too; it is 0
    where no record waits. `waiting_since` is the arrival of the oldest waiting record. A partition
    whose `newest_stored_at` is None has no stored event, or ClickHouse did not answer.
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
        """Seconds since then, by this machine's clock; never below 0."""
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
    """Ask Kafka and ClickHouse once. Blocks.

    Raises:
        MissingTopicError: the topic does not exist.
        ServerUnavailableError: Kafka does not answer.
    """
    with closing(LogReader(settings, settings.topic)) as log:
        topic_id = log.topic_id()
        with closing(GroupOffsets(settings, settings.group)) as group:
            state, members = group.members(settings.topic)
            committed = group.read(settings.topic, log.partitions)
        spans = {number: log.span(number) for number in log.partitions}
        ends = log.ends(log.partitions)
        positions = {
            number: _position(committed.get(number), low) for number, (low, _) in spans.items()
        }
        first = log.first_times(positions)
    newest, parked, problems = _in_clickhouse(settings, topic_id, log.partitions, committed)
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
        _recent_letters(settings, topic_id),
        problems,
    )


def _waiting(position: int, decided: int, end: int, has_record: bool) -> int:
    """How many offsets wait. After the last record there may be marks of transactions only."""
    held_back = decided < end  # by an open transaction
    return max(end - position, 1 if has_record else 0) if has_record or held_back else 0


def _position(committed: GroupOffset | None, low: int) -> int:
    """Where a worker would go on."""
    return max(committed.offset, low) if committed else low


def _in_clickhouse(
    settings: StorageSettings,
    topic_id: str,
    partitions: Sequence[int],
    committed: Mapping[int, GroupOffset],
) -> tuple[dict[int, datetime], tuple[Parked, ...], tuple[UsagePipeError, ...]]:
    """Arrival of each partition's newest stored event, and parked ones; or why there is no answer.

    What was read before an error is kept: a user may see one table and not the other.
    """
    newest: dict[int, datetime] = {}
    try:
        with connect(settings.clickhouse_address) as client:
            for number in partitions:
                asked = {"topic_id": topic_id, "partition": number}
                for (arrived,) in client.query(_NEWEST, parameters=asked).result_rows:
                    newest[number] = arrived
        parked = read_parked(settings, topic_id, committed, STATEMENT_SECONDS)
    except UsagePipeError as error:
        return newest, (), (error,)
    except Error as error:
        return newest, (), (as_usagepipe_error(error, settings.clickhouse_address),)
    return newest, tuple(parked.values()), ()


def _recent_letters(settings: StorageSettings, topic_id: str) -> dict[str, int]:
    selection = Selection(topic_id=topic_id, start=datetime.now(UTC) - RECENT)
    try:
        with DeadLetterTopic(settings, settings.dead_letter_topic) as letters:
            listing = Listing.of(letters.read(selection), 0)
    except MissingTopicError:
        return {}
    return {reason: count.dead_letters for reason, count in sorted(listing.reasons.items())}
