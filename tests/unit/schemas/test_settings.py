"""Settings: where they come from, what is refused, and what is never shown."""

import pickle

import pytest
from pydantic import ValidationError

from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.settings import ClickHouseAddress, Settings

PASSWORD = "hunter2"
URL = f"https://ann:{PASSWORD}@db.example:9440/usage"


def problems(**options: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        Settings.load(**options)
    return caught.value.problems


def test_every_wrong_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One start is enough to learn of all mistakes, in the environment and in options."""
    monkeypatch.setenv("USAGEPIPE_KAFKA", "kafka")
    monkeypatch.setenv("USAGEPIPE_TOPIC", "usage events")
    monkeypatch.setenv("USAGEPIPE_QUEUE_EVENTS", "many")
    monkeypatch.setenv("USAGEPIPE_COMPRESSION", "rar")

    found = problems(clickhouse="db", batch_rows=0, colour="blue")

    names = ["KAFKA", "CLICKHOUSE", "TOPIC", "QUEUE_EVENTS", "COMPRESSION", "BATCH_ROWS", "COLOUR"]
    assert {f"USAGEPIPE_{name}" for name in names} == {
        text.split()[0].rstrip(":") for text in found
    }


def test_error_tells_the_value_and_the_cure() -> None:
    """The text says what was given and what to write."""
    (problem,) = problems(kafka="kafka")

    assert "USAGEPIPE_KAFKA is 'kafka': write host:port, several with commas between them." == (
        problem
    )


def test_a_switch_is_on_or_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The words that it takes are told."""
    monkeypatch.setenv("USAGEPIPE_PROOF", "banana")

    with pytest.raises(SettingsError, match=r"USAGEPIPE_PROOF is neither on nor off\."):
        Settings.load()


@pytest.mark.parametrize(
    "kafka", ["", "kafka", "kafka:", ":9092", "kafka:0", "kafka:65536", "kafka:x", "a:1,b", "a:1,,"]
)
def test_bootstrap_server_needs_host_and_port(kafka: str) -> None:
    """A server without a port, or with one that is none, is refused at the start."""
    assert 1 == len(problems(kafka=kafka))


@pytest.mark.parametrize("kafka", ["kafka:9092", "a:1,b:65535", "a:1, b:2", "[::1]:9092"])
def test_bootstrap_servers_are_kept(kafka: str) -> None:
    """One server or several."""
    assert kafka == Settings.load(kafka=kafka).kafka


@pytest.mark.parametrize("topic", ["", ".", "..", "a b", "a/b", "ü", "x" * 201])
def test_topic_name_that_kafka_refuses_is_refused_here(topic: str) -> None:
    """A wrong name stops the start, not the first record."""
    assert 1 == len(problems(topic=topic))


def test_a_topic_that_is_too_long_is_told_so() -> None:
    """The reason is the length, not the letters."""
    (problem,) = problems(topic="a" * 300)

    assert "USAGEPIPE_TOPIC has 300 characters: a topic's name has 200 at most." == problem


@pytest.mark.parametrize("name", ["a-b", "1a", "a;DROP", "a.b", "x" * 65])
def test_cluster_is_an_identifier(name: str) -> None:
    """The cluster's name is written into SQL: nothing but an identifier gets there."""
    assert 1 == len(problems(clickhouse_cluster=name))


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


def test_clickhouse_url_is_taken_apart() -> None:
    """User, password, host, port and database come from the one URL, decoded."""
    address = Settings.load(clickhouse="https://a%40b:p%2Fw%3A@db:9440/usage").clickhouse_address

    assert ClickHouseAddress("db", 9440, "a@b", "p/w:", "usage", secure=True) == address


@pytest.mark.parametrize(
    ("url", "port"), [("http://db", 8123), ("https://db", 8443), ("http://db:1/", 1)]
)
def test_clickhouse_url_may_be_short(url: str, port: int) -> None:
    """Port, user and database have ClickHouse's own defaults."""
    address = ClickHouseAddress.parse(url)

    assert (port, "default", "default") == (address.port, address.user, address.database)


WRONG_URLS = [
    f"ann:{PASSWORD}@db:8123",
    f"tcp://ann:{PASSWORD}@db:9000/usage",
    f"http://ann:{PASSWORD}/x@db:8123/usage",
    f"http://ann:12345/{PASSWORD}@db:8123/usage",
    f"http://ann:{PASSWORD}@:8123/usage",
    f"http://ann:{PASSWORD}@db:{PASSWORD}/usage",
    f"http://ann:{PASSWORD}@db:8123/a-b",
    f"http://ann:{PASSWORD}@[db:8123/usage",
    PASSWORD,
]


@pytest.mark.parametrize("url", WRONG_URLS)
def test_wrong_url_is_refused_without_being_shown(url: str) -> None:
    """A URL may hold a password: no part of a wrong one is in the text or its causes."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(clickhouse=url)

    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ is True


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
    """The README's table is made of these."""
    fields = Settings.model_fields

    assert [] == [name for name, field in fields.items() if not field.description]
    assert [] == [n for n, f in fields.items() if not str(f.description).endswith(".")]


def test_kinds_of_requests_are_a_list_of_known_words() -> None:
    """An unknown kind is refused with the words that there are; blanks do not matter."""
    (problem,) = problems(record="failed,lost")

    assert "USAGEPIPE_RECORD names 'lost': write failed, cancelled, missing, or some of them." == (
        problem
    )
    assert {"failed", "missing"} == Settings.load(record=" failed, missing,").recorded_kinds
    assert set() == Settings.load(record="").recorded_kinds
