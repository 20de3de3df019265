"""The recorder: takes events from any thread, at once, and gets them to Kafka.

It may be made before a fork (gunicorn's preload): each process that uses it has an outbox of its
own, made with its first event, so nothing is shared with the parent, no file of the spill either,
and nothing is sent twice.
"""

import atexit
import os
import sys
from types import TracebackType
from typing import Protocol, Self

from usagepipe.producer.delivery.outbox import Outbox
from usagepipe.producer.process.safe_log import describe, log
from usagepipe.producer.process.sigterm import call_on_sigterm, forget_on_sigterm
from usagepipe.producer.telemetry.counters import Counters, CountersSnapshot
from usagepipe.producer.telemetry.meters import meter_of
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.logger import set_level
from usagepipe.schemas.settings import ProducerSettings


class Recorder(Protocol):
    """What `UsageMiddleware` needs of a recorder."""

    @property
    def settings(self) -> ProducerSettings: ...
    @property
    def counters(self) -> Counters: ...
    def record(self, event: UsageEvent) -> bool: ...
    def start(self) -> None: ...
    def stop(self) -> int: ...


class UsageRecorder:
    """Records usage events. Making one does nothing yet: no connection, no thread.

    Takes `ProducerSettings`, or their fields as keyword options over the environment:
    `UsageRecorder(kafka="kafka:9092", topic="usage.events.v1")`. Close it, or use it in a `with`;
    the end of the interpreter and SIGTERM close it too.

    Raises:
        SettingsError: options or environment are wrong; it names every field.
        MissingExtraError: the setting `metrics` needs prometheus-client.
    """

    def __init__(self, settings: ProducerSettings | None = None, **options: object) -> None:
        if settings is not None and options:
            raise TypeError(f"give settings or options, not both: {', '.join(sorted(options))}")
        self.settings = settings or ProducerSettings.load(**options)
        if "log_level" in self.settings.model_fields_set:
            set_level(self.settings.log_level)
        meter_of(self.settings)  # what is not installed is told now, not with the first event
        # By process id. `setdefault` is the lock: it is atomic, and a fork cannot leave it locked.
        self._outboxes: dict[int, Outbox] = {}
        self._closed = False
        if self.settings.enabled:
            atexit.register(self.close)
            call_on_sigterm(self, self.close)

    def record(self, event: UsageEvent) -> bool:
        """Take `event` for Kafka, with this producer's id and the event's number in it.

        Never blocks, does no I/O and never raises. A thread encodes and sends the event, by way of
        the disk while Kafka is away. It may be called in a signal's handler, but not with the
        setting `metrics`: prometheus-client's locks let no thread in twice.

        Returns:
            Whether the event was accepted. False: it was dropped and counted, or the recorder is
            not enabled. What turns out later (it cannot be encoded, Kafka refuses it) is counted.
        """
        if not self.settings.enabled:
            return False
        try:
            return self._outbox().put(event)
        except Exception as error:  # none is known of; the request must not be the one to find out
            log.error("record_failed", error=describe(error))
            return False

    def start(self) -> None:
        """Connect now rather than with the first event. Optional; raises nothing."""
        if self.settings.enabled:
            self._outbox().start()

    def flush(self, timeout: float | None = None) -> int:
        """Wait until Kafka has acknowledged all that is queued, `timeout` seconds at most.

        Returns:
            How many events are left. `timeout` is the setting `close_seconds` unless given.
        """
        return self._outbox().flush(self.settings.close_seconds if timeout is None else timeout)

    def stop(self) -> int:
        """The application ends: wait as `flush` does. It may start again, so events are taken on.

        Events that were waited for in vain are not waited for again: until `start`, another
        `stop` or a `close` without a timeout tries for a moment only.

        Returns:
            How many events are left.
        """
        return self._outbox().stop(self.settings.close_seconds)

    def close(self, timeout: float | None = None) -> int:
        """Deliver what is queued, for `timeout` seconds at most, and refuse events from now on.

        Idempotent. What could not be delivered stays on disk for the next process; what does not
        fit there is counted as `delivery_failed`.

        Returns:
            How many events were given up. `timeout` is the setting `close_seconds` unless given.
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
        """Where this process counts what is lost."""
        return self._outbox().counters

    def snapshot(self) -> CountersSnapshot:
        """The numbers of this process, at this moment. A forked process starts from 0."""
        return self._outbox().snapshot()

    @property
    def producer_id(self) -> str:
        """The name of this process in its events."""
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
        """A forked child of `multiprocessing` ends without `atexit`, but with its finalizers."""
        process = sys.modules.get("multiprocessing.process")  # not there: not its child
        if process is not None and process.parent_process() is not None:
            from multiprocessing.util import Finalize

            Finalize(None, self.close, exitpriority=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
