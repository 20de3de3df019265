"""Which programs refuse unfit retention, and which ignore it."""

import pytest

from usagepipe.cli.root import run
from usagepipe.producer import UsageRecorder

WRONG_USE, UNREACHABLE = 2, 3


@pytest.fixture(autouse=True)
def too_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raw rows would expire before the log's records, and rollups before raw rows."""
    monkeypatch.setenv("USAGEPIPE_RAW_RETENTION_DAYS", "3")
    monkeypatch.setenv("USAGEPIPE_ROLLUP_RETENTION_DAYS", "2")


@pytest.mark.parametrize("command", ["worker", "migrate", "audit", "replay"])
def test_who_stores_or_audits_refuses_it_before_anything_else(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It needs no server."""
    status = run([command, "--kafka", "127.0.0.1:1", "--clickhouse", "http://127.0.0.1:1"])

    raw, rollup = capsys.readouterr().err.splitlines()
    assert WRONG_USE == status
    assert raw.startswith("Error: USAGEPIPE_RAW_RETENTION_DAYS is 3:")
    assert rollup.startswith("USAGEPIPE_ROLLUP_RETENTION_DAYS is 2:")


def test_a_producer_never_fails_because_of_it() -> None:
    """It stores nothing, and may share the environment of programs that do."""
    with UsageRecorder(kafka="127.0.0.1:1", close_seconds=0.1) as recorder:
        kafka = recorder.settings.kafka

    assert "127.0.0.1:1" == kafka


def test_a_reader_never_fails_because_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    """It only reads, so the missing server is the only error."""
    status = run(["usage", "--clickhouse", "http://127.0.0.1:1"])

    assert UNREACHABLE == status
    assert "cannot be reached" in capsys.readouterr().err
