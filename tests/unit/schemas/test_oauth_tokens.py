"""Tokens of an OIDC provider: how they are asked for, kept, renewed, and what a failure says."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import pytest

from usagepipe.schemas import oauth_tokens
from usagepipe.schemas.errors import AccessError
from usagepipe.schemas.oauth_tokens import OauthTokens
from usagepipe.schemas.settings import Settings

SECRET = "hun+ter/2"
Answer = tuple[int, object]


class Endpoint:
    """What was asked, and what is answered: `(status, fields)`."""

    def __init__(self) -> None:
        self.answer: Callable[[], Answer] = lambda: (200, {"access_token": "a", "expires_in": 60})
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.url = ""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    with serving(made):
        yield made


@contextmanager
def serving(made: Endpoint) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            made.asked.append((self.headers["Authorization"], parse_qs(body)))
            status, fields = made.answer()
            content = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}/token"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield
    server.shutdown()
    server.server_close()
    thread.join()


def tokens(endpoint: Endpoint) -> OauthTokens:
    return OauthTokens(
        Settings.load(
            kafka_tls=True,
            kafka_sasl_mechanism="OAUTHBEARER",
            kafka_oauth_token_url=endpoint.url,
            kafka_oauth_client_id="usage pipe",
            kafka_oauth_client_secret=SECRET,
            kafka_oauth_scope="kafka write",
        )
    )


def test_a_client_asks_with_its_credentials(endpoint: Endpoint) -> None:
    """The secret goes into the header, encoded as RFC 6749 says, and the scope into the form."""
    before = time.time()

    token = tokens(endpoint).token()

    expected = base64.b64encode(b"usage%20pipe:hun%2Bter%2F2").decode()
    form = {"grant_type": ["client_credentials"], "scope": ["kafka write"]}
    assert [(f"Basic {expected}", form)] == endpoint.asked
    assert "a" == token.value
    assert 59 <= token.expires_at - before <= 62
    assert SECRET not in repr(token)


def test_a_token_is_renewed_before_it_ends(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is kept for most of its life, and the next one comes while it is still valid."""
    clock = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    provider = tokens(endpoint)
    provider.token()

    clock += 47
    provider.token()
    kept = len(endpoint.asked)
    clock += 2
    provider.token()

    assert (1, 2) == (kept, len(endpoint.asked))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, {"error": "invalid_client", "error_description": SECRET}), "(invalid_client)"),
        ((400, {"error": SECRET}), "HTTP 400. Check USAGEPIPE_KAFKA_OAUTH_CLIENT_ID"),
        ((503, b"busy"), "it answers HTTP 503"),
        ((302, {}), "it answers HTTP 302"),
        ((200, {"token": SECRET}), "its answer has no access_token"),
        ((200, b"<html>"), "its answer is not JSON"),
    ],
)
def test_a_failure_says_why(endpoint: Endpoint, answer: Answer, words: str) -> None:
    """The reason is named, and nothing of the answer but the standard's own word."""
    endpoint.answer = lambda: answer

    with pytest.raises(AccessError) as caught:
        tokens(endpoint).token()

    assert words in str(caught.value)
    assert SECRET not in str(caught.value)
    assert 1 == len(endpoint.asked)


def test_a_provider_that_is_away_is_not_asked_at_once(endpoint: Endpoint) -> None:
    """Clients that try again each moment get the last failure until a pause is over."""
    endpoint.answer = lambda: (503, b"")
    provider = tokens(endpoint)
    for _ in range(5):
        with pytest.raises(AccessError):
            provider.token()

    assert 1 == len(endpoint.asked)


def test_a_provider_that_is_back_is_used(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soon after the fault is gone there is a token again."""
    monkeypatch.setattr(oauth_tokens, "FIRST_PAUSE_SECONDS", 0.0)
    well, endpoint.answer = endpoint.answer, lambda: (503, b"")
    provider = tokens(endpoint)
    with pytest.raises(AccessError):
        provider.token()
    endpoint.answer = well

    assert "a" == provider.token().value


@pytest.mark.parametrize("lifetime", ["1e999", "NaN", "0", "-5", "[1]", "1" + "0" * 400])
def test_a_life_that_is_no_time_is_taken_for_the_usual_one(
    endpoint: Endpoint, lifetime: str
) -> None:
    """A token that never ends would be used long after the broker refuses it."""
    endpoint.answer = lambda: (200, f'{{"access_token": "a", "expires_in": {lifetime}}}'.encode())
    made = tokens(endpoint)

    token = made.token()
    again = made.token()

    assert oauth_tokens.DEFAULT_LIFE_SECONDS == pytest.approx(token.expires_at - time.time(), abs=5)
    assert token is again
