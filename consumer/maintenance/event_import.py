"""Sends the events of an export that the tables do not have to the topic of events.

Workers store them like any others, so whatever holds for events holds for these. Two runs need
nothing in common: what one has sent, the next finds stored, or sends again, and the worker drops
the copy by its `event_id`. The same event has the same key here as from the recorder, and so the
same partition: its copies are never stored side by side.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final, Self

from confluent_kafka import Message

from usagepipe.consumer.clickhouse.stored import StoredRows
from usagepipe.consumer.maintenance.reconcile import ANY_AGE
from usagepipe.consumer.rollups.raw_retention import raw_complete_from
from usagepipe.consumer.topics.log_writer import LogWriter
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.codec import encode, record_key
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.settings import StorageSettings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

STATEMENT_SECONDS: Final = 300.0
BATCH_EVENTS: Final = 10_000  # that are looked up at once


class EventImport:
    """Imports into one topic and the tables behind it. Use it in one thread and close it.

    `added` counts the events that Kafka has acknowledged, `skipped` those that are stored already,
    `raw_expired` those that may have been stored and have left raw since: the rollups may hold
    them, so they are left out. `refused` are those that Kafka does not take, with `refusal` why.
    """

    def __init__(self, settings: StorageSettings, *, keep_numbers: bool) -> None:
        """Blocks. `keep_numbers` leaves each event the number that its producer gave it.

        An audit takes a number that is not there for an event that was lost before Kafka. That is
        right where all of a producer's events belong, in the installation that recorded them; in
        another one they come without numbers, as those of a producer that does not count.

        Raises:
            MissingTopicError: there is no such topic.
            ServerUnavailableError: no broker answered.
        """
        self.added = self.skipped = self.raw_expired = self.refused = 0
        self.refusal = ""
        self._address = settings.clickhouse_address
        self._keep_numbers = keep_numbers
        self._stored = StoredRows(self._address, STATEMENT_SECONDS)
        self._client: Client | None = None
        self._log = LogWriter(settings, settings.topic)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._stored.close()
        if self._client is not None:
            self._client.close()

    @property
    def unconfirmed(self) -> int:
        """How many were sent and neither acknowledged nor refused: they may be there or not."""
        return self._log.unconfirmed

    def run(self, events: Iterable[UsageEvent], stopped: Callable[[], bool]) -> None:
        """Import `events` until all are or `stopped()`; those begun are finished either way.

        Raises:
            ServerUnavailableError: Kafka went away; see `unconfirmed`.
            UsagePipeError: Kafka refused for a reason that holds for all of them.
            clickhouse_connect's Error: ClickHouse went away, or refused.
        """
        for batch in _batches(events):
            if stopped():
                break
            for event in self._lacking(batch):
                self._send(event)
        self._log.drain()

    def _lacking(self, batch: list[UsageEvent]) -> list[UsageEvent]:
        """Those of `batch` that the tables neither have nor may have had."""
        copies = self._stored.copies([str(event.event_id) for event in batch], ANY_AGE)
        stored = {copy.event_id for copy in copies}
        absent = [event for event in batch if str(event.event_id) not in stored]
        self.skipped += len(batch) - len(absent)
        if not absent:
            return []
        # Asked after their rows were looked for: retention goes on meanwhile.
        whole_from = raw_complete_from(self._connected())
        if whole_from is None:
            return absent
        lacking = [event for event in absent if event.occurred_at >= whole_from]
        self.raw_expired += len(absent) - len(lacking)
        return lacking

    def _send(self, event: UsageEvent) -> None:
        if not self._keep_numbers:
            event = event.model_copy(update={"sequence": None})
        self._log.put(record_key(event), encode(event), self._settled)

    def _settled(self, refusal: str | None, message: Message | None) -> None:
        if refusal is None:
            self.added += 1
        else:
            self.refused += 1
            self.refusal = refusal

    def _connected(self) -> "Client":
        if self._client is None:
            self._client = connect(
                self._address, connect_timeout=5, send_receive_timeout=STATEMENT_SECONDS
            )
        return self._client


def _batches(events: Iterable[UsageEvent]) -> Iterator[list[UsageEvent]]:
    waiting = iter(events)
    while batch := list(islice(waiting, BATCH_EVENTS)):
        yield batch
