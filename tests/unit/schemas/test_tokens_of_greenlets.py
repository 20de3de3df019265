"""Access tokens in a process that gevent has patched."""

import subprocess
import sys

from tests.support.programs import clean_environment

SECONDS = 20
# The main thread's greenlets serve the tokens, slowly, and threads of the operating system ask.
PROGRAM = f"""
from gevent import monkey
monkey.patch_all()
import time
import gevent
from gevent.pywsgi import WSGIServer
from usagepipe.producer.process.native import Thread
from usagepipe.schemas.oauth_tokens import OauthTokens
from usagepipe.schemas.settings import Settings

def answer(environ, start):
    gevent.sleep(0.3)
    start("200 OK", [])
    return [b'{{"access_token": "t", "expires_in": 60}}']

server = WSGIServer(("127.0.0.1", 0), answer, log=None)
server.start()
tokens = OauthTokens(Settings(
    kafka_sasl_mechanism="OAUTHBEARER",
    kafka_oauth_token_url=f"http://127.0.0.1:{{server.server_port}}",
    kafka_oauth_client_id="client",
    kafka_oauth_client_secret="secret",
))
found = []
for number in range(4):
    Thread(lambda: found.append(tokens.token().value), f"asks-{{number}}").start()
deadline = time.monotonic() + {SECONDS}
while len(found) < 4 and time.monotonic() < deadline:
    gevent.sleep(0.02)
print("".join(found), flush=True)
import os
os._exit(0)
"""


def test_threads_that_wait_for_one_token_get_it() -> None:
    """A lock of gevent's, shared by threads of the operating system, would leave some waiting."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS + 40,
    )

    assert "tttt\n" == ended.stdout
