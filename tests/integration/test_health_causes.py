"""What `/health` of a running worker says of servers that cannot be used."""

import socket
from collections.abc import Callable, Iterator

import pytest

from tests.support.clickhouse_server import url_of
from tests.support.programs import Programs
from tests.support.running_worker import health, start_worker
from tests.support.waiting import eventually
from usagepipe.schemas.settings import Settings

MakeSettings = Callable[..., Settings]
NOWHERE = "127.0.0.1:1"
NO_HOST = "no-such-host.invalid"


@pytest.fixture
def mute() -> Iterator[str]:
    """The address of a listener that never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("kafka_at", "clickhouse_at", "trouble", "kind", "cause"),
    [
        ("{kafka}", f"http://{NOWHERE}/d", "clickhouse", "server", "connection refused"),
        ("{kafka}", f"http://{NO_HOST}/d", "clickhouse", "operator", "unknown host"),
        ("{kafka}", "http://{mute}/d", "clickhouse", "server", "no answer in time"),
        (NOWHERE, "{clickhouse}", "kafka_unreachable", "server", "connection refused"),
        (f"{NO_HOST}:9092", "{clickhouse}", "kafka_unreachable", "operator", "unknown host"),
        ("{mute}", "{clickhouse}", "kafka_unreachable", "server", "no answer in time"),
    ],
)
def test_health_names_the_cause(
    request: pytest.FixtureRequest,
    run_program: Programs,
    mute: str,
    kafka_at: str,
    clickhouse_at: str,
    trouble: str,
    kind: str,
    cause: str,
) -> None:
    """Kind, cause and what to do, while the worker waits for the server."""
    names = {"mute": mute}
    if kafka_at == "{kafka}":
        names["kafka"] = request.getfixturevalue("kafka")
    if clickhouse_at == "{clickhouse}":
        names["clickhouse"] = url_of(request.getfixturevalue("migrated"))
    made = Settings.load(
        kafka=kafka_at.format(**names),
        clickhouse=clickhouse_at.format(**names),
        topic="t",
        group="g",
    )
    worker = start_worker(run_program, made)

    def named() -> bool:
        troubles = health(worker).get("troubles", {})
        assert isinstance(troubles, dict)
        found = troubles.get(trouble, {"kind": "", "why": ""})
        return found["kind"] == kind and cause in found["why"]

    eventually(named, 30, lambda: f"{cause}: {health(worker)}\n{worker.tail()}")
