"""A gateway for the tests of servers whose threads are no threads, or that are written in C.

`gunicorn -k gevent tests.support.gateways.greenlets:app`, uWSGI's `--module`, or by eventlet:
`python -m tests.support.gateways.greenlets PORT`.
"""

import os
import sys
import time
from collections.abc import Iterable

if __name__ == "__main__":
    import eventlet

    eventlet.monkey_patch()

from wsgiref.types import StartResponse, WSGIEnvironment

from usagepipe.producer import Caller, UsageRecorder, UsageWsgiMiddleware

ANSWER = b'{"model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}'


def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    # uWSGI resets the connection of a request whose body was not read.
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Type", "application/json")])
    if environ["PATH_INFO"] == "/flush":
        return [str(recorder.flush()).encode()]
    if environ["PATH_INFO"] == "/recorded":
        return [f"{os.getpid()} {recorder.snapshot().recorded}".encode()]
    if environ["PATH_INFO"] == "/slow":
        print("begun", flush=True)
        time.sleep(60)
    return [ANSWER]


recorder = UsageRecorder()
app = UsageWsgiMiddleware(answer, recorder=recorder, identify=lambda environ: Caller("u"))

if __name__ == "__main__":
    import eventlet.wsgi

    eventlet.wsgi.server(eventlet.listen(("127.0.0.1", int(sys.argv[1]))), app, log_output=False)
