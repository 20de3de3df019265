"""The ASGI middleware: watches requests go by and records the usage of each.

It stands beside the request, never in its way: chunks are sent on before they are looked at, the
caller is looked up after the answer is complete, and whatever fails here is logged and counted.
Put it inside of a compression (`GZipMiddleware`), whose bytes it cannot read.
"""

import asyncio
import inspect

import structlog
from pydantic import ValidationError

from usagepipe.producer.asgi import App, Message, Receive, Scope, Send
from usagepipe.producer.callers import Caller, Identify
from usagepipe.producer.counters import UnrecordedReason
from usagepipe.producer.events import event_of, has_tokens
from usagepipe.producer.exchanges import Exchange
from usagepipe.producer.extraction import Usage
from usagepipe.producer.faults import describe
from usagepipe.producer.recorder import Recorder
from usagepipe.producer.stamps import SCOPE_KEY, current_stamp

log = structlog.get_logger()


class UsageMiddleware:
    """Records one event for each HTTP request whose caller and usage are known.

    The event is recorded when the application is done with the request, its background tasks
    included, so those may stamp too. Websockets pass through. Mounted twice, the outer one counts.
    When the server shuts down (ASGI lifespan), what is queued is delivered first.

    `identify` tells who the caller is; it may be async, and runs after the answer is complete.
    `provider` is the name of whoever serves the models, for gateways that have one only; a stamp
    wins over it. `correlation_header` names the request's id, in the answer or else the request.
    """

    def __init__(
        self,
        app: App,
        *,
        recorder: Recorder,
        identify: Identify,
        provider: str = "",
        correlation_header: str = "x-correlation-id",
        max_body_kilobytes: int | None = None,
    ) -> None:
        self.app = app
        self._recorder = recorder
        self._identify = identify
        self._provider = provider
        self._correlation_header = correlation_header.lower().encode("latin-1")
        limit = recorder.settings.max_body_kilobytes
        self._max_body_bytes = (max_body_kilobytes or limit) * 1024

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._recorder.settings.enabled or SCOPE_KEY in scope:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._watch(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _watch(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, send, self._correlation_header, self._max_body_bytes)
        # Not in a copy: whoever is outside of us may wait for what the application puts there.
        scope[SCOPE_KEY] = exchange.stamp
        token = current_stamp.set(exchange.stamp)
        try:
            await self.app(scope, receive, exchange.send)
        except Exception:
            exchange.app_raised()
            raise
        finally:
            current_stamp.reset(token)
            await self._conclude(exchange, scope)

    async def _conclude(self, exchange: Exchange, scope: Scope) -> None:
        """Record the request, or count why it is not recorded."""
        try:
            reason = await self._record(exchange, scope)
        except ValidationError as error:
            fields = sorted({str(problem["loc"][0]) for problem in error.errors()})
            self._leave_out(exchange.endpoint, "invalid", ", ".join(fields))
        except Exception as error:
            self._leave_out(exchange.endpoint, "record_failed", describe(error))
        except BaseException:
            self._leave_out(exchange.endpoint, "cancelled", "")
            raise
        else:
            if reason is not None:
                self._recorder.counters.leave_out(exchange.endpoint, reason)

    async def _record(self, exchange: Exchange, scope: Scope) -> UnrecordedReason | None:
        usage: Usage | None = None
        if not has_tokens(exchange.stamp):
            found = exchange.usage()
            if not isinstance(found, Usage):
                return "failed" if exchange.failed else found
            usage = found
        try:
            caller = await self._caller(scope)
        except Exception as error:
            self._leave_out(exchange.endpoint, "identify_failed", describe(error))
            return None
        if caller is None or not caller.user_id:
            return "no_user"
        course = exchange.course()
        self._recorder.record(event_of(course, caller, exchange.stamp, usage, self._provider))
        return None

    async def _caller(self, scope: Scope) -> Caller | None:
        caller = self._identify(scope)
        return await caller if inspect.isawaitable(caller) else caller

    def _leave_out(self, endpoint: str, reason: UnrecordedReason, detail: str) -> None:
        if self._recorder.counters.leave_out(endpoint, reason):
            log.error("usage_unrecorded", endpoint=endpoint[:100], reason=reason, detail=detail)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_after_stop(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await self._stop()
            await send(message)

        self._recorder.start()
        await self.app(scope, receive, send_after_stop)

    async def _stop(self) -> None:
        """Deliver what is queued, in a thread: the server may still be answering requests."""
        try:
            left = await asyncio.to_thread(self._recorder.stop)
        except Exception as error:
            log.error("shutdown_flush_failed", error=describe(error))
        else:
            if left:
                log.warning("usage_events_undelivered", events=left)
