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
from usagepipe.producer.reading.usage import Usage
from usagepipe.producer.telemetry.counters import UnrecordedReason
from usagepipe.producer.watching.callers import Caller, Found, at_once
from usagepipe.producer.watching.events import event_of, has_tokens, has_usage, wrong_fields
from usagepipe.producer.watching.parts import parts_of
from usagepipe.producer.watching.request_facts import facts_of
from usagepipe.producer.watching.selection import Paths, Selection
from usagepipe.producer.watching.trace_context import TRACEPARENT, trace_of
from usagepipe.producer.watching.watched_request import Headers, TimedWatchedRequest, WatchedRequest
from usagepipe.schemas.event import UsageEvent

SERVER_ERROR = 500  # the server's answer for an application that raises or never answers


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
    """Begins to watch requests, and records each when it is over.

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
        self._watched_request = TimedWatchedRequest if settings.metrics else WatchedRequest
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
        unanswered: int = SERVER_ERROR,
    ) -> WatchedRequest | None:
        """A new request to be watched; None if it is not selected. `below_root` is its path below
        the application's root path, if there is one. `unanswered` is its status if it ends without
        an answer."""
        if not self._selection.watches(method, path, below_root):
            return None
        return self._watched_request(
            method, path, request_header, self._max_bytes, self._provider, unanswered
        )

    def finish(self, watched: WatchedRequest, request: Any) -> Coroutine[Any, Any, None] | None:
        """Record the request, or count why it is not recorded. Never raises.

        Returns:
            What the caller has to await, if `identify` is async.
        """
        if not self._is_timed:
            return self._finish(watched, request)
        began = time.perf_counter()
        try:
            return self._finish(watched, request)
        finally:
            self._recorder.counters.meter.added(watched.seconds + time.perf_counter() - began)

    def deferred(self, watched: WatchedRequest, request: Any) -> Callable[[], object] | None:
        """A function that records a call to a provider. It is called if the request that the call
        was made for has no tokens itself. None: the call has no tokens either.

        Never raises. It keeps no reference to the call's request, which may be large. `identify`
        cannot be async here.
        """
        usage = watched.usage()
        if not isinstance(usage, Usage):
            return None
        finding = Finding(usage)
        try:
            events = self._events(watched, finding, at_once(self._identify)(request))
        except Exception as error:
            return partial(self._leave_out, watched, "identify_failed", describe(error))
        if not events:
            return partial(self._count, watched, finding, "no_user")
        return partial(self._record_all, events)

    def _finish(self, watched: WatchedRequest, request: Any) -> Coroutine[Any, Any, None] | None:
        watched.stamp.over = True
        stage: UnrecordedReason = "record_failed"
        try:
            finding = self._finding(watched)
            if finding is None:
                return None
            stage = "identify_failed"
            caller = self._identify(request)
            # A look at the type spares the usual request a slower one at its methods.
            if not isinstance(caller, Caller) and inspect.isawaitable(caller):
                return self._finish_later(watched, finding, caller)
            stage = "record_failed"
            self._record(watched, finding, caller)
        except Exception as error:
            self._leave_out(watched, stage, describe(error))
        return None

    async def _finish_later(
        self, watched: WatchedRequest, finding: Finding, pending: Awaitable[Caller | None]
    ) -> None:
        stage: UnrecordedReason = "identify_failed"
        try:
            caller = await pending
            stage = "record_failed"
            self._record(watched, finding, caller)
        except Exception as error:
            self._leave_out(watched, stage, describe(error))
        except BaseException:
            self._leave_out(watched, "cancelled", "")
            raise

    def _finding(self, watched: WatchedRequest) -> Finding | None:
        """None: the request is no event. It is counted, or the calls that it made are recorded."""
        found, stamp = watched.usage(), watched.stamp
        stamp.has_usage = isinstance(found, Usage) or has_usage(stamp)
        if isinstance(found, Usage):
            return Finding(found)
        if stamp.has_usage:
            return Finding()
        if stamp.record_calls():
            return None
        finding = Finding(reason=_reason(watched, found))
        if self._selection.keeps(watched):
            return finding
        self._count(watched, finding)
        return None

    def _record(self, watched: WatchedRequest, finding: Finding, caller: Caller | None) -> None:
        if caller is not None and not isinstance(caller, Caller):
            detail = f"identify returned {type(caller).__name__}, neither Caller nor None"
            self._leave_out(watched, "identify_failed", detail)
            return
        try:
            events = self._events(watched, finding, caller)
        except ValidationError as error:
            self._leave_out(watched, "invalid", wrong_fields(error))
            return
        if not events:
            self._count(watched, finding, "no_user")
            return
        self._record_all(events)
        self._count(watched, finding)

    def _record_all(self, events: list[UsageEvent]) -> None:
        for event in events:
            self._recorder.record(event)

    def _events(
        self, watched: WatchedRequest, finding: Finding, caller: Caller | None
    ) -> list[UsageEvent]:
        """The request, then the calls inside its answer. None at all: the caller is unknown."""
        if caller is None or not caller.user_id:
            return []
        usage, stamp = finding.usage, watched.stamp
        event = event_of(
            facts_of(watched, self._correlation_header, self._attempt_header),
            caller,
            stamp,
            usage,
            complete=watched.complete,
            trace=trace_of(watched.request_header(TRACEPARENT)),
        )
        # A stamp's tokens replace all of the answer's.
        return [event] if usage is None or has_tokens(stamp) else [event, *parts_of(event, usage)]

    def _count(
        self, watched: WatchedRequest, finding: Finding, otherwise: UnrecordedReason | None = None
    ) -> None:
        """Count why no token was recorded, if none was."""
        reason = finding.reason or otherwise
        if reason == "record_failed":
            self._leave_out(watched, reason, watched.fault)
        elif reason is not None:
            self._recorder.counters.leave_out(watched.endpoint, reason)

    def _leave_out(self, watched: WatchedRequest, reason: UnrecordedReason, detail: str) -> None:
        endpoint = watched.endpoint
        if self._recorder.counters.leave_out(endpoint, reason):
            log.error("usage_unrecorded", endpoint=endpoint[:100], reason=reason, detail=detail)


def _reason(watched: WatchedRequest, found: UnrecordedReason) -> UnrecordedReason:
    """The cause that lies deepest: nothing can be read of an answer that never came."""
    if found == "record_failed":
        return found
    if watched.cancelled:
        return "cancelled"
    return "failed" if watched.failed else found
