"""An endless stream, for the test of clients that leave: `gunicorn …gateways.wsgi:app`."""

from collections.abc import Iterator
from itertools import count
from wsgiref.types import StartResponse, WSGIEnvironment

from usagepipe.producer import Caller, UsageRecorder, UsageWsgiMiddleware, stamp_usage


def stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    for number in count(1):
        stamp_usage("m", 9, number)
        yield f"data: {number}\n\n".encode()


app = UsageWsgiMiddleware(
    stream, recorder=UsageRecorder(), identify=lambda environ: Caller("u-alice")
)
