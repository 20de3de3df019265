"""A gateway that passes requests on to OpenAI and Anthropic, and their answers as they come.

    KEY_SECRET=change-me-and-keep-me USAGEPIPE_KAFKA=127.0.0.1:9092 \
        uvicorn --app-dir examples --factory provider_gateway:gateway

`examples/official_clients.py` asks through it. OPENAI_UPSTREAM and ANTHROPIC_UPSTREAM are where it
asks, if not at the providers. Clients send their own keys, which are passed on; in the events a
key is a fingerprint under KEY_SECRET: keep that the same for ever. A chat stream of OpenAI tells
its usage only to clients that set `stream_options.include_usage`; without, tokens are `missing`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from usagepipe.producer import UsageMiddleware, UsageRecorder, stamp_usage
from usagepipe.producer.delivery.recorder import Recorder
from usagepipe.producer.identify import api_key

OPENAI: Final = "https://api.openai.com"
ANTHROPIC: Final = "https://api.anthropic.com"
# Headers that belong to one connection (RFC 9110, section 7.6.1), of which there are two here; that
# each server writes itself; and cookies, which are between the gateway and its clients.
KEPT: Final = {
    *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding"),
    *(b"upgrade", b"host", b"date", b"server", b"cookie", b"set-cookie"),
}
ACCEPT_ENCODING: Final = b"accept-encoding"
PATIENCE: Final = httpx.Timeout(600, connect=10)  # seconds; models think long before they speak
Headers = list[tuple[bytes, bytes]]


def gateway(recorder: Recorder | None = None) -> Starlette:
    """The application. Settings are read here, not when the module is imported."""
    openai = Provider("openai", os.environ.get("OPENAI_UPSTREAM", OPENAI))
    anthropic = Provider("anthropic", os.environ.get("ANTHROPIC_UPSTREAM", ANTHROPIC))
    watching = Middleware(
        UsageMiddleware,
        recorder=recorder or UsageRecorder(),
        identify=api_key(secret=os.environ["KEY_SECRET"]),
        paths=("/v1",),
    )

    @asynccontextmanager
    async def connections(app: Starlette) -> AsyncIterator[None]:
        async with openai.client, anthropic.client:
            yield

    routes = [
        Route("/v1/chat/completions", openai, methods=["POST"]),
        Route("/v1/responses", openai, methods=["POST"]),
        Route("/v1/messages", anthropic, methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[watching], lifespan=connections)


class Provider:
    """The ASGI application that asks one provider what it is asked."""

    def __init__(self, name: str, url: str) -> None:
        self._name = name
        limits = httpx.Limits(max_connections=None)
        self.client = httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stamp_usage(provider=self._name)
        try:
            answer = await self.client.send(self._passed_on(Request(scope, receive)), stream=True)
        except httpx.TransportError as error:
            problem = {"message": f"{self._name}: {type(error).__name__}", "type": "upstream_error"}
            await JSONResponse({"error": problem}, 502)(scope, receive, send)
            return
        # Closed when the client leaves, too: what nobody reads shall not be paid for.
        async with aclosing(answer):
            response = StreamingResponse(answer.aiter_raw(), answer.status_code)
            response.raw_headers = _passed(answer.headers.raw)
            await response(scope, receive, send)

    def _passed_on(self, asked: Request) -> httpx.Request:
        """The client's request, its key included; its body is sent on while it comes."""
        return self.client.build_request(
            asked.method,
            httpx.URL(path=asked.url.path, query=asked.url.query.encode() or None),
            headers=_asked(asked.headers.raw),
            content=asked.stream(),
        )


def _passed(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name.lower() not in KEPT]


def _asked(headers: Headers) -> Headers:
    """Compressed by gzip or not at all: what the provider answers must be readable here as well."""
    accepted = b",".join(value for name, value in headers if name.lower() == ACCEPT_ENCODING)
    plain = [(name, value) for name, value in _passed(headers) if name.lower() != ACCEPT_ENCODING]
    return [*plain, (ACCEPT_ENCODING, b"gzip" if b"gzip" in accepted else b"identity")]
