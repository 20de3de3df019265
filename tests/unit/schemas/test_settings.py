"""Settings: where they come from, what is refused, and what is never shown."""

import pickle

import pytest
from pydantic import SecretStr, ValidationError

from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.settings import (
    PREFIX,
    ClickHouseAddress,
    MigrationSettings,
    ProducerSettings,
    QuerySettings,
    Settings,
    StorageSettings,
    WorkerSettings,
)
from usagepipe.schemas.settings.base import ProcessSettings

PASSWORD = "hunter2"
PROCESSES: tuple[type[ProcessSettings], ...] = (
    ProducerSettings,
    QuerySettings,
    StorageSettings,
    MigrationSettings,
    WorkerSettings,
)
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


def unfit(**days: int) -> list[str]:
    """The settings that do not fit together, by the first word of their sentences."""
    settings = Settings.load(**{f"{name}_days": number for name, number in days.items()})
    try:
        settings.check_retention()
    except SettingsError as error:
        return [text.split()[0].removeprefix(PREFIX) for text in error.problems]
    return []


RAW, ROLLUP = "RAW_RETENTION_DAYS", "ROLLUP_RETENTION_DAYS"


@pytest.mark.parametrize(
    ("raw", "topic", "dedup", "wrong"),
    [
        (400, 7, 35, []),
        (8, 7, 8, []),
        (8, 7, 0, []),
        (7, 7, 0, [RAW]),
        (35, 7, 35, []),
        (34, 7, 35, [RAW]),
        (400, 400, 35, [RAW]),
        (0, 3_650, 36_500, []),
    ],
)
def test_raw_rows_outlive_the_log_and_the_look_up_of_copies(
    raw: int, topic: int, dedup: int, wrong: list[str]
) -> None:
    """What Kafka can still tell again, and what a copy is looked for in, must be in the table."""
    assert wrong == unfit(raw_retention=raw, topic_retention=topic, dedup=dedup)


@pytest.mark.parametrize(
    ("rollup", "raw", "wrong"),
    [
        (400, 400, []),
        (399, 400, [ROLLUP]),
        (0, 400, []),
        (36_500, 0, [ROLLUP]),
        (0, 0, []),
        (20, 30, [RAW, ROLLUP]),
    ],
)
def test_rollups_outlive_the_raw_rows_they_sum(rollup: int, raw: int, wrong: list[str]) -> None:
    """Else raw holds what the rollups lack. All that is wrong is told at once."""
    assert wrong == unfit(rollup_retention=rollup, raw_retention=raw)


def test_retention_that_does_not_fit_is_told_with_the_cure() -> None:
    """Each sentence has the values and what to write."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(raw_retention_days=30, rollup_retention_days=20).check_retention()

    raw, rollup = caught.value.problems
    assert "USAGEPIPE_RAW_RETENTION_DAYS is 30: a record that Kafka still keeps" in raw
    assert "Write 35 or more (more than USAGEPIPE_TOPIC_RETENTION_DAYS, which is 7," in raw
    assert "at least USAGEPIPE_DEDUP_DAYS, which is 35), or 0 for ever." in raw
    assert rollup.startswith("USAGEPIPE_ROLLUP_RETENTION_DAYS is 20: rollups would expire before")
    assert rollup.endswith("Write 30 or more, or 0 for ever.")


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
    f"http://ann:{PASSWORD}@db:8123/usage?x={PASSWORD}",
    f"http://ann:{PASSWORD}@db:8123?secure=1",
    f"http://ann:{PASSWORD}@db:8123/usage#{PASSWORD}",
    f"http://ann:123?{PASSWORD}@db:8123/usage",
    f"http://ann:123#{PASSWORD}@db:8123/usage",
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


def test_query_parameters_of_the_url_are_refused() -> None:
    """They would have no effect."""
    (problem,) = problems(clickhouse="http://db:8123/usage?async_insert=1")

    assert problem.startswith("USAGEPIPE_CLICKHOUSE has a ? or #")
    assert "query parameters are not supported: write http://user:password@host" in problem


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


@pytest.mark.parametrize("address", ["http://kafka:9092", "a\nb:9092", "user@kafka:9092", "k k:1"])
def test_a_url_is_no_bootstrap_server(address: str) -> None:
    """It would be waited for as a host of that name."""
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
    """An unknown kind is refused with the words that there are; blanks do not matter."""
    (problem,) = problems(record="failed,lost")

    assert "USAGEPIPE_RECORD names 'lost': write failed, cancelled, missing, or some of them." == (
        problem
    )
    assert {"failed", "missing"} == Settings.load(record=" failed, missing,").recorded_kinds
    assert set() == Settings.load(record="").recorded_kinds


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


def is_refused(model: type[ProcessSettings]) -> bool:
    try:
        model.load()
    except SettingsError:
        return True
    return False


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
