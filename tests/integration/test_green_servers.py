"""Servers whose threads are greenlets (gevent, eventlet), and uWSGI, with a real Kafka."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.support.environments import python_of
from tests.support.installs import ROOT
from tests.support.ports import HOST, is_answered, lasting_port
from tests.support.programs import STOP_SECONDS, Program, Programs
from tests.support.servers import skip_or_fail
from tests.support.topics import read
from tests.support.waiting import eventually
from usagepipe.producer.delivery.spill.frames import read_frames

APP = "tests.support.gateways.greenlets"
REQUESTS = 30
SECONDS = 20
LONG = "30000"  # milliseconds that events linger: longer than a test

GUNICORN = ("gunicorn", "--chdir", str(ROOT), "--worker-class", "gevent", "--bind", "{address}")
UWSGI = ("uwsgi", "--http-socket", "{address}", "--module", f"{APP}:app", "--master")
SERVERS = {
    "gevent": (*GUNICORN, f"{APP}:app"),
    "gevent, two workers": (*GUNICORN, "--workers", "2", f"{APP}:app"),
    "gevent, preload": (*GUNICORN, "--workers", "2", "--preload", f"{APP}:app"),
    "eventlet": ("python", "-W", "ignore", "-m", APP, "{port}"),
    "uwsgi": (*UWSGI, "--die-on-term", "--enable-threads", "--processes", "2"),
    "uwsgi, one": (*UWSGI, "--die-on-term"),
    "uwsgi, lazy": (*UWSGI, "--die-on-term", "--threads", "2", "--lazy-apps"),
}


class Gateway:
    """A server that runs the gateway."""

    def __init__(self, run_program: Programs, server: str, environment: dict[str, str]) -> None:
        self.port = lasting_port()
        name, *arguments = SERVERS[server]
        filled = [each.format(address=f"{HOST}:{self.port}", port=self.port) for each in arguments]
        if name == "uwsgi":
            name = _uwsgi()
            filled += ["--home", sys.prefix, "--pythonpath", str(ROOT)]
        environment |= {"PYTHONPATH": str(ROOT)}
        self.program: Program = run_program(*filled, program=name, environment=environment)
        eventually(lambda: is_answered(self.port), 60, self.program.tail)

    def get(self, path: str = "/v1/chat") -> bytes:
        """The answer to a POST; raises where it does not come in time."""
        request = Request(f"http://{HOST}:{self.port}{path}", data=b"{}")
        with urlopen(request, timeout=SECONDS) as answer:
            return bytes(answer.read())

    def await_recorded(self) -> None:
        """Return when all requests are events: each becomes one after its client has the answer."""
        by_process: dict[bytes, int] = {}

        def are_recorded() -> bool:
            # By GET: that is no event itself.
            with urlopen(f"http://{HOST}:{self.port}/recorded", timeout=SECONDS) as answer:
                process, count = answer.read().split()
            by_process[process] = int(count)
            return sum(by_process.values()) == REQUESTS

        eventually(are_recorded, SECONDS, self.program.tail)

    @contextmanager
    def waiting(self, path: str) -> Iterator[subprocess.Popen[bytes]]:
        """A client that waits for an answer meanwhile."""
        client = ["curl", "--silent", "--data", "", f"http://{HOST}:{self.port}{path}"]
        with subprocess.Popen(client, stdout=subprocess.DEVNULL) as process:
            try:
                yield process
            finally:
                process.kill()

    def end(self) -> None:
        """SIGTERM to all its processes, as systemd and containers send it."""
        os.killpg(self.program.pid, signal.SIGTERM)
        self.program.wait(STOP_SECONDS)


def _uwsgi() -> str:
    try:
        return str(python_of(ROOT / "tests" / "support" / "uwsgi.txt").with_name("uwsgi"))
    except subprocess.CalledProcessError as error:
        skip_or_fail("uWSGI", "PATH (a C compiler)", error)
        raise


@pytest.mark.parametrize("server", SERVERS)
def test_events_arrive_while_requests_are_served(
    server: str, run_program: Programs, kafka: str, topic: str
) -> None:
    """Every request is answered in time, the first event's delivery included, and every event is
    on the topic while the server runs."""
    gateway = Gateway(run_program, server, {"USAGEPIPE_KAFKA": kafka, "USAGEPIPE_TOPIC": topic})

    answers = [gateway.get() for _ in range(REQUESTS)]

    assert REQUESTS == len(answers)
    eventually(lambda: len(read(kafka, topic)) == REQUESTS, SECONDS, gateway.program.tail)


@pytest.mark.parametrize("server", SERVERS)
def test_lingering_events_arrive_when_the_server_is_stopped(
    server: str, run_program: Programs, kafka: str, topic: str
) -> None:
    """SIGTERM to the whole group of processes: what still lingers is sent before they end."""
    settings = {"USAGEPIPE_KAFKA": kafka, "USAGEPIPE_TOPIC": topic, "USAGEPIPE_LINGER_MS": LONG}
    gateway = Gateway(run_program, server, settings)
    for _ in range(REQUESTS):
        gateway.get()

    gateway.await_recorded()
    gateway.end()

    assert REQUESTS == len(read(kafka, topic)), gateway.program.tail()


@pytest.mark.parametrize("server", SERVERS)
def test_events_are_kept_on_disk_while_kafka_is_away(
    server: str, run_program: Programs, tmp_path: Path
) -> None:
    """Nothing hangs without a Kafka either: requests are answered, and all events are on disk."""
    folder = tmp_path / "spill"
    settings = {"USAGEPIPE_KAFKA": f"{HOST}:1", "USAGEPIPE_SPILL_DIR": str(folder)}
    gateway = Gateway(run_program, server, settings)
    for _ in range(REQUESTS):
        gateway.get()

    gateway.await_recorded()
    gateway.end()

    files = [read_frames(path.read_bytes()) for path in folder.rglob("*.spill")]
    assert REQUESTS == sum(len(found.records) for found in files), gateway.program.tail()


@pytest.mark.parametrize("server", ["gevent", "eventlet"])
def test_a_greenlet_that_flushes_lets_others_run(server: str, run_program: Programs) -> None:
    """A handler that waits for Kafka in vain holds up no other request."""
    settings = {
        "USAGEPIPE_KAFKA": f"{HOST}:1",
        "USAGEPIPE_SPILL_DIR": "",
        "USAGEPIPE_CLOSE_SECONDS": "15",
    }
    gateway = Gateway(run_program, server, settings)
    gateway.get()

    with gateway.waiting("/flush") as flush:
        for _ in range(REQUESTS):
            gateway.get()

        assert flush.poll() is None


def test_a_busy_worker_of_uwsgi_delivers_before_it_ends(
    run_program: Programs, kafka: str, topic: str
) -> None:
    """SIGTERM in the middle of a long request: what earlier requests recorded is sent first."""
    settings = {"USAGEPIPE_KAFKA": kafka, "USAGEPIPE_TOPIC": topic, "USAGEPIPE_LINGER_MS": LONG}
    gateway = Gateway(run_program, "uwsgi, one", settings)
    for _ in range(REQUESTS):
        gateway.get()

    with gateway.waiting("/slow"):
        gateway.program.wait_for_output("begun")
        gateway.end()

    assert REQUESTS == len(read(kafka, topic)), gateway.program.tail()
