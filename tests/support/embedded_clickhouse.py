"""The embedded ClickHouse of tests: clients, bare requests and rows."""

import http.client
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clickhouse_connect.driver.client import Client

from usagepipe.local import LocalClickHouse
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.settings import ClickHouseAddress

HARD_TEXTS = [
    "it's",
    'say "hi" `now`',
    "back\\slash \\n \\0 \\N",
    "line\nline\r\n\tend",
    "nul\0byte",
    "🙂 naïve Ω",
    "'; DROP TABLE t --",
    "",
]


def client_of(server: LocalClickHouse, database: str | None = None, **options: Any) -> Client:
    return connect(ClickHouseAddress.parse(server.url), database=database, **options)


def ask(
    server: LocalClickHouse,
    body: bytes = b"",
    path: str = "/",
    method: str = "POST",
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of a bare HTTP request."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


def json_rows(count: int, first: int = 0) -> bytes:
    return b"".join(b'{"i":%d}\n' % i for i in range(first, first + count))


def peak_memory_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
