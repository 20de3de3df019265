"""A recorder is made from settings or options, before any thread or connection."""

import pytest

from tests.support.absent_kafka import NOWHERE
from tests.support.events import event
from tests.support.programs import run_python
from usagepipe.producer import UsageRecorder
from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.settings import Settings

pytestmark = pytest.mark.usefixtures("no_spill")


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

    assert "1 None\n" == run_python(script).stdout


def test_each_process_has_its_own_producer_id() -> None:
    """Two recorders never share an id, so neither can hide the other's gaps."""
    with UsageRecorder(kafka=NOWHERE) as one, UsageRecorder(kafka=NOWHERE) as other:
        assert one.producer_id != other.producer_id
        assert one.producer_id == one.producer_id


def test_a_wrong_worker_setting_does_not_stop_a_recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A web process may share its environment with a worker."""
    monkeypatch.setenv("USAGEPIPE_BATCH_ROWS", "many")
    monkeypatch.setenv("USAGEPIPE_CLICKHOUSE", "db")

    UsageRecorder(enabled=False).close()
