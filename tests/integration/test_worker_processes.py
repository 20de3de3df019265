"""Servers of several workers while Kafka is away: gunicorn, with the application loaded before the
fork or after, and uvicorn.

Each worker keeps its events in a folder of its own; one is killed (`kill -9`) and replaced. When
Kafka is back, what is on the topic is exactly what was answered.
"""

import json
import os
import signal
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from tests.support.apache_kafka import ApacheKafka
from tests.support.installs import ROOT
from tests.support.ports import HOST, is_answered, lasting_port
from tests.support.programs import Program, Programs
from tests.support.spilling import SECONDS, Away
from tests.support.topics import make_topics, read
from tests.support.waiting import eventually
from usagepipe.schemas import UsageEvent, decode

WORKERS = 3
AT_ONCE = 12  # requests, so that no worker can take all
GUNICORN = ("--chdir", str(ROOT / "examples"), "--log-level", "warning", "flask_gateway:app")
UVICORN = ("--app-dir", str(ROOT / "examples"), "--log-level", "warning", "gateway:app")
SERVERS = {
    "gunicorn": ("gunicorn", *GUNICORN),
    "gunicorn, preloaded": ("gunicorn", "--preload", *GUNICORN),
    "uvicorn": ("uvicorn", *UVICORN),
}


class Gateway:
    """An example gateway of several workers, and the requests that it has answered."""

    def __init__(self, run_program: Programs, away: Away, server: str) -> None:
        self.port = lasting_port()
        self.answered: list[str] = []
        self.acknowledged = 0  # of these, by Kafka, before the outage
        self._away = away
        self._numbers = count(1)
        program, *options = SERVERS[server]
        port = ("--bind", f"{HOST}:{self.port}")
        if program == "uvicorn":
            port = ("--port", str(self.port))
        self.program: Program = run_program(
            *port,
            "--workers",
            str(WORKERS),
            *options,
            program=program,
            environment=away.environment,
        )
        eventually(lambda: is_answered(self.port), 60, self.program.tail)

    def ask(self) -> None:
        """Some requests at once, all of which are answered."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            self.answered.extend(pool.map(self._ask, range(AT_ONCE)))

    def ask_until_recorded_by(self, processes: int) -> None:
        """Ask until so many have recorded, counted from the start; then wait until all that was
        answered is on disk."""

        def have_recorded() -> bool:
            self.ask()
            return len(self.producers()) >= processes

        eventually(have_recorded, SECONDS, f"{processes} processes to record")
        # More may be there: what stood in Kafka's log and was not acknowledged yet.
        least = len(self.answered) - self.acknowledged
        eventually(lambda: self._away.spilled() >= least, SECONDS, self.program.tail)

    def live_through_the_outage(self) -> set[str]:
        """Kafka is away: a worker is killed and replaced, Kafka comes back, the server is stopped.
        The ids of all that recorded."""
        self.ask_until_recorded_by(WORKERS)
        first = self.workers()
        assert (WORKERS, False) == (len(first), self.program.pid in first)
        os.kill(min(first), signal.SIGKILL)
        self.ask_until_recorded_by(WORKERS + 1)
        producers, workers = self.producers(), self.workers()
        assert (WORKERS + 1, True) == (len(workers), first < workers)
        self._away.start()
        self.ask()  # while what is on disk is sent
        eventually(lambda: not self._away.files(), SECONDS, self.program.tail)
        self.program.stop()
        return producers

    def _ask(self, _: int) -> str:
        request_id = f"r-{next(self._numbers)}"
        body = {"model": "small", "messages": [{"role": "user", "content": "how are you"}]}
        headers = {
            "Content-Type": "application/json",
            "Authorization": "Bearer sk-ada",  # for the one example
            "X-User": "ada",  # for the other
            "X-Correlation-Id": request_id,
        }
        url = f"http://{HOST}:{self.port}/v1/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            assert 200 == answer.status
        return request_id

    def producers(self) -> set[str]:
        """The ids of the processes that have events on disk: each folder is called so."""
        return {path.parent.name for path in self._away.files()}

    def workers(self) -> set[int]:
        """The process ids of those."""
        return {int(producer.split("-")[-2]) for producer in self.producers()}


@pytest.mark.parametrize("server", SERVERS)
def test_outage_and_a_killed_worker_lose_and_double_nothing(
    server: str, away: Away, run_program: Programs
) -> None:
    """Each request that was answered is one event on the topic, of as many producers as there were
    workers: the killed one's are sent by another. The parent records nothing."""
    gateway = Gateway(run_program, away, server)

    producers = gateway.live_through_the_outage()

    assert_each_answer_is_one_event(gateway, stored(away), producers)


def test_kafka_killed_under_the_workers_loses_and_doubles_nothing(
    crashable_kafka: ApacheKafka, run_program: Programs, tmp_path: Path, topic_name: str
) -> None:
    """The same where Kafka had answered at first, and was killed."""
    make_topics(crashable_kafka.bootstrap, topic_name, 1)
    away = Away(crashable_kafka, topic_name, tmp_path / "spill")
    gateway = Gateway(run_program, away, "gunicorn, preloaded")
    gateway.ask()
    eventually(lambda: len(distinct(stored(away))) == AT_ONCE, SECONDS, gateway.program.tail)
    gateway.acknowledged = AT_ONCE
    crashable_kafka.kill()

    producers = gateway.live_through_the_outage()

    assert_each_answer_is_one_event(gateway, stored(away), producers)


def assert_each_answer_is_one_event(
    gateway: Gateway, events: list[UsageEvent], producers: set[str]
) -> None:
    once = distinct(events)
    assert Counter(gateway.answered) == Counter(event.request_id for event in once)
    assert producers == {event.producer_id for event in once}
    for producer in producers:
        numbers = sorted(e.sequence or 0 for e in once if e.producer_id == producer)
        assert list(range(1, len(numbers) + 1)) == numbers


def distinct(events: list[UsageEvent]) -> list[UsageEvent]:
    """What was under way in an outage may have come twice: it is stored by its id, and so once."""
    return list({event.event_id: event for event in events}.values())


def stored(away: Away) -> list[UsageEvent]:
    """What is on the topic."""
    return [decode(record.value) for record in read(away.kafka.bootstrap, away.topic)]
