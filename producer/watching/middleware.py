"""The ASGI middleware: watches requests go by and records the usage of each.

It stands beside the request, never in its way: chunks are sent on before they are looked at, the
caller is looked up after the answer is complete, and whatever fails here is logged and counted.
Put it inside of a compression (`GZipMiddleware`), whose bytes it cannot read.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Unpack

from usagepipe.producer.delivery.recorder import Recorder
from usagepipe.producer.process.safe_log import describe, log
from usagepipe.producer.watching.asgi import App, Message, Receive, Scope, Send
from usagepipe.producer.watching.callers import Identify
from usagepipe.producer.watching.conclusions import Conclusions, WatchOptions
from usagepipe.producer.watching.exchanges import Exchange
from usagepipe.producer.watching.passages import Passage
from usagepipe.producer.watching.requests import RequestHeaders, method_of, paths_of
from usagepipe.producer.watching.stamps import SCOPE_KEY, current_stamp, stamp_of


class UsageMiddleware:
    """Records one event for each request to a model whose caller is known.

    A request with tokens always is one; without, where the setting `record` says so and it looks
    like one to a model (see `Selection.keeps`): failed ones and those that the client did not wait
    for are events too. The event is recorded when the application is done with the request, its
    background tasks included, so those may stamp too. Websockets pass through. Mounted twice, the
    outer one counts. When the server shuts down (ASGI lifespan), what is queued is delivered first.

    `identify` tells who the caller is; it may be async, and runs after the answer is complete.
    `WatchOptions` has the options.
    """

    def __init__(
        self,
        app: App,
        *,
        recorder: Recorder,
        identify: Identify,
        **options: Unpack[WatchOptions],
    ) -> None:
        self.app = app
        self._recorder = recorder
        self._conclusions = Conclusions(recorder, identify, **options)
        self._pending: dict[asyncio.Task[None], float] = {}  # when each has had its time

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if not self._conclusions.enabled or stamp_of(scope) is not None:
            await self.app(scope, receive, send)
        elif kind == "lifespan":
            await self._live(scope, receive, send)
        elif kind == "http" and (exchange := self._open(scope)) is not None:
            await self._watch(exchange, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _open(self, scope: Scope) -> Exchange | None:
        path, below_root = paths_of(scope)
        headers = RequestHeaders(scope)
        return self._conclusions.open(method_of(scope), path, headers, below_root=below_root)

    async def _watch(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        passage = Passage(exchange, receive, send)
        # Not in a copy: whoever is outside of us may wait for what the application puts there.
        scope[SCOPE_KEY] = exchange.stamp
        token = current_stamp.set(exchange.stamp)
        try:
            await self.app(scope, passage.receive, passage.send)
        except BaseException as error:
            exchange.broke_off(error)
            raise
        finally:
            current_stamp.reset(token)
            pending = self._conclusions.conclude(exchange, scope)
            if pending is not None:
                await self._see_through(pending)

    async def _see_through(self, pending: Coroutine[Any, Any, None]) -> None:
        """Await an async `identify` in a task of its own: a cancelled request may await nothing
        more, and its tokens shall be counted all the same. One that hangs holds its request, and so
        the server's end, no longer than the recorder may take to close."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # trio's: it has no tasks that outlive their request
            await pending
            return
        task = loop.create_task(pending)
        seconds = self._recorder.settings.close_seconds
        self._pending[task] = loop.time() + seconds
        task.add_done_callback(self._pending.pop)
        await asyncio.wait({task}, timeout=seconds)

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
            if self._pending:
                left = max(self._pending.values()) - asyncio.get_running_loop().time()
                await asyncio.wait(tuple(self._pending), timeout=max(0.0, left))
            for task in tuple(self._pending):
                task.cancel()
            await asyncio.to_thread(self._recorder.stop)
        except Exception as error:
            log.error("shutdown_flush_failed", error=describe(error))
