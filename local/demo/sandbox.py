"""A run's own database, topics and group, so that it touches no other data and its sums balance.

A run on your own servers does not touch your tables: everything it creates is named after the run,
and only that is removed.
"""

import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from urllib.parse import quote

import structlog
from pydantic import SecretStr

from usagepipe.local.demo.tables import load_statement
from usagepipe.local.ports import HOST
from usagepipe.schemas import Settings
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.clickhouse.migrate import migrate
from usagepipe.schemas.errors import ServerUnavailableError
from usagepipe.schemas.kafka_clients import librdkafka_config
from usagepipe.schemas.settings import PREFIX, ClickHouseSettings, plain
from usagepipe.schemas.settings.kafka import KafkaSettings
from usagepipe.schemas.settings.secret_files import revealed
from usagepipe.schemas.settings.storage import CostRule
from usagepipe.schemas.topic_admin import ensure_topics

log = structlog.get_logger()

SERVER_SECONDS = 10.0  # to wait for a server that is just starting
REMOVE_SECONDS = 10.0
# The embedded broker lets the first member of a group wait for half of the session timeout.
LOCAL_SESSION_SECONDS = 6.0
# A laptop's two cores run everything: larger batches leave more of them to the requests.
LOCAL_BATCH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The settings of one run: those of the environment, with its own names."""

    settings: Settings

    @classmethod
    def of(
        cls,
        kafka: str,
        clickhouse: str,
        now: datetime,
        *,
        local_kafka: bool = False,
        local_clickhouse: bool = False,
    ) -> Self:
        """A sandbox on these servers, before anything is created. Local ones get fitting settings.

        Raises:
            SettingsError: an address, or another setting of the environment, is wrong.
        """
        run = f"{now:%Y%m%d_%H%M%S}_{secrets.token_hex(2)}"
        own: dict[str, object] = {}
        if local_kafka:
            own |= plain(KafkaSettings)
        if local_clickhouse:
            own |= plain(ClickHouseSettings)
        own |= {"kafka": kafka, "clickhouse": SecretStr(clickhouse)}
        given = Settings.load(**own)
        address = given.clickhouse_address
        preferred: dict[str, object] = {"log_level": "warning"}
        if local_kafka:
            preferred["session_seconds"] = LOCAL_SESSION_SECONDS
        if local_clickhouse:
            preferred["batch_seconds"] = LOCAL_BATCH_SECONDS
        password = quote(address.password, safe="")
        own["clickhouse"] = SecretStr(address.url(f"usagepipe_demo_{run}", password))
        settings = Settings.load(
            topic=f"usage.events.demo_{run}.v1",
            group=f"usagepipe_demo_{run}",
            enabled=True,
            cost=CostRule.REPORTED_FIRST,  # the gateway reports none, and all sums are the book's
            spill_dir="",  # a run leaves no files
            web_host=HOST,
            web_port=0,  # the worker takes a free one when it starts
            **own,
            **{n: v for n, v in preferred.items() if n not in given.model_fields_set},
        )
        return cls(settings)

    @property
    def database(self) -> str:
        return self.settings.clickhouse_address.database

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process that works in this sandbox. It holds the password."""
        fields = {name: getattr(self.settings, name) for name in self.settings.model_fields_set}
        return _without_settings(os.environ) | {
            PREFIX + name.upper(): revealed(value) for name, value in fields.items()
        }

    def create(self, cleanup: ExitStack, *, drop: bool, delete: bool) -> None:
        """Create the tables and topics.

        What is created is removed with `cleanup`: the database if `drop`, topics and group if
        `delete`. What cannot be removed is logged and left.

        Raises:
            ServerUnavailableError: a server does not answer.
            UsagePipeError: it refuses.
        """
        connect(
            self.settings.clickhouse_address, wait_seconds=SERVER_SECONDS, database=None
        ).close()
        if drop:  # a migration that fails half-way has created the database
            cleanup.callback(self._remove, self._drop_database, f"database {self.database}")
        migrate(self.settings)
        try:
            ensure_topics(self.settings, wait_seconds=SERVER_SECONDS)
        except ServerUnavailableError:
            delete = False  # none was created
            raise
        finally:
            if delete:
                cleanup.callback(self._remove, self._delete_topics, f"topic {self.settings.topic}")

    def _remove(self, remove: Callable[[], None], name: str) -> None:
        try:
            remove()
        except Exception as error:  # the run has its result: a leftover must not change it
            log.warning("demo_leftover", name=name, error=f"{type(error).__name__}: {error}"[:300])

    def _drop_database(self) -> None:
        cluster = self.settings.clickhouse_cluster
        statement = "drop_database_on_cluster" if cluster else "drop_database"
        names = {"database": self.database, "cluster": cluster}
        with connect(self.settings.clickhouse_address, database=None) as client:
            client.command(load_statement(statement), parameters=names)

    def _delete_topics(self) -> None:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        admin = AdminClient(librdkafka_config(self.settings) | {"log_level": 0})
        topics = [self.settings.topic, self.settings.dead_letter_topic]
        for future in admin.delete_topics(topics, operation_timeout=REMOVE_SECONDS).values():
            future.result(REMOVE_SECONDS)
        group = admin.delete_consumer_groups([self.settings.group])[self.settings.group]
        with suppress(KafkaException):  # it ends by itself: a group without members or offsets
            group.result(REMOVE_SECONDS)


def _without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without settings in any spelling: pydantic reads `usagepipe_kafka` as well."""
    return {n: v for n, v in environment.items() if not n.upper().startswith(PREFIX)}
