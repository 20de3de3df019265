"""httpx2 transports that record the calls which your own code makes to providers.

For programs that are not gateways: give one to `httpx2.Client`, and that to the client of OpenAI
(from 3.0) or Anthropic (from 2.0) as its `http_client`. Everything else is as in `httpx.py`.
"""

from usagepipe.producer.watching.transports import (
    AsyncWatchedStream,
    AsyncWatchingTransport,
    WatchedStream,
    WatchingTransport,
)
from usagepipe.schemas.errors import MissingExtraError

try:
    import httpx2
except ImportError as error:
    raise ImportError(str(MissingExtraError("httpx2", "httpx2"))) from error


class _Stream(WatchedStream, httpx2.SyncByteStream):
    """A stream that a client accepts."""


class _AsyncStream(AsyncWatchedStream, httpx2.AsyncByteStream):
    """The same for async."""


class UsageTransport(
    WatchingTransport[httpx2.Request, httpx2.Response, httpx2.BaseTransport], httpx2.BaseTransport
):
    """Records one event for each call through `transport`, for `httpx2.Client`:
    `httpx2.Client(transport=UsageTransport(httpx2.HTTPTransport(), recorder=…, caller=…))`.

    The rest is as with `usagepipe.producer.httpx.UsageTransport`.

    Raises:
        TypeError: `transport` is not httpx2's, or `caller` is an async function.
    """

    kind = httpx2.BaseTransport
    watched = _Stream


class AsyncUsageTransport(
    AsyncWatchingTransport[httpx2.Request, httpx2.Response, httpx2.AsyncBaseTransport],
    httpx2.AsyncBaseTransport,
):
    """The same for `httpx2.AsyncClient`, around an `httpx2.AsyncHTTPTransport`."""

    kind = httpx2.AsyncBaseTransport
    watched = _AsyncStream
