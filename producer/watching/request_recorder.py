"""Records a watched request as an event, or counts why not, or both.

All middlewares and transports share it. An event needs a caller. Whether it needs tokens too is
decided by the setting `record`. A request is counted at most once. Nothing here raises.
"""

import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple, TypedDict

from pydantic import ValidationError

from usagepipe.producer.delivery.recorder import Recorder
from usagepipe.producer.process.safe_log import describe, log
from usagepipe.producer.reading.extraction import Usage
from usagepipe.producer.telemetry.counters import UnrecordedReason
from usagepipe.producer.watching.callers import Caller, Found, at_once
from usagepipe.producer.watching.courses import course_of
from usagepipe.producer.watching.events import event_of, has_tokens, wrong_fields
from usagepipe.producer.watching.exchanges import Exchange, Headers, TimedExchange
from usagepipe.producer.watching.selection import Paths, Selection
from usagepipe.schemas.event import UsageEvent


class WatchOptions(TypedDict, total=False):
    """The options of every middleware and transport."""

    provider: str  # who serves the models, if there is only one provider; a stamp overrides it
    correlation_header: str  # has the request's id, in the answer or else in the request
    attempt_header: str  # has the number of retries; OpenAI's and Anthropic's clients send it
    max_body_kilobytes: int  # overrides the setting
    paths: Paths  # only these are watched: prefixes, or a function of method and path
    skip: Paths  # except these


class Finding(NamedTuple):
    """The usage in an answer, or why there is none. Neither if a stamp has the tokens."""

    usage: Usage | None = None
    reason: UnrecordedReason | None = None


class RequestRecorder:
    """Begins an exchange for each watched request, and records it when the request is over.

    `identify` gets the `request` that is given to `finish`. It may be async only if the caller of
    `finish` can await.
    """

    def __init__(
        self,
        recorder: Recorder,
        identify: Callable[[Any], Found],
        *,
        provider: str = "",
        correlation_header: str = "x-correlation-id",
        attempt_header: str = "x-stainless-retry-count",
        max_body_kilobytes: int | None = None,
        paths: Paths | None = None,
        skip: Paths = (),
    ) -> None:
        settings = recorder.settings
        self.enabled = settings.enabled
        self._is_timed = settings.metrics
        self._exchange = TimedExchange if settings.metrics else Exchange
        self._recorder = recorder
        self._identify = identify
        self._provider = provider
        self._correlation_header = correlation_header.lower()
        self._attempt_header = attempt_header.lower()
        self._max_bytes = (max_body_kilobytes or settings.max_body_kilobytes) * 1024
        self._selection = Selection(paths, skip, settings.recorded_kinds)

    def begin(
        self,
        method: str,
        path: str,
        request_header: Headers,
        *,
        below_root: str = "",
        **options: int,
    ) -> Exchange | None:
        """The exchange of a new request; None if it is not watched. `below_root` is its path below
        the application's root path, if there is one."""
        if not self._selection.watches(method, path, below_root):
            return None
        options.setdefault("max_bytes", self._max_bytes)
        return self._exchange(method, path, request_header, provider=self._provider, **options)

    def finish(self, exchange: Exchange, request: Any) -> Coroutine[Any, Any, None] | None:
        """Record the request, or count why it is not recorded. Never raises.

        Returns:
            What the caller has to await, if `identify` is async.
        """
        if not self._is_timed:
            return self._finish(exchange, request)
        began = time.perf_counter()
        try:
            return self._finish(exchange, request)
        finally:
            self._recorder.counters.add_seconds(exchange.seconds + time.perf_counter() - began)

    def deferred(self, exchange: Exchange, request: Any) -> Callable[[], object] | None:
        """A function that records a call to a provider. It is called if the request that the call
        was made for has no tokens itself. None: the call has no tokens either.

        Never raises. It keeps no reference to the call's request, which may be large. `identify`
        cannot be async here.
        """
        usage = exchange.usage()
        if not isinstance(usage, Usage):
            return None
        finding = Finding(usage)
        try:
            event = self._event(exchange, finding, at_once(self._identify)(request))
        except Exception as error:
            return partial(self._leave_out, exchange, "identify_failed", describe(error))
        if event is None:
            return partial(self._count, exchange, finding, "no_user")
        return partial(self._recorder.record, event)

    def _finish(self, exchange: Exchange, request: Any) -> Coroutine[Any, Any, None] | None:
        exchange.stamp.over = True
        stage: UnrecordedReason = "record_failed"
        try:
            finding = self._finding(exchange)
            if finding is None:
                return None
            stage = "identify_failed"
            caller = self._identify(request)
            # A look at the type spares the usual request a slower one at its methods.
            if not isinstance(caller, Caller) and inspect.isawaitable(caller):
                return self._finish_later(exchange, finding, caller)
            stage = "record_failed"
            self._record(exchange, finding, caller)
        except Exception as error:
            self._leave_out(exchange, stage, describe(error))
        return None

    async def _finish_later(
        self, exchange: Exchange, finding: Finding, pending: Awaitable[Caller | None]
    ) -> None:
        stage: UnrecordedReason = "identify_failed"
        try:
            caller = await pending
            stage = "record_failed"
            self._record(exchange, finding, caller)
        except Exception as error:
            self._leave_out(exchange, stage, describe(error))
        except BaseException:
            self._leave_out(exchange, "cancelled", "")
            raise

    def _finding(self, exchange: Exchange) -> Finding | None:
        """None: the request is no event. It is counted, or the calls that it made are recorded."""
        found, stamp = exchange.usage(), exchange.stamp
        stamp.has_usage = isinstance(found, Usage) or has_tokens(stamp)
        if isinstance(found, Usage):
            return Finding(found)
        if stamp.has_usage:
            return Finding()
        if stamp.record_calls():
            return None
        finding = Finding(reason=_reason(exchange, found))
        if self._selection.keeps(exchange):
            return finding
        self._count(exchange, finding)
        return None

    def _record(self, exchange: Exchange, finding: Finding, caller: Caller | None) -> None:
        if caller is not None and not isinstance(caller, Caller):
            detail = f"identify returned {type(caller).__name__}, neither Caller nor None"
            self._leave_out(exchange, "identify_failed", detail)
            return
        try:
            event = self._event(exchange, finding, caller)
        except ValidationError as error:
            self._leave_out(exchange, "invalid", wrong_fields(error))
            return
        if event is None:
            self._count(exchange, finding, "no_user")
            return
        self._recorder.record(event)
        self._count(exchange, finding)

    def _event(
        self, exchange: Exchange, finding: Finding, caller: Caller | None
    ) -> UsageEvent | None:
        """None: nobody is known."""
        if caller is None or not caller.user_id:
            return None
        course = course_of(exchange, self._correlation_header, self._attempt_header)
        return event_of(course, caller, exchange.stamp, finding.usage, exchange.provider)

    def _count(
        self, exchange: Exchange, finding: Finding, otherwise: UnrecordedReason | None = None
    ) -> None:
        """Count why no token was recorded, if none was."""
        reason = finding.reason or otherwise
        if reason == "record_failed":
            self._leave_out(exchange, reason, exchange.fault)
        elif reason is not None:
            self._recorder.counters.leave_out(exchange.endpoint, reason)

    def _leave_out(self, exchange: Exchange, reason: UnrecordedReason, detail: str) -> None:
        endpoint = exchange.endpoint
        if self._recorder.counters.leave_out(endpoint, reason):
            log.error("usage_unrecorded", endpoint=endpoint[:100], reason=reason, detail=detail)


def _reason(exchange: Exchange, found: UnrecordedReason) -> UnrecordedReason:
    """The cause that lies deepest: nothing can be read of an answer that never came."""
    if found == "record_failed":
        return found
    if exchange.cancelled:
        return "cancelled"
    return "failed" if exchange.failed else found
