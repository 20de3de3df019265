"""Each kind of process reads and checks its own settings only."""

import pytest

from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.settings import (
    PREFIX,
    MigrationSettings,
    ProducerSettings,
    QuerySettings,
    Settings,
    StorageSettings,
    WorkerSettings,
)
from usagepipe.schemas.settings.base import ProcessSettings

PROCESSES: tuple[type[ProcessSettings], ...] = (
    ProducerSettings,
    QuerySettings,
    StorageSettings,
    MigrationSettings,
    WorkerSettings,
)


def is_refused(model: type[ProcessSettings]) -> bool:
    try:
        model.load()
    except SettingsError:
        return True
    return False


@pytest.mark.parametrize(
    ("variable", "wrong", "stopped"),
    [
        ("BATCH_ROWS", "0", {WorkerSettings}),
        ("QUEUE_EVENTS", "0", {ProducerSettings}),
        ("TOPIC_PARTITIONS", "0", {MigrationSettings}),
        ("DEDUP_DAYS", "-1", {StorageSettings, MigrationSettings, WorkerSettings}),
        ("CLICKHOUSE", "db", {QuerySettings, StorageSettings, MigrationSettings, WorkerSettings}),
        ("KAFKA", "kafka", {ProducerSettings, StorageSettings, MigrationSettings, WorkerSettings}),
        (
            "LOG_LEVEL",
            "loud",
            {ProducerSettings, QuerySettings, StorageSettings, MigrationSettings, WorkerSettings},
        ),
    ],
)
def test_a_wrong_setting_stops_only_the_processes_that_use_it(
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    wrong: str,
    stopped: set[type[ProcessSettings]],
) -> None:
    """Each kind of process checks its own settings; the complete model checks all of them."""
    monkeypatch.setenv(f"{PREFIX}{variable}", wrong)

    found = {model for model in PROCESSES if is_refused(model)}

    assert stopped == found
    assert is_refused(Settings)


def test_a_wrong_clickhouse_file_does_not_stop_a_web_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A producer has no ClickHouse, so it reads none of its files."""
    monkeypatch.setenv("USAGEPIPE_CLICKHOUSE_FILE", "/nowhere")

    assert not is_refused(ProducerSettings)
    assert is_refused(QuerySettings)


def test_the_complete_model_has_every_setting_of_every_process() -> None:
    """The table of settings and the check for mistyped variables use it."""
    names = {name for model in PROCESSES for name in model.model_fields}

    assert names == set(Settings.model_fields)
