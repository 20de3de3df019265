"""The recorder without Kafka or a spill: nothing blocks or raises, every loss is counted."""

import _thread
import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time

import httpx
import pytest
from fastapi import FastAPI

from tests.support.events import event
from tests.support.logs import capture_logs
from usagepipe.producer import UsageRecorder
from usagepipe.producer.delivery import kafka_producer_handle
from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.settings import Settings

NOWHERE = "127.0.0.1:1"  # no Kafka listens on a port that only root may take


@pytest.fixture(autouse=True)
def _no_spill(monkeypatch: pytest.MonkeyPatch) -> None:
    """These recorders have nowhere to keep events but their memory."""
    monkeypatch.setenv("USAGEPIPE_SPILL_DIR", "")


@pytest.mark.alone
def test_queue_keeps_its_bound_and_counts_the_rest() -> None:
    """T-13: with Kafka away the first N events are kept, each one more is counted, none waits."""
    with UsageRecorder(kafka=NOWHERE, queue_events=100, close_seconds=0.1) as recorder:
        recorder.start()
        started = time.perf_counter()
        accepted = [recorder.record(event()) for _ in range(2_500)]
        seconds = time.perf_counter() - started

        snapshot = recorder.snapshot()

    assert [True] * 100 + [False] * 2_400 == accepted
    assert (100, 100, 0) == (snapshot.recorded, snapshot.queued, snapshot.delivered)
    assert {"queue_full": 2_400} == snapshot.dropped
    assert seconds < 1.0  # 400 µs an event: a hundred times what it takes


def test_one_warning_for_1024_drops() -> None:
    """2,400 drops make three warnings, and Kafka's absence makes one line."""
    recorder = UsageRecorder(kafka=NOWHERE, queue_events=1)

    with capture_logs() as logs:
        for _ in range(2_401):
            recorder.record(event())
        recorder.close(timeout=0.5)

    told = [entry["event"] for entry in logs]
    assert 3 == told.count("usage_events_dropped")
    assert 1 == told.count("kafka_failed")


@pytest.mark.alone
def test_close_gives_up_in_time_and_counts_what_was_left() -> None:
    """Closing without Kafka ends after its time, and each event left is counted as failed."""
    recorder = UsageRecorder(kafka=NOWHERE)
    for _ in range(50):
        recorder.record(event())
    started = time.monotonic()

    left = recorder.close(timeout=0.2)

    assert 50 == left
    assert time.monotonic() - started < 2.0
    assert {"delivery_failed": 50} == recorder.snapshot().dropped
    assert 0 == recorder.snapshot().queued


def test_close_twice_is_harmless() -> None:
    """T-15: the second close returns at once, with nothing left."""
    recorder = UsageRecorder(kafka=NOWHERE)
    recorder.record(event())
    recorder.close(timeout=0.1)

    assert 0 == recorder.close(timeout=60)
    assert {"delivery_failed": 1} == recorder.snapshot().dropped


@pytest.mark.alone
def test_close_does_not_repeat_the_wait_of_a_stop() -> None:
    """An application that ends while Kafka is away spends its time once, however many wait."""
    recorder = UsageRecorder(kafka=NOWHERE, close_seconds=2)
    recorder.record(event())
    started = time.monotonic()

    left = [recorder.stop(), recorder.stop(), recorder.close()]

    assert [1, 1, 1] == left
    assert 2.0 <= time.monotonic() - started < 3.9  # 2 + 0.5 + 0.5, where it was 6


def test_application_that_starts_again_waits_again() -> None:
    """A stop that ran out of time does not shorten that of the application's next life."""
    recorder = UsageRecorder(kafka=NOWHERE, close_seconds=0.8)
    recorder.record(event())
    recorder.stop()
    recorder.start()
    started = time.monotonic()

    recorder.close()

    assert 0.8 <= time.monotonic() - started


def test_last_line_has_the_exact_loss() -> None:
    """What is given up is told in one line, which counts all of it."""
    recorder = UsageRecorder(kafka=NOWHERE)
    for _ in range(3):
        recorder.record(event())

    with capture_logs() as logs:
        left = recorder.close(timeout=0.1)

    told = [entry for entry in logs if entry["event"].startswith("usage_events_")]
    assert 3 == left
    assert [("usage_events_given_up", 3, {"delivery_failed": 3})] == [
        (entry["event"], entry["events"], entry["dropped"]) for entry in told
    ]


def test_snapshot_can_be_served() -> None:
    """A route may return the snapshot as it is: its keys are text, so it is JSON."""
    app = FastAPI()

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            return await client.get("/usage-counters")

    with UsageRecorder(kafka=NOWHERE, close_seconds=0.1) as recorder:
        recorder.counters.leave_out("/v1/embeddings", "no_user")
        app.get("/usage-counters")(recorder.snapshot)

        answer = asyncio.run(ask())

    assert 200 == answer.status_code
    assert {"/v1/embeddings": {"no_user": 1}} == answer.json()["unrecorded"]


def test_event_after_close_is_counted() -> None:
    """A closed recorder refuses events, and says why."""
    recorder = UsageRecorder(kafka=NOWHERE)
    recorder.close()

    assert recorder.record(event()) is False
    assert {"closed": 1} == recorder.snapshot().dropped


def test_flush_returns_what_is_left() -> None:
    """A flush that runs out of time tells how many events wait."""
    with UsageRecorder(kafka=NOWHERE, close_seconds=0.1) as recorder:
        recorder.record(event())

        assert 1 == recorder.flush(timeout=0.1)


def test_event_larger_than_the_topic_takes_is_counted() -> None:
    """An event that Kafka would refuse never enters the queue."""
    with UsageRecorder(kafka=NOWHERE, close_seconds=0.1) as recorder:
        huge = event().model_copy(update={"tags": {"t": "x" * 2_000_000}})

        recorder.record(huge)
        recorder.flush()

        assert {"too_large": 1} == recorder.snapshot().dropped


def test_event_that_cannot_be_encoded_is_counted() -> None:
    """An event made around its checks does not raise in the request."""
    with UsageRecorder(kafka=NOWHERE, close_seconds=0.1) as recorder:
        wrong = event().model_copy(update={"user_id": object()})

        recorder.record(wrong)
        recorder.flush()

        assert {"invalid": 1} == recorder.snapshot().dropped


def test_disabled_recorder_does_nothing() -> None:
    """With `enabled=False` every call is accepted and none has an effect."""
    with UsageRecorder(enabled=False) as recorder:
        recorder.start()

        assert recorder.record(event()) is False
        assert (0, 0) == (recorder.snapshot().recorded, recorder.flush())
    assert {} == recorder.snapshot().dropped


def test_wrong_options_are_all_named() -> None:
    """A wrong option stops the start, and every wrong one is in the text."""
    with pytest.raises(SettingsError) as caught:
        UsageRecorder(kafka="kafka", queue_events=0)

    assert 2 == len(caught.value.problems)


def test_settings_and_options_are_not_mixed() -> None:
    """Options beside settings would be lost: they are refused."""
    with pytest.raises(TypeError, match="not both: kafka"):
        UsageRecorder(Settings.load(), kafka=NOWHERE)


def test_making_a_recorder_starts_no_thread_and_no_connection() -> None:
    """A recorder may be made at import time, before a fork."""
    script = (
        "import threading; from usagepipe.producer import UsageRecorder;"
        "r = UsageRecorder(); r.counters; print(threading.active_count(), r._outbox()._thread)"
    )

    assert "1 None\n" == _python(script).stdout


def test_handle_that_cannot_be_made_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application starts without librdkafka's handle, and its events wait for one."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(kafka_producer_handle, "Producer", refuse)
    recorder = UsageRecorder(kafka=NOWHERE)

    with capture_logs() as logs:
        recorder.start()
        accepted = recorder.record(event())
        left = recorder.close(timeout=0.2)

    assert "delivery_step_failed" in [entry["event"] for entry in logs]
    assert (True, 1) == (accepted, left)
    assert {"delivery_failed": 1} == recorder.snapshot().dropped


def test_thread_that_cannot_be_started_costs_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a thread nothing could be sent: the event is dropped and counted, nothing raises."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    recorder = UsageRecorder(kafka=NOWHERE)

    accepted = recorder.record(event())

    recorder.close()
    assert not accepted
    assert {"record_failed": 1} == recorder.snapshot().dropped


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

    process = _python(script)

    assert -signal.SIGTERM == process.returncode
    assert "not reached" not in process.stdout
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

    process = _python(script, "unshare", "--user", "--map-root-user", "--pid", "--fork")

    if "process 1\n" not in process.stdout:
        pytest.skip(f"no process 1 can be had here: {process.stderr.strip()}")
    assert 128 + signal.SIGTERM == process.returncode
    assert "not reached" not in process.stdout
    assert "usage_events_given_up" in process.stderr


def test_each_process_has_its_own_producer_id() -> None:
    """Two recorders never share an id, so neither can hide the other's gaps."""
    with UsageRecorder(kafka=NOWHERE) as one, UsageRecorder(kafka=NOWHERE) as other:
        assert one.producer_id != other.producer_id
        assert one.producer_id == one.producer_id


def _python(script: str, *inside: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*inside, sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_wrong_worker_setting_does_not_stop_a_recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A web process may share its environment with a worker."""
    monkeypatch.setenv("USAGEPIPE_BATCH_ROWS", "many")
    monkeypatch.setenv("USAGEPIPE_CLICKHOUSE", "db")

    UsageRecorder(enabled=False).close()
