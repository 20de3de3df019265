"""The recorder: accepts events from any thread at once and delivers them to Kafka.

It may be made before a fork (gunicorn's preload). Each process makes its own outbox with its first
event. So a child shares nothing with its parent, not even a spill file, and no event is sent twice.
"""

import atexit
import os
import sys
from typing import Protocol, Self

from usagepipe.producer.delivery.outbox import Outbox, meter_of
from usagepipe.producer.process.safe_log import describe, log
from usagepipe.producer.process.sigterm import call_on_sigterm, forget_on_sigterm
from usagepipe.producer.telemetry.counters import Counters, CountersSnapshot
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.logger import set_level
from usagepipe.schemas.settings import ProducerSettings


class Recorder(Protocol):
    """The part of a recorder that the middlewares use."""

    @property
    def settings(self) -> ProducerSettings: ...
    @property
    def counters(self) -> Counters: ...
    def record(self, event: UsageEvent) -> bool: ...
    def start(self) -> None: ...
    def stop(self) -> int: ...


class UsageRecorder:
    """Records usage events. The constructor opens no connection and starts no thread.

    Takes `ProducerSettings`, or their fields as keyword options, which override the environment:
    `UsageRecorder(kafka="kafka:9092", topic="usage.events.v1")`. Close it, or use it in a `with`;
    the end of the interpreter and SIGTERM close it too.

    Raises:
        SettingsError: options or environment are wrong. It names every wrong field.
        MissingExtraError: the setting `metrics` needs prometheus-client.
    """

    def __init__(self, settings: ProducerSettings | None = None, **options: object) -> None:
        if settings is not None and options:
            raise TypeError(f"give settings or options, not both: {', '.join(sorted(options))}")
        self.settings = settings or ProducerSettings.load(**options)
        if "log_level" in self.settings.model_fields_set:
            set_level(self.settings.log_level)
        meter_of(self.settings)  # fail now if prometheus-client is missing
        # By process id. `setdefault` is the lock: it is atomic, and a fork cannot leave it locked.
        self._outboxes: dict[int, Outbox] = {}
        self._closed = False
        if self.settings.enabled:
            atexit.register(self.close)
            call_on_sigterm(self, self.close)

    def record(self, event: UsageEvent) -> bool:
        """Queue `event` for Kafka. It gets this producer's id and the next number.

        Never blocks, does no I/O and never raises. A thread encodes and sends the event, over the
        disk while Kafka is unreachable. A signal handler may call it, except with the setting
        `metrics`: prometheus-client's locks are not reentrant.

        Returns:
            Whether the event was accepted. False: it was dropped and counted, or the recorder is
            not enabled. Later failures (it cannot be encoded, Kafka refuses it) are counted.
        """
        if not self.settings.enabled:
            return False
        try:
            return self._outbox().put(event)
        except Exception as error:  # no case is known, but a request must not fail
            log.error("record_failed", error=describe(error))
            return False

    def start(self) -> None:
        """Connect now, not with the first event. Optional. Never raises."""
        if self.settings.enabled:
            self._outbox().start()

    def flush(self, timeout: float | None = None) -> int:
        """Wait until Kafka has acknowledged all queued events, at most `timeout` seconds.

        Returns:
            How many events are left. `timeout` defaults to the setting `close_seconds`.
        """
        return self._outbox().flush(self.settings.close_seconds if timeout is None else timeout)

    def stop(self) -> int:
        """The application ends: wait as `flush` does. The recorder stays open for another start.

        If events are left, the next `stop`, or a `close` without a timeout, waits for a moment
        only, until `start` is called.

        Returns:
            How many events are left.
        """
        return self._outbox().stop(self.settings.close_seconds)

    def close(self, timeout: float | None = None) -> int:
        """Deliver queued events, for at most `timeout` seconds, and refuse new ones from now on.

        Idempotent. Undelivered events stay on disk for the next process. Those that do not fit
        there are counted as `delivery_failed`.

        Returns:
            How many events were given up. `timeout` defaults to the setting `close_seconds`.
        """
        self._closed = True
        outbox = self._outbox()
        patience = outbox.patience(self.settings.close_seconds)
        left = outbox.close(patience if timeout is None else timeout)
        atexit.unregister(self.close)
        forget_on_sigterm(self)
        return left

    @property
    def counters(self) -> Counters:
        """The counters of this process."""
        return self._outbox().counters

    def snapshot(self) -> CountersSnapshot:
        """The numbers of this process now. A forked process starts from 0."""
        return self._outbox().snapshot()

    @property
    def producer_id(self) -> str:
        """The id of this process in its events."""
        return self._outbox().producer_id

    def _outbox(self) -> Outbox:
        pid = os.getpid()
        outbox = self._outboxes.get(pid)
        if outbox is None:
            fresh = Outbox(self.settings, closed=self._closed)
            outbox = self._outboxes.setdefault(pid, fresh)
            self._close_at_end_of_multiprocessing()
        return outbox

    def _close_at_end_of_multiprocessing(self) -> None:
        """A forked child of `multiprocessing` runs its finalizers at the end, but not `atexit`."""
        process = sys.modules.get("multiprocessing.process")  # None: not such a child
        if process is not None and process.parent_process() is not None:
            from multiprocessing.util import Finalize

            Finalize(None, self.close, exitpriority=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
