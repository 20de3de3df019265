"""A run's own names: nobody else's tables or topics are ever meant."""

from datetime import UTC, datetime

import pytest

from usagepipe.local.demo.sandbox import Sandbox
from usagepipe.schemas import Settings
from usagepipe.schemas.errors import SettingsError

NOW = datetime(2026, 1, 31, 14, 30, tzinfo=UTC)
URL = "http://ada:p%40ss@[::1]:8124/precious"


def made(**local: bool) -> Sandbox:
    return Sandbox.of("localhost:9092", URL, NOW, **local)


def test_names_are_the_runs_own() -> None:
    """Database, topics and group are named after the run; server, user and password stay."""
    settings = made().settings

    address = settings.clickhouse_address
    assert address.database.startswith("usagepipe_demo_20260131_143000_")
    assert ("::1", 8124, "ada", "p@ss") == (
        address.host,
        address.port,
        address.user,
        address.password,
    )
    assert settings.topic.startswith("usage.events.demo_20260131_143000_")
    assert settings.dead_letter_topic.endswith(".dlq.v1")
    assert settings.group == address.database


def test_two_runs_of_one_second_have_two_names() -> None:
    """Runs that start together do not meet."""
    assert made().database != made().database


def test_processes_get_exactly_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child's settings are the sandbox's, not those of the demo's environment."""
    monkeypatch.setenv("USAGEPIPE_TOPIC", "usage.events.v1")
    monkeypatch.setenv("usagepipe_group", "production")
    monkeypatch.setenv("USAGEPIPE_ENABLED", "false")
    monkeypatch.setenv("USAGEPIPE_BATCH_ROWS", "77")
    sandbox = made(local_kafka=True)
    environment = sandbox.environment

    for name in ("USAGEPIPE_TOPIC", "usagepipe_group", "USAGEPIPE_ENABLED", "USAGEPIPE_BATCH_ROWS"):
        monkeypatch.delenv(name)
    for name in (name for name in environment if name.upper().startswith("USAGEPIPE_")):
        monkeypatch.setenv(name, environment[name])

    assert sandbox.settings == Settings.load()
    assert (77, True) == (sandbox.settings.batch_rows, sandbox.settings.enabled)


def test_local_servers_get_settings_that_suit_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded broker and ClickHouse get shorter sessions and longer batches, unless set."""
    monkeypatch.setenv("USAGEPIPE_BATCH_SECONDS", "0.5")

    tuned = made(local_kafka=True, local_clickhouse=True).settings
    plain = made().settings

    assert (6.0, 0.5) == (tuned.session_seconds, tuned.batch_seconds)
    assert (7.0, 0.5) == (plain.session_seconds, plain.batch_seconds)


def test_a_wrong_address_is_named() -> None:
    """A wrong server is found before anything is made."""
    with pytest.raises(SettingsError, match="USAGEPIPE_KAFKA"):
        Sandbox.of("localhost", URL, NOW)
