"""Sends events of an export to the topic of events, unless the tables have them already.

Workers store them like all events. Runs share no state: an event that one run has sent is found in
the table by the next, or sent again, and the worker skips the duplicate by its `event_id`. The
record key is the one of the recorder, so both copies are in the same partition and no two workers
store them at once.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from confluent_kafka import Message

from usagepipe.consumer.clickhouse.lazy_client import LazyClient
from usagepipe.consumer.clickhouse.stored import StoredRows
from usagepipe.consumer.maintenance.consumed_topic import STATEMENT_SECONDS
from usagepipe.consumer.maintenance.row_repair import ANY_AGE
from usagepipe.consumer.rollups.raw_retention import raw_complete_from
from usagepipe.consumer.topics.log_writer import LogWriter
from usagepipe.schemas.codec import encode, record_key
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.settings import StorageSettings

BATCH_EVENTS: Final = 10_000  # events of one look-up


class EventImport:
    """Imports into one topic. Use it in one thread and close it.

    Counts events: `added` were acknowledged by Kafka, `skipped` are stored already. `raw_expired`
    may have been stored, with rows that have expired since; the rollups may still count them, so
    they are not imported. `refused` were refused by Kafka; `refusal` is the last reason.
    """

    def __init__(self, settings: StorageSettings, *, keep_numbers: bool) -> None:
        """Blocks. `keep_numbers` keeps the sequence number that the producer gave an event.

        An audit reports a missing number as an event that was lost before Kafka. That is right in
        the installation that recorded the events. Another installation has only some of them, so
        there they are imported without numbers.

        Raises:
            MissingTopicError: there is no such topic.
            ServerUnavailableError: no broker answered.
        """
        self.added = self.skipped = self.raw_expired = self.refused = 0
        self.refusal = ""
        self._keep_numbers = keep_numbers
        self._stored = StoredRows(settings.clickhouse_address, STATEMENT_SECONDS)
        self._client = LazyClient(settings.clickhouse_address, STATEMENT_SECONDS)
        self._log = LogWriter(settings, settings.topic)

    def close(self) -> None:
        self._stored.close()
        self._client.close()

    @property
    def unconfirmed(self) -> int:
        """Events that were sent and neither acknowledged nor refused: they may have arrived."""
        return self._log.unconfirmed

    def run(self, events: Iterable[UsageEvent], stopped: Callable[[], bool]) -> None:
        """Import `events` until the end or until `stopped()`; waits for what was sent.

        Raises:
            ServerUnavailableError: Kafka became unreachable; see `unconfirmed`.
            UsagePipeError: Kafka refused for a reason that applies to all events.
            clickhouse_connect's Error: ClickHouse became unreachable, or refused.
        """
        waiting = iter(events)
        while (batch := list(islice(waiting, BATCH_EVENTS))) and not stopped():
            for event in self._missing(batch):
                self._send(event)
        self._log.drain()

    def _missing(self, batch: list[UsageEvent]) -> list[UsageEvent]:
        """The events of `batch` that the tables do not have and cannot have had."""
        copies = self._stored.events([str(event.event_id) for event in batch], ANY_AGE)
        stored = {copy.event_id for copy in copies}
        absent = [event for event in batch if str(event.event_id) not in stored]
        self.skipped += len(batch) - len(absent)
        if not absent:
            return []
        # After the look-up, because rows expire meanwhile.
        complete_from = raw_complete_from(self._client.get())
        if complete_from is None:
            return absent
        missing = [event for event in absent if event.occurred_at >= complete_from]
        self.raw_expired += len(absent) - len(missing)
        return missing

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
