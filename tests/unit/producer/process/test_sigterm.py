"""SIGTERM delivers the events, and other handlers of it keep working."""

import os
import shutil
import signal

import pytest

from tests.support.absent_kafka import NOWHERE
from tests.support.events import event
from tests.support.programs import run_python
from usagepipe.producer import UsageRecorder

pytestmark = pytest.mark.usefixtures("no_spill")


def test_sigterm_handler_of_the_application_is_called() -> None:
    """An application's own handler, set before the recorder, gets the signal and decides."""
    calls: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    try:
        with UsageRecorder(kafka=NOWHERE, close_seconds=0.1) as recorder:
            os.kill(os.getpid(), signal.SIGTERM)
            recorded = recorder.record(event())
    finally:
        signal.signal(signal.SIGTERM, before)

    assert [signal.SIGTERM] == calls
    assert recorded is True


def test_closing_the_last_recorder_gives_the_signal_back() -> None:
    """The handler that was there before the first recorder is there after the last."""
    before = signal.getsignal(signal.SIGTERM)

    with UsageRecorder(kafka=NOWHERE), UsageRecorder(kafka=NOWHERE):
        during = signal.getsignal(signal.SIGTERM)

    assert before != during
    assert before == signal.getsignal(signal.SIGTERM)


def test_ignored_sigterm_stays_ignored() -> None:
    """A process that ignores SIGTERM goes on ignoring it."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with UsageRecorder(kafka=NOWHERE):
            during = signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert signal.SIG_IGN == during


def test_sigterm_ends_a_process_that_has_no_handler() -> None:
    """The process still dies of SIGTERM, after the time it gives its events."""
    script = (
        "import logging, os, signal, time; from usagepipe.producer import UsageRecorder;"
        "from usagepipe.schemas import UsageEvent; logging.basicConfig();"
        f"r = UsageRecorder(kafka='{NOWHERE}', close_seconds=0.3);"
        "r.record(UsageEvent.new(user_id='u')); os.kill(os.getpid(), signal.SIGTERM);"
        "time.sleep(30); print('not reached')"
    )

    process = run_python(script)

    assert "not reached" not in process.stdout
    assert -signal.SIGTERM == process.returncode
    assert "usage_events_given_up" in process.stderr


def test_sigterm_ends_process_1_of_a_container() -> None:
    """There the default action of a signal does nothing: the recorder's process ends all the same,
    with the status that a shell would give it."""
    script = (
        "import logging, os, subprocess, time; from usagepipe.producer import UsageRecorder;"
        "from usagepipe.schemas import UsageEvent; logging.basicConfig();"
        f"r = UsageRecorder(kafka='{NOWHERE}', close_seconds=0.3);"
        "print('process', os.getpid(), flush=True); r.record(UsageEvent.new(user_id='u'));"
        "subprocess.run(['kill', '1']); time.sleep(30); print('not reached')"
    )
    if shutil.which("unshare") is None:
        pytest.skip("no process 1 can be had here: that takes Linux' unshare")

    process = run_python(script, "unshare", "--user", "--map-root-user", "--pid", "--fork")

    if "process 1\n" not in process.stdout:
        pytest.skip(f"no process 1 can be had here: {process.stderr.strip()}")
    assert 128 + signal.SIGTERM == process.returncode
    assert "not reached" not in process.stdout
    assert "usage_events_given_up" in process.stderr
