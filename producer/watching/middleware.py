"""The ASGI middleware: watches requests and records the usage of each.

It never delays a request: chunks are forwarded before they are looked at, and the caller is looked
up after the answer is complete. Failures in here are logged and counted. Put it inside any
compression (`GZipMiddleware`), whose bytes it cannot read.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Unpack

from usagepipe.producer.delivery.recorder import Recorder
from usagepipe.producer.process.safe_log import describe, log
from usagepipe.producer.watching.asgi import App, Message, Receive, Scope, Send
from usagepipe.producer.watching.callers import Identify
from usagepipe.producer.watching.request_recorder import RequestRecorder, WatchOptions
from usagepipe.producer.watching.requests import RequestHeaders, method_of, paths_of
from usagepipe.producer.watching.response_watcher import ResponseWatcher
from usagepipe.producer.watching.stamps import SCOPE_KEY, current_stamp, stamp_of
from usagepipe.producer.watching.watched_request import WatchedRequest


class UsageMiddleware:
    """Records one event for each request to a model whose caller is known.

    A request with tokens is always an event. One without tokens is an event if the setting `record`
    asks for it and if it looks like a request to a model (see `Selection.keeps`): failed requests
    and those that the client abandoned are events too. The event is recorded when the application
    is done with the request, including its background tasks, so those may stamp too. Websockets are
    not watched. If it is mounted twice, the outer one counts. When the server shuts down (ASGI
    lifespan), queued events are delivered first.

    `identify` returns the caller. It may be async, and runs after the answer is complete.
    `WatchOptions` has the options.
    """

    def __init__(
        self, app: App, *, recorder: Recorder, identify: Identify, **options: Unpack[WatchOptions]
    ) -> None:
        self.app = app
        self._recorder = recorder
        self._requests = RequestRecorder(recorder, identify, **options)
        self._pending: dict[asyncio.Task[None], float] = {}  # and until when to wait for each

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if not self._requests.enabled or stamp_of(scope) is not None:
            await self.app(scope, receive, send)
        elif kind == "lifespan":
            await self._live(scope, receive, send)
        elif kind == "http" and (watched := self._open(scope)) is not None:
            await self._watch(watched, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _open(self, scope: Scope) -> WatchedRequest | None:
        path, below_root = paths_of(scope)
        headers = RequestHeaders(scope)
        return self._requests.begin(method_of(scope), path, headers, below_root=below_root)

    async def _watch(
        self, watched: WatchedRequest, scope: Scope, receive: Receive, send: Send
    ) -> None:
        watcher = ResponseWatcher(watched, receive, send)
        # Not a copy: middlewares around us may wait for what the application puts there.
        scope[SCOPE_KEY] = watched.stamp
        token = current_stamp.set(watched.stamp)
        try:
            await self.app(scope, watcher.receive, watcher.send)
        except BaseException as error:
            watched.raised(error)
            raise
        finally:
            current_stamp.reset(token)
            pending = self._requests.finish(watched, scope)
            if pending is not None:
                await self._see_through(pending)

    async def _see_through(self, pending: Coroutine[Any, Any, None]) -> None:
        """Await an async `identify` in a task of its own: a cancelled request cannot await, and its
        tokens must be counted all the same. If it hangs, it delays the request, and so the server's
        shutdown, no longer than `close_seconds`."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # trio: tasks cannot outlive their request
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
        """Deliver queued events, in a thread: the server may still be answering requests."""
        try:
            if self._pending:
                left = max(self._pending.values()) - asyncio.get_running_loop().time()
                await asyncio.wait(tuple(self._pending), timeout=max(0.0, left))
            for task in tuple(self._pending):
                task.cancel()
            await asyncio.to_thread(self._recorder.stop)
        except Exception as error:
            log.error("shutdown_flush_failed", error=describe(error))
