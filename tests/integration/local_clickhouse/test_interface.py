"""What the embedded ClickHouse answers besides queries, and how it keeps connections."""

import http.client
import threading
import time
from urllib.parse import urlsplit

import pytest

from tests.support.embedded_clickhouse import ask
from usagepipe.local import LocalClickHouse

pytestmark = pytest.mark.one_process


@pytest.mark.parametrize("path", ["/", "/ping", "/replicas_status"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_server_says_that_it_is_up(server: LocalClickHouse, path: str, method: str) -> None:
    """What health checks ask for."""
    status, body, _ = ask(server, path=path, method=method)

    assert (200, b"Ok.\n" if method == "GET" else b"") == (status, body)


def test_unknown_path_is_not_found(server: LocalClickHouse) -> None:
    """The status is 404."""
    assert 404 == ask(server, path="/nowhere", method="GET")[0]


def test_get_reads_and_never_writes(server: LocalClickHouse) -> None:
    """As on a server: a link must not change data."""
    read = ask(server, path="/?query=SELECT+1", method="GET")
    written = ask(server, path="/?query=CREATE+DATABASE+d", method="GET")

    assert (200, b"1\n") == read[:2]
    assert "164" == written[2]["x-clickhouse-exception-code"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://example.org"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "example.org"},
        {"Host": ""},
    ],
)
def test_web_pages_are_refused(server: LocalClickHouse, headers: dict[str, str]) -> None:
    """The account has no password: a page in the user's browser must not be able to use it."""
    status, body, _ = ask(server, b"SELECT 1", headers=headers)

    assert 403 == status
    assert b"Code: 497" in body


def test_query_id_comes_back(server: LocalClickHouse) -> None:
    """A client finds its request again by it."""
    assert "mine" == ask(server, b"SELECT 1", "/?query_id=mine")[2]["x-clickhouse-query-id"]


def test_long_request_line_is_taken(server: LocalClickHouse) -> None:
    """A server takes URLs of up to 1 MiB."""
    text = "x" * 500_000

    assert b"500000\n" == ask(server, b"SELECT length({x:String})", f"/?param_x={text}")[1]


def test_connection_is_kept(server: LocalClickHouse) -> None:
    """Also after an error: clients have pools."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    answers = []
    for query in (b"SELECT 1", b"SELECT nothing", b"SELECT 2"):
        connection.request("POST", "/", query)
        answers.append(connection.getresponse().read())
    connection.close()

    assert b"1\n" == answers[0]
    assert b"2\n" == answers[2]


def test_slow_query_holds_up_nobody(server: LocalClickHouse) -> None:
    """Requests run at once."""
    slow = threading.Thread(target=ask, args=(server, b"SELECT sleep(2)"))
    slow.start()
    begun = time.monotonic()
    status = ask(server, b"SELECT 1")[0]
    took = time.monotonic() - begun
    still_running = slow.is_alive()
    slow.join()

    assert 200 == status
    assert still_running, took
