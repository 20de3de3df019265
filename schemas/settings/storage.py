"""The settings of commands that read or repair the topic and the tables."""

from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.settings.base import ProcessSettings, TopicSettings
from usagepipe.schemas.settings.checks import Identifier
from usagepipe.schemas.settings.clickhouse import ClickHouseSettings


class CostRule(StrEnum):
    """Which cost of an event counts."""

    REPORTED_FIRST = "reported-first"  # its own if it has one, else the price book's
    PRICES_FIRST = "prices-first"  # the price book's if there is one, else its own
    PRICES_ONLY = "prices-only"
    REPORTED_ONLY = "reported-only"


class QuerySettings(ClickHouseSettings, ProcessSettings):
    """The settings of a process that only queries ClickHouse."""


class StorageSettings(QuerySettings, TopicSettings):
    """What workers and commands must agree on: servers, names, and how long data is kept."""

    group: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        default="usagepipe", description="Consumer group of the workers."
    )
    clickhouse_cluster: Identifier = Field(
        default="", description="Name of the ClickHouse cluster; empty: a single server."
    )
    topic_retention_days: Annotated[int, Field(ge=1, le=3_650)] = Field(
        default=7, description="How many days Kafka keeps events and dead letters."
    )
    raw_retention_days: Annotated[int, Field(ge=0, le=36_500)] = Field(
        default=400,
        description="How many days raw events are kept after their arrival; 0: for ever. Must be "
        "more than USAGEPIPE_TOPIC_RETENTION_DAYS, and at least USAGEPIPE_DEDUP_DAYS.",
    )
    rollup_retention_days: Annotated[int, Field(ge=0, le=36_500)] = Field(
        default=0,
        description="How many days rollups are kept after the arrival of their last event; 0: for "
        "ever. Must not be less than USAGEPIPE_RAW_RETENTION_DAYS.",
    )
    dedup_days: Annotated[int, Field(ge=0, le=36_500)] = Field(
        default=35,
        description="How many days back workers look for an event with the same id. They skip such "
        "a duplicate; 0 stores every duplicate.",
    )
    cost: CostRule = Field(
        default=CostRule.REPORTED_FIRST,
        description="Which cost of an event counts. reported-first: what the provider reported or "
        "a handler stamped, else the price book's. prices-first: the price book's, else its own. "
        "prices-only: the price book's. reported-only: its own; no price book is used.",
    )

    @property
    def topic_retention(self) -> timedelta:
        return timedelta(days=self.topic_retention_days)

    def check_retention(self) -> None:
        """Check that raw rows are kept longer than the topic, and rollups as long as raw rows.

        Raises:
            SettingsError: with one sentence for every setting that is too short.
        """
        if problems := tuple(_retention_problems(self)):
            raise SettingsError(problems)


class MigrationSettings(StorageSettings):
    """The settings of `usagepipe migrate`, which creates the topics and tables."""

    topic_partitions: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=8, description="Partitions of the topic that `usagepipe migrate` creates."
    )
    topic_replication: Annotated[int, Field(ge=-1, le=100)] = Field(
        default=-1,
        description="Replicas of each partition of that topic; -1: the broker's default.",
    )


def _retention_problems(settings: StorageSettings) -> Iterator[str]:
    raw, rollup = settings.raw_retention_days, settings.rollup_retention_days
    topic, dedup = settings.topic_retention_days, settings.dedup_days
    if raw and raw < (least := max(topic + 1, dedup)):
        yield (
            f"USAGEPIPE_RAW_RETENTION_DAYS is {raw}: a record that Kafka still keeps, or a "
            "duplicate of an event, would be stored and summed again after its row has expired. "
            f"Write {least} or more (more than USAGEPIPE_TOPIC_RETENTION_DAYS, which is {topic}, "
            f"and at least USAGEPIPE_DEDUP_DAYS, which is {dedup}), or 0 for ever."
        )
    if rollup and (not raw or rollup < raw):
        raw_days = f"{raw}" if raw else "0, for ever"
        cure = f"Write {raw} or more, or 0 for ever." if raw else "Write 0."
        yield (
            f"USAGEPIPE_ROLLUP_RETENTION_DAYS is {rollup}: rollups would expire before the raw "
            f"events that they sum (USAGEPIPE_RAW_RETENTION_DAYS is {raw_days}), and every audit "
            f"would fail. {cure}"
        )
