"""The first event of a process that lacks what others have: a home, a folder, descriptors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.programs import clean_environment
from usagepipe.producer.delivery.outbox import new_producer_id
from usagepipe.producer.identify import local_user
from usagepipe.schemas import UsageEvent
from usagepipe.schemas.errors import WrongUseError

NOBODY = 54_321  # a user id that no passwd file knows

RECORD = """
import logging, os, sys
{before}
logging.basicConfig(level=logging.INFO)
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from usagepipe.producer import Caller, UsageMiddleware, UsageRecorder
from usagepipe.schemas import UsageEvent

async def chat(request):
    return JSONResponse({{"model": "m", "usage": {{"prompt_tokens": 1, "completion_tokens": 1}}}})

recorder = UsageRecorder(kafka="127.0.0.1:1", close_seconds=1, **{options})
app = Starlette(routes=[Route("/chat", chat, methods=["POST"])])
app.add_middleware(UsageMiddleware, recorder=recorder, identify=lambda scope: Caller("u"))
{then}
print(recorder.record(UsageEvent.new(user_id="u")))
print(TestClient(app).post("/chat").status_code)
print(recorder.snapshot().recorded, recorder.snapshot().dropped)
"""
NO_HOME = "os.environ.pop('HOME', None); os.environ.pop('XDG_STATE_HOME', None)"
# Not before: that user may not be able to read Python's own files.
NO_ONE = f"TestClient(Starlette()).get('/'); os.setuid({NOBODY})"
LOST_FOLDER = "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')"
FEW_FILES = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))"
NO_FOLDER = {
    "no home": (NO_HOME, {}, NO_ONE),
    "a home of nobody": (NO_HOME, {"spill_dir": "~/events"}, NO_ONE),
    "an unknown user": ("", {"spill_dir": "~no-such-user/events"}, ""),
    "a NUL": ("", {"spill_dir": "/tmp/a\0b"}, ""),
    "a file": ("", {"spill_dir": "/dev/null/events"}, ""),
    "not writable": ("", {"spill_dir": "/proc/events"}, ""),
    "too long": ("", {"spill_dir": "/tmp/" + "x" * 5_000}, ""),
    "no working directory": (LOST_FOLDER, {"spill_dir": "events"}, ""),
    "a missing home": ("os.environ.update(HOME='/proc/1/none', XDG_STATE_HOME='')", {}, ""),
}


def run(folder: Path, before: str, options: dict[str, str], then: str) -> tuple[list[str], str]:
    """The lines that a script prints which records by itself and in a request, and its log."""
    script = RECORD.format(before=before, options=options, then=then)
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env=clean_environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout.splitlines(), ended.stderr


@pytest.mark.parametrize("name", NO_FOLDER)
def test_without_a_folder_recording_goes_on(name: str, tmp_path: Path) -> None:
    """`record()` and a request are as ever, and one warning says that there is no spill."""
    before, options, then = NO_FOLDER[name]
    if "setuid" in then and os.getuid():
        pytest.skip("only root can become a user without a name")

    lines, log = run(tmp_path, before, options, then)

    assert ["True", "200", "2 {}"] == lines
    assert 1 == log.count("spill_unavailable"), log
    assert "Traceback" not in log
    assert ("no such home directory" in log) == ("~" in str(options) or then == NO_ONE)


def test_without_descriptors_recording_goes_on(tmp_path: Path) -> None:
    """A process that may open no file accepts events: neither Kafka nor a folder can be had."""
    then = f"import starlette.testclient\nTestClient(app).post('/chat')\n{FEW_FILES}"
    script = RECORD.replace("print(TestClient", "0 and print(TestClient").format(
        before="", options={}, then=then
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env=clean_environment() | {"XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "True" == ended.stdout.splitlines()[0]


def test_a_relative_state_folder_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_STATE_HOME counts if it is a whole path, as its specification says."""
    from usagepipe.schemas.settings.producer import state_path

    monkeypatch.setenv("XDG_STATE_HOME", "state")

    assert Path("~/.local/state/usagepipe").expanduser() == state_path()


def test_a_relative_folder_stays_where_it_was(tmp_path: Path) -> None:
    """A program that goes to another folder later does not take its events along."""
    lines, _ = run(
        tmp_path,
        "",
        {"spill_dir": "events"},
        "recorder.start(); import time\n"
        "while not os.path.exists('events'): time.sleep(0.01)\n"
        "os.mkdir('other'); os.chdir('other')",
    )

    assert ["True", "200", "2 {}"] == lines
    assert not list((tmp_path / "other").iterdir())
    assert 1 == len(list((tmp_path / "events").rglob("*.spill")))


@pytest.mark.parametrize("host", ["a/b", "../up", "caf\udce9", "n\0l", ""])
def test_a_host_may_have_any_name(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The producer's id is text that an event can hold, and the name of one folder."""
    monkeypatch.setattr("socket.gethostname", lambda: host)

    named = new_producer_id()

    assert "/" not in named
    assert UsageEvent.new(user_id="u", producer_id=named).producer_id == named
    assert named.isascii()


def test_a_host_without_a_name_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system refuses costs no event."""

    def refuse() -> str:
        raise OSError("refused")

    monkeypatch.setattr("socket.gethostname", refuse)

    assert new_producer_id().startswith(f"unknown-{os.getpid()}-")


def test_a_local_user_without_a_home_learns_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The id of the local user needs a file; the error asks for one."""
    monkeypatch.delenv("XDG_STATE_HOME")

    def homeless(path: str) -> str:
        return path

    monkeypatch.setattr("os.path.expanduser", homeless)

    with pytest.raises(WrongUseError, match="Name a file"):
        local_user()
