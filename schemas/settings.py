"""The settings of a process: one frozen model, read once from the environment, passed down.

Every field is `USAGEPIPE_<FIELD>`; a command's option wins over the environment. `load` reports
all wrong fields at once. Secrets stay masked in every text made of the model. How long rows and
records stay must fit together, which only matters to those who store: they ask `check_retention`.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsConfigDict

from usagepipe.schemas.clickhouse_settings import (
    IDENTIFIER,
    ClickHouseAddress,
    ClickHouseSettings,
    clickhouse_problems,
)
from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.kafka_problems import kafka_problems
from usagepipe.schemas.kafka_settings import KafkaSettings
from usagepipe.schemas.secret_files import revealed
from usagepipe.schemas.setting_problems import setting_problem
from usagepipe.schemas.topics import EVENTS_TOPIC, dead_letter_topic

__all__ = ["PREFIX", "ClickHouseAddress", "Settings", "plain"]

PREFIX = "USAGEPIPE_"
# Each can also come from a file, named by USAGEPIPE_<FIELD>_FILE.
SECRETS = {
    *("kafka_tls_key_password", "kafka_sasl_password", "kafka_oauth_client_secret"),
    *("clickhouse", "clickhouse_tls_key_password"),
}
_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]+")
_MAX_TOPIC_CHARS = 200  # Kafka's limit is 249; the DLQ adds to it
MAX_BATCH_ROWS = 1_000_000
RECORD_KINDS = ("failed", "cancelled", "missing")
AUTO = "auto"


def _check_topic(value: str) -> str:
    if len(value) > _MAX_TOPIC_CHARS:
        raise ValueError(
            f"has {len(value)} characters: a topic's name has {_MAX_TOPIC_CHARS} at most"
        )
    if not _TOPIC_NAME.fullmatch(value) or value in {".", ".."}:
        raise ValueError(f"is {value!r}: a topic's name has letters, digits, dots, _ and - only")
    return value


def _check_identifier(value: str) -> str:
    if value and not IDENTIFIER.fullmatch(value):
        raise ValueError(f"is {value!r}: letters, digits and _ only, no digit in front")
    return value


def _check_kinds(value: str) -> str:
    for kind in kinds_in(value):
        if kind not in RECORD_KINDS:
            raise ValueError(f"names {kind!r}: write {', '.join(RECORD_KINDS)}, or some of them")
    return value


def kinds_in(value: str) -> tuple[str, ...]:
    """The words of a list with commas."""
    return tuple(word.strip() for word in value.split(",") if word.strip())


Identifier = Annotated[str, AfterValidator(_check_identifier)]


def state_path() -> Path:
    """This user's folder for what must outlive a process.

    Raises:
        RuntimeError: there is no home directory.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    # A relative one is to be ignored (XDG Base Directory Specification).
    home = state if Path(state).is_absolute() else "~/.local/state"
    return Path(home).expanduser() / "usagepipe"


class Settings(ClickHouseSettings, KafkaSettings):
    """All settings of usagepipe. Frozen: a process reads them once."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    # Servers and names that other programs rely on (DESIGN: names are fixed).
    topic: Annotated[str, AfterValidator(_check_topic)] = Field(
        default=EVENTS_TOPIC, description="Topic of the usage events."
    )
    group: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        default="usagepipe", description="Consumer group of the workers."
    )

    # What `usagepipe migrate` makes.
    topic_partitions: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=8, description="Partitions of the topic, when `usagepipe migrate` makes it."
    )
    topic_replication: Annotated[int, Field(ge=-1, le=100)] = Field(
        default=-1, description="Replicas of the topic's partitions; -1 is the broker's default."
    )
    topic_retention_days: Annotated[int, Field(ge=1, le=3_650)] = Field(
        default=7, description="How long Kafka keeps events and dead letters."
    )
    clickhouse_cluster: Identifier = Field(
        default="", description="Name of the ClickHouse cluster; empty is one server."
    )
    raw_retention_days: Annotated[int, Field(ge=0, le=36_500)] = Field(
        default=400,
        description="How long raw events stay, counted from their arrival; 0 is for ever. Longer "
        "than USAGEPIPE_TOPIC_RETENTION_DAYS, and at least USAGEPIPE_DEDUP_DAYS.",
    )
    rollup_retention_days: Annotated[int, Field(ge=0, le=36_500)] = Field(
        default=0,
        description="How long rollups stay, counted from their last event's arrival; 0 is for "
        "ever. Never shorter than raw events.",
    )

    # The producer.
    enabled: bool = Field(default=True, description="off makes the recorder do nothing.")
    metrics: bool = Field(
        default=False,
        description="Whether the recorder counts into prometheus-client's registry "
        "(extra `metrics`).",
    )
    queue_events: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=100_000,
        description="Events the recorder holds in memory; more are dropped.",
    )
    queue_kilobytes: Annotated[int, Field(ge=64, le=2_097_151)] = Field(
        default=131_072, description="The same bound in KiB of memory."
    )
    linger_ms: Annotated[int, Field(ge=0, le=60_000)] = Field(
        default=20, description="How long the recorder gathers events before it sends them."
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        default="lz4", description="How the recorder compresses what it sends."
    )
    spill_dir: str = Field(
        default=AUTO,
        description="Folder for events while Kafka does not take them; empty is none. auto is "
        "`usagepipe` in `$XDG_STATE_HOME`, else in `~/.local/state`. It must outlive the process "
        "and be on a disk of this machine, no network file system.",
    )
    spill_megabytes: Annotated[int, Field(ge=1, le=1_048_576)] = Field(
        default=256, description="The most that a process keeps in that folder, in MiB."
    )
    spill_policy: Literal["newest", "oldest"] = Field(
        default="newest", description="Which events are dropped when that is full."
    )
    close_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=10.0,
        description="How long the recorder tries to deliver what is left when it closes.",
    )
    max_body_kilobytes: Annotated[int, Field(ge=1, le=1_048_576)] = Field(
        default=256,
        description="The most of one JSON document that the middleware holds to read its usage; "
        "of a larger one it keeps the parts with the usage.",
    )
    record: Annotated[str, AfterValidator(_check_kinds)] = Field(
        default="failed,cancelled,missing",
        description="Requests to models that become events although their tokens are not known: "
        "those that failed, whose client did not wait for the end, or whose answer has no usage. "
        "Empty: none.",
    )

    # The worker.
    batch_rows: Annotated[int, Field(ge=1, le=MAX_BATCH_ROWS)] = Field(
        default=50_000, description="Maximum rows per batch."
    )
    batch_megabytes: Annotated[int, Field(ge=1, le=1_024)] = Field(
        default=32, description="Maximum MiB of records per batch."
    )
    buffer_megabytes: Annotated[int, Field(ge=16, le=1_048_576)] = Field(
        default=192,
        description="MiB of records that a worker holds until they are stored: half for those "
        "that wait, as compressed as they came, half for batches in work. Its partitions share it. "
        "For more inserts of full batches at once, raise it as well.",
    )
    batch_seconds: Annotated[float, Field(ge=0.01, le=60)] = Field(
        default=0.25,
        description="Maximum time that a record waits for its batch to fill; in a backlog it is up "
        "to 2 seconds.",
    )
    inserts: Annotated[int, Field(ge=1, le=64)] = Field(
        default=4, description="Inserts that a worker runs at once, each of one partition."
    )
    insert_seconds: Annotated[float, Field(ge=1, le=600)] = Field(
        default=15.0,
        description="How long one insert may take.",
    )
    lockout_seconds: Annotated[float, Field(ge=1, le=86_400)] = Field(
        default=60.0,
        description="How long ClickHouse may refuse a worker's login or rights before the worker "
        "gives its partitions to others. It takes some again when ClickHouse accepts it.",
    )
    dedup_days: Annotated[int, Field(ge=0, le=36_500)] = Field(
        default=35,
        description="How many days back an event with the same id counts as a copy, which is not "
        "stored; 0 stores every copy.",
    )
    session_seconds: Annotated[float, Field(ge=6, le=1_800)] = Field(
        default=7.0,
        description="Consumer session timeout: a worker without a heartbeat for this time loses "
        "its partitions to others.",
    )
    drain_seconds: Annotated[float, Field(ge=0, le=600)] = Field(
        default=20.0, description="How long a stopping worker finishes what it has begun."
    )
    proof: bool = Field(
        default=True,
        description="off starts a worker even where its servers would lose or double events; it "
        "warns then.",
    )
    dead_letter_run: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=1_000,
        description="A partition is parked when more of its records in a row are refused.",
    )
    dead_letter_ratio: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.2,
        description="A partition is parked when a larger share of its last 10,000 records is "
        "refused; 1 is never.",
    )
    web_host: Annotated[str, Field(min_length=1)] = Field(
        default="127.0.0.1", description="Address of the worker's health and metrics."
    )
    web_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        default=6066, description="Port of the worker's health and metrics."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Least level that is logged. A web process logs where it has configured "
        "Python's `logging`, else nowhere; unless this is set, its configuration decides the "
        "level.",
    )

    @classmethod
    def load(cls, **options: object) -> Self:
        """The settings of this process: `options` (None is "not given") over the environment.

        Raises:
            SettingsError: with one sentence for every wrong field.
        """
        given = {name: value for name, value in options.items() if value is not None}
        for name in _outdone_files(given):
            given.setdefault(name, "")
        problems: list[str] = []
        try:
            settings = cls(**given)  # type: ignore[arg-type]  # checked by the model itself
        except ValidationError as error:
            wrong = {str(p["loc"][0]): p for p in error.errors(include_url=False)}
            problems += (_problem(name, each) for name, each in wrong.items())
            settings = cls(**_with_defaults(given, set(wrong)))
        problems += kafka_problems(settings)
        problems += clickhouse_problems(settings)
        if problems:
            raise SettingsError(tuple(problems)) from None  # the model's text quotes secrets
        return settings

    def check_retention(self) -> None:
        """Return if raw rows stay long enough to tell what is stored, and rollups as long as they.

        For whoever stores, repairs or audits. A producer or reader needs none of it, and must not
        fail because of it.

        Raises:
            SettingsError: with one sentence for every setting that does not fit.
        """
        if problems := tuple(_unfit_retention(self)):
            raise SettingsError(problems)

    @property
    def recorded_kinds(self) -> frozenset[str]:
        return frozenset(kinds_in(self.record))

    @property
    def spill_path(self) -> Path | None:
        """Where events are kept while Kafka does not take them; None for nowhere.

        Raises:
            SettingsError: the path begins with a home directory, and there is none.
        """
        if not self.spill_dir:
            return None
        try:
            return state_path() if self.spill_dir == AUTO else Path(self.spill_dir).expanduser()
        except RuntimeError:  # a user id without a name, as in many containers
            problem = "USAGEPIPE_SPILL_DIR: there is no such home directory. Name a whole path."
            raise SettingsError((problem,)) from None

    @property
    def dead_letter_topic(self) -> str:
        return dead_letter_topic(self.topic)

    @property
    def topic_retention(self) -> timedelta:
        return timedelta(days=self.topic_retention_days)


def plain(server: type[KafkaSettings] | type[ClickHouseSettings]) -> dict[str, object]:
    """Options for a server without TLS and login, whatever the environment says of another."""
    return {name: field.get_default() for name, field in server.model_fields.items()}


def _outdone_files(given: Mapping[str, object]) -> Iterator[str]:
    """Options win over the environment, so over these files that it names for the same secrets."""
    yield from (f"{name}_file" for name in SECRETS & given.keys())
    with suppress(ValueError):  # no address: it is reported as such
        if ClickHouseAddress.parse(revealed(given.get("clickhouse", ""))).password:
            yield "clickhouse_password_file"


def _with_defaults(given: dict[str, object], wrong: set[str]) -> dict[str, Any]:
    """`given` with the defaults of `wrong` fields: what is right of them is checked on."""
    fields = Settings.model_fields
    right = {name: value for name, value in given.items() if name not in wrong}
    return right | {name: fields[name].get_default() for name in wrong if name in fields}


def _unfit_retention(settings: Settings) -> Iterator[str]:
    raw, rollup = settings.raw_retention_days, settings.rollup_retention_days
    topic, dedup = settings.topic_retention_days, settings.dedup_days
    if raw and raw < (least := max(topic + 1, dedup)):
        yield (
            f"USAGEPIPE_RAW_RETENTION_DAYS is {raw}: a record that Kafka still keeps, or a copy of "
            "an event, would be stored and summed again when its row has left. Write "
            f"{least} or more (above USAGEPIPE_TOPIC_RETENTION_DAYS, which is {topic}, and at "
            f"least USAGEPIPE_DEDUP_DAYS, which is {dedup}), or 0 for ever."
        )
    if rollup and (not raw or rollup < raw):
        raw_days = f"{raw}" if raw else "0, for ever"
        cure = f"Write {raw} or more, or 0 for ever." if raw else "Write 0."
        yield (
            f"USAGEPIPE_ROLLUP_RETENTION_DAYS is {rollup}: rollups would leave before the raw "
            f"events they sum (USAGEPIPE_RAW_RETENTION_DAYS is {raw_days}), and no audit would "
            f"balance. {cure}"
        )


def _problem(name: str, error: ErrorDetails) -> str:
    return setting_problem(PREFIX + name.upper(), Settings.model_fields.get(name), error)
