"""Reads ranges of a topic by offset, for commands. It joins no group and commits nothing.

The end of a range is fixed before it is read, because a topic goes on growing.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Final

from confluent_kafka import (
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
)
from confluent_kafka import TopicPartition as Place

from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.topics.kafka_session import REQUEST_SECONDS, KafkaSession
from usagepipe.consumer.topics.leaders import log_ends
from usagepipe.consumer.topics.topic_identity import topic_identity
from usagepipe.schemas.errors import MissingTopicError, ServerUnavailableError
from usagepipe.schemas.kafka_clients import librdkafka_config
from usagepipe.schemas.kafka_trouble import AWAY, Complaints, kafka_error
from usagepipe.schemas.settings.kafka import KafkaSettings
from usagepipe.schemas.topic_admin import check_right

REACH_SECONDS: Final = 5.0  # librdkafka retries the connection until then, even after a refusal
STALL_SECONDS: Final = 30.0  # a broker that sends nothing for this long is unreachable
POLL_SECONDS: Final = 0.2  # so that Ctrl-C works
PREFETCH_KIBIBYTES: Final = 16_384
OFFSET_MAX: Final = (1 << 63) - 1


class LogReader:
    """Reads one topic of a Kafka. Use it in one thread and close it."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        """Blocks until a broker has answered.

        Raises:
            MissingTopicError: there is no such topic.
            ServerUnavailableError: no broker answered.
        """
        self._kafka = kafka
        self._topic = topic
        self._complaints = Complaints()
        self._session = KafkaSession(kafka)
        self._consumer = Consumer(
            librdkafka_config(kafka)
            | {
                "error_cb": self._complaints,
                "group.id": "usagepipe-reads",  # the client requires one; it never joins
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                # Retention may delete the first records of a range while it is read.
                "auto.offset.reset": "earliest",
                # As workers read: aborted records are no events.
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "queued.max.messages.kbytes": PREFETCH_KIBIBYTES,
                "fetch.queue.backoff.ms": 10,  # the default is a pause of 1 s when it is full
                # A fetch at the log's end waits this long, and the next read waits for it.
                "fetch.wait.max.ms": 10,
                "log_level": 0,  # the command's error reports a failure
            }
        )
        try:
            self.partitions: Final = self._find_partitions()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the connections."""
        self._consumer.close()
        self._session.close()

    def _find_partitions(self) -> tuple[int, ...]:
        with translated(self._kafka, self._complaints):
            try:
                # All topics: some brokers create a topic when its name is requested.
                found = self._consumer.list_topics(timeout=REACH_SECONDS).topics.get(self._topic)
            except KafkaException:
                self._consumer.poll(0)  # so that `_complaints` gets the reason
                raise
            if found is None and self._kafka.kafka_protocol != "PLAINTEXT":
                check_right(self._consumer, self._topic)
        if found is None:
            raise MissingTopicError(self._topic, self._kafka.kafka)
        return tuple(sorted(found.partitions))

    def span(self, partition: int) -> tuple[int, int]:
        """The first offset of the log, and the offset after its last record.

        If a transaction is open, the second is its first offset: later records are undecided.
        """
        with translated(self._kafka):
            place = Place(self._topic, partition)
            return self._consumer.get_watermark_offsets(place, REQUEST_SECONDS)

    def ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """The offset after the last record of each partition, also if a transaction is open."""
        asked = [TopicPartition(self._topic, number) for number in partitions]
        ends = self._session.ask_leaders(self._topic, lambda client: log_ends(client, asked))
        return {place.partition: end for place, end in ends.items()}

    def end_after(self, partition: int, offset: int) -> int:
        """The offset after the last record, found by reading from `offset` on.

        Some brokers (Tansu, of `usagepipe local`) report too small an end if the last record batch
        has several records.

        Raises:
            UsagePipeError: the broker refuses to be read.
        """
        self._consumer.assign([Place(self._topic, partition, offset)])
        end = offset
        try:
            # Such a broker may never report that the end was reached.
            with suppress(ServerUnavailableError):
                for message, after in self._polled(partition, offset):
                    end = after
                    if message is None:
                        break
            return end
        finally:
            self._consumer.unassign()

    def first_since(self, partition: int, moment: datetime) -> int | None:
        """The first offset whose record arrived at `moment` or later, or None."""
        asked = Place(self._topic, partition, int(moment.timestamp() * 1000))
        with translated(self._kafka):
            (found,) = self._consumer.offsets_for_times([asked], REQUEST_SECONDS)
        return None if found.offset == OFFSET_END else found.offset

    def first_times(self, positions: Mapping[int, int]) -> dict[int, int]:
        """The timestamp, in milliseconds, of the first record at or after each position.

        A partition without such a record has no entry. All partitions are read at the same time.

        Raises:
            UsagePipeError: the broker refuses to be read.
        """
        places = [Place(self._topic, *place) for place in positions.items()]
        self._consumer.assign(places)
        found: dict[int, int] = {}
        open_ = set(positions)
        deadline = time.monotonic() + REQUEST_SECONDS
        try:
            while open_ and time.monotonic() < deadline:
                message = self._consumer.poll(POLL_SECONDS)
                number = None if message is None else message.partition()
                if message is None or number not in open_:
                    continue
                error = message.error()
                if error is None:
                    found[number] = message.timestamp()[1]
                elif error.code() in AWAY:
                    continue  # the client reconnects by itself
                elif error.code() != KafkaError._PARTITION_EOF:
                    raise kafka_error(self._kafka, error)
                open_.discard(number)
                self._consumer.pause([Place(self._topic, number)])
            return found
        finally:
            self._consumer.resume(places)  # otherwise a later read would wait forever
            self._consumer.unassign()

    def topic_id(self) -> str:
        """The topic's id, as workers write it: 32 hexadecimal digits."""
        return self._session.run(lambda admin: topic_identity(admin._client, self._topic)).topic_id

    def read(self, partition: int, first: int, end: int) -> Iterator[Message]:
        """The records of the offsets `first` … `end` - 1 that the log still has.

        It ends before the first open transaction: later records are undecided.

        Raises:
            ServerUnavailableError: the broker sent nothing for `STALL_SECONDS`.
        """
        # A client that starts after that offset is not notified of the end.
        if first >= end or self._is_open_at(partition, first):
            return
        self._consumer.assign([Place(self._topic, partition, first)])
        try:
            position = first
            while position < end:
                message, position = self._next(partition, position)
                if message is not None and first <= position - 1 < end:
                    yield message
        finally:
            self._consumer.unassign()

    def _next(self, partition: int, position: int) -> tuple[Message | None, int]:
        """A record, or None if there is none, and the position after it."""
        for message, after in self._polled(partition, position):
            if message is not None or after > position:  # control records are the last ones
                return message, after
            if self._is_open_at(partition, position):
                return None, OFFSET_MAX
        raise AssertionError("_polled goes on until it raises")

    def _is_open_at(self, partition: int, position: int) -> bool:
        """Whether an open transaction hides all records from `position` on."""
        _, decided = self.span(partition)
        return decided <= position and decided < self.ends([partition])[partition]

    def _polled(self, partition: int, position: int) -> Iterator[tuple[Message | None, int]]:
        """Each record and the position after it; at the end of the log None and that position.

        Raises:
            ServerUnavailableError: the broker sent no record for `STALL_SECONDS`.
        """
        deadline = time.monotonic() + STALL_SECONDS
        while time.monotonic() < deadline:
            message = self._consumer.poll(POLL_SECONDS)
            if message is None or message.partition() != partition:
                continue
            offset, error = message.offset(), message.error()
            if error is None and offset is not None:
                position = offset + 1
                deadline = time.monotonic() + STALL_SECONDS
                yield message, position
            elif error is None or error.code() in AWAY:
                continue  # the client reconnects by itself
            elif error.code() == KafkaError._PARTITION_EOF and offset is not None:
                yield None, offset
            else:
                raise kafka_error(self._kafka, error)
        raise ServerUnavailableError(
            "Kafka",
            self._kafka.kafka,
            f"no record of {self._topic}, partition {partition}, offset {position}"
            f" within {STALL_SECONDS:g} s.",
        )


@contextmanager
def translated(kafka: KafkaSettings, complaints: Complaints | None = None) -> Iterator[None]:
    """Raise what a user can act on in place of confluent-kafka's errors."""
    try:
        yield
    except KafkaException as error:
        raise kafka_error(kafka, error.args[0], complaints) from error
