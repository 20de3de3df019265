"""Wrong values of single settings: each is named, with what to write."""

import pytest
from pydantic import SecretStr

from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.settings import PREFIX, Settings

PASSWORD = "hunter2"


def problems(**options: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        Settings.load(**options)
    return caught.value.problems


def test_every_wrong_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One start reports all mistakes in the environment and in the options."""
    monkeypatch.setenv("USAGEPIPE_KAFKA", "kafka")
    monkeypatch.setenv("USAGEPIPE_TOPIC", "usage events")
    monkeypatch.setenv("USAGEPIPE_QUEUE_EVENTS", "many")
    monkeypatch.setenv("USAGEPIPE_COMPRESSION", "rar")

    found = problems(clickhouse="db", batch_rows=0, colour="blue")

    names = ["KAFKA", "CLICKHOUSE", "TOPIC", "QUEUE_EVENTS", "COMPRESSION", "BATCH_ROWS", "COLOUR"]
    assert {f"USAGEPIPE_{name}" for name in names} == {
        text.split()[0].rstrip(":") for text in found
    }


def test_error_names_the_value_and_the_cure() -> None:
    """The text shows the given value and says what to write."""
    (problem,) = problems(kafka="kafka")

    assert "USAGEPIPE_KAFKA is 'kafka': write host:port, several with commas between them." == (
        problem
    )


def test_a_switch_is_on_or_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says so."""
    monkeypatch.setenv("USAGEPIPE_PREFLIGHT", "banana")

    with pytest.raises(SettingsError, match=r"USAGEPIPE_PREFLIGHT is 'banana': write on or off\."):
        Settings.load()


@pytest.mark.parametrize(
    ("word", "expected"),
    [("on", True), ("off", False), ("true", True), ("False", False), ("1", True), ("no", False)],
)
def test_a_switch_takes_the_usual_words(
    monkeypatch: pytest.MonkeyPatch, word: str, expected: bool
) -> None:
    """Every switch takes all of them, in any case."""
    switches = [name for name, f in Settings.model_fields.items() if f.annotation is bool]
    for name in switches:
        monkeypatch.setenv(f"{PREFIX}{name.upper()}", word)

    settings = Settings.load()

    assert {expected} == {getattr(settings, name) for name in switches}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("LINGER_MS", "soon", "'soon': write a whole number from 0 to 60000."),
        ("LINGER_MS", "60001", "'60001': write a whole number from 0 to 60000."),
        ("LINGER_MS", "", "'': write a whole number from 0 to 60000."),
        ("QUEUE_KILOBYTES", "1.5", "'1.5': write a whole number from 64 to 2097151."),
        ("CLOSE_SECONDS", "0", "'0': write a number above 0 to 600."),
        ("SESSION_SECONDS", "nan", "'nan': write a number from 6 to 1800."),
        ("BATCH_SECONDS", "inf", "'inf': write a number from 0.01 to 60."),
        (
            "COST",
            "Prices",
            "'Prices': write reported-first, prices-first, prices-only or reported-only.",
        ),
        ("COMPRESSION", "rar", "'rar': write none, gzip, snappy, lz4 or zstd."),
        (
            "KAFKA_SASL_MECHANISM",
            "GSSAPI",
            "'GSSAPI': write PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER.",
        ),
        ("KAFKA_TLS", "maybe", "'maybe': write on or off."),
        ("GROUP", "", "'': write 1 to 200 characters."),
        ("GROUP", "g" * 999, f"'{'g' * 79}…: write 1 to 200 characters."),
        ("WEB_HOST", "", "'': write a text that is not empty."),
    ],
)
def test_a_wrong_value_is_shown_with_what_to_write(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    """Every kind of setting: numbers, words, switches, texts."""
    monkeypatch.setenv(f"{PREFIX}{name}", value)

    assert (f"{PREFIX}{name} is {problem}",) == problems()


def test_every_setting_has_a_message_of_its_own() -> None:
    """No message of the library is shown, and no secret's value."""
    given = {name: [PASSWORD] for name in Settings.model_fields}

    found = problems(**given)

    assert len(given) == len(found)
    assert [] == [text for text in found if "nput should" in text or ": write " not in text]
    secret = [n for n, f in Settings.model_fields.items() if f.annotation is SecretStr]
    shown = {text.split()[0] for text in found if PASSWORD in text}
    assert set() == shown & {PREFIX + name.upper() for name in secret}


@pytest.mark.parametrize(
    "kafka", ["", "kafka", "kafka:", ":9092", "kafka:0", "kafka:65536", "kafka:x", "a:1,b", "a:1,,"]
)
def test_bootstrap_server_needs_host_and_port(kafka: str) -> None:
    """A server without a valid port is refused at the start."""
    assert 1 == len(problems(kafka=kafka))


@pytest.mark.parametrize("kafka", ["kafka:9092", "a:1,b:65535", "a:1, b:2", "[::1]:9092"])
def test_bootstrap_servers_are_kept(kafka: str) -> None:
    """One server or several."""
    assert kafka == Settings.load(kafka=kafka).kafka


@pytest.mark.parametrize("topic", ["", ".", "..", "a b", "a/b", "ü", "x" * 201])
def test_topic_name_that_kafka_refuses_is_refused_here(topic: str) -> None:
    """A wrong name stops the start, not the first record."""
    assert 1 == len(problems(topic=topic))


def test_a_topic_that_is_too_long_is_refused_for_its_length() -> None:
    """The reason is the length, not the letters."""
    (problem,) = problems(topic="a" * 300)

    assert "USAGEPIPE_TOPIC has 300 characters: a topic's name has 200 at most." == problem


@pytest.mark.parametrize("name", ["a-b", "1a", "a;DROP", "a.b", "x" * 65])
def test_cluster_is_an_identifier(name: str) -> None:
    """The cluster's name is written into SQL: nothing but an identifier gets there."""
    assert 1 == len(problems(clickhouse_cluster=name))


@pytest.mark.parametrize("address", ["http://kafka:9092", "a\nb:9092", "user@kafka:9092", "k k:1"])
def test_a_url_is_not_a_bootstrap_server(address: str) -> None:
    """The client would wait for a host of that name."""
    with pytest.raises(SettingsError, match="write host:port"):
        Settings.load(kafka=address)


def test_a_password_in_the_bootstrap_servers_is_not_quoted() -> None:
    """It is refused without its text, which may go to a log."""
    (problem,) = problems(kafka="ann:hunter2@kafka:9092")

    assert "USAGEPIPE_KAFKA_SASL_PASSWORD" in problem
    assert "hunter2" not in problem


def test_an_empty_web_host_is_refused() -> None:
    """Faust would end with a traceback."""
    with pytest.raises(SettingsError, match="USAGEPIPE_WEB_HOST"):
        Settings.load(web_host="")


def test_kinds_of_requests_are_a_list_of_known_words() -> None:
    """An unknown kind is refused with the list of known kinds; spaces do not matter."""
    (problem,) = problems(record="failed,lost")

    assert "USAGEPIPE_RECORD names 'lost': write failed, cancelled, missing, or some of them." == (
        problem
    )
    assert {"failed", "missing"} == Settings.load(record=" failed, missing,").recorded_kinds
    assert set() == Settings.load(record="").recorded_kinds
