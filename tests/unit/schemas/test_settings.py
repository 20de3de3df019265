"""Where settings come from, and that they stay secret and unchanged."""

import pickle

import pytest
from pydantic import ValidationError

from usagepipe.schemas.settings import Settings

PASSWORD = "hunter2"
URL = f"https://ann:{PASSWORD}@db.example:9440/usage"


def test_option_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command's option overrules its variable; None is an option that was not given."""
    monkeypatch.setenv("USAGEPIPE_KAFKA", "from-env:1")
    monkeypatch.setenv("USAGEPIPE_GROUP", "from-env")

    settings = Settings.load(kafka="from-option:2", group=None)

    assert ("from-option:2", "from-env") == (settings.kafka, settings.group)


def test_fixed_names_have_their_defaults() -> None:
    """Scripts outside of this repository rely on these."""
    settings = Settings.load()

    assert "usage.events.v1" == settings.topic
    assert "usage.events.dlq.v1" == settings.dead_letter_topic
    assert ("usagepipe", 8) == (settings.group, settings.topic_partitions)


def test_password_is_masked_in_every_text() -> None:
    """Neither the settings nor the address show the password when they are printed."""
    settings = Settings.load(clickhouse=URL)
    address = settings.clickhouse_address

    texts = [repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())]
    texts += [repr(address), str(address), f"{address}"]
    assert [] == [text for text in texts if PASSWORD in text]
    assert PASSWORD == address.password


def test_settings_cannot_be_changed() -> None:
    """A process reads its settings once."""
    settings = Settings.load()

    with pytest.raises(ValidationError, match="frozen"):
        settings.kafka = "other:1"


def test_settings_travel_to_other_processes() -> None:
    """Workers that are spawned get the same settings."""
    settings = Settings.load(clickhouse=URL, kafka="a:1")

    assert settings == pickle.loads(pickle.dumps(settings))


def test_every_setting_says_what_it_means() -> None:
    """The table of settings in the docs shows these."""
    fields = Settings.model_fields

    assert [] == [name for name, field in fields.items() if not field.description]
    assert [] == [n for n, f in fields.items() if not str(f.description).endswith(".")]
