"""The first connection of a process: slow, refused, or never answered."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.ports import HOST
from tests.support.topics import read
from tests.support.waiting import eventually
from usagepipe.producer import UsageRecorder
from usagepipe.producer.delivery.kafka_producer_handle import CONNECT_SECONDS
from usagepipe.schemas import UsageEvent

EVENTS = 20
COLD_SECONDS = 2.2
PATIENCE_SECONDS = 4.0  # for a step of the connection: a machine under load is no reason to fail


@pytest.fixture
def cold_kafka(kafka: str) -> Iterator[str]:
    """A way to Kafka on which the first two answers take their time."""
    host, _, port = kafka.partition(",")[0].rpartition(":")
    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=_pass_late, args=(listener, (host, int(port))))
        thread.start()
        yield f"{HOST}:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _pass_late(listener: socket.socket, target: tuple[str, int]) -> None:
    with suppress(OSError), ExitStack() as stack:
        threads = []
        try:
            while True:
                client = stack.enter_context(listener.accept()[0])
                server = stack.enter_context(socket.create_connection(target))
                for source, sink, late in ((client, server, 0), (server, client, 2)):
                    threads.append(threading.Thread(target=_pass_on, args=(source, sink, late)))
                    threads[-1].start()
        finally:
            for thread in threads:
                thread.join()


def _pass_on(source: socket.socket, sink: socket.socket, late: int) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            time.sleep(COLD_SECONDS if late > 0 else 0)
            late -= 1
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def silent_kafka() -> Iterator[str]:
    """An address that takes connections and never says anything."""
    with socket.create_server((HOST, 0)) as listener:
        yield f"{HOST}:{listener.getsockname()[1]}"


def test_a_slow_first_connection_is_no_outage(
    cold_kafka: str, kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short program's events go straight to a Kafka that is cold but well, each once, although
    all steps of the connection together take longer than one may."""
    monkeypatch.setattr(
        "usagepipe.producer.delivery.kafka_producer_handle.CONNECT_SECONDS", PATIENCE_SECONDS
    )
    with UsageRecorder(kafka=cold_kafka, topic=topic, close_seconds=30) as recorder:
        for _ in range(EVENTS):
            recorder.record(UsageEvent.new(user_id="u"))

    assert (0, EVENTS) == (recorder.snapshot().spilled, recorder.snapshot().delivered)
    assert EVENTS == len(read(kafka, topic))


@pytest.mark.alone
def test_without_any_answer_events_go_to_disk_in_time(silent_kafka: str, tmp_path: Path) -> None:
    """A Kafka that never answers is unreachable soon enough for a promise about `kill -9`."""
    recorder = UsageRecorder(kafka=silent_kafka, spill_dir=str(tmp_path))
    began = time.monotonic()
    recorder.record(UsageEvent.new(user_id="u"))

    eventually(lambda: recorder.snapshot().spilled, CONNECT_SECONDS + 5, "the event on disk")

    assert CONNECT_SECONDS - 1 < time.monotonic() - began < CONNECT_SECONDS + 2
    assert 0 == recorder.close()
    assert list(tmp_path.rglob("*.spill"))


@pytest.mark.alone
def test_a_refused_first_connection_is_an_outage_at_once(tmp_path: Path) -> None:
    """Nobody listens: events are on disk within a second, as in any outage."""
    recorder = UsageRecorder(kafka=f"{HOST}:1", spill_dir=str(tmp_path))
    began = time.monotonic()
    recorder.record(UsageEvent.new(user_id="u"))

    eventually(lambda: recorder.snapshot().spilled, 5, "the event on disk")

    assert time.monotonic() - began < CONNECT_SECONDS / 2
    recorder.close()
