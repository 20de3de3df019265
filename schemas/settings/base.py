"""How the settings of a process are read: once, from options and USAGEPIPE_* variables.

All wrong settings are reported at once. The text of a model never shows a secret.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Literal, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.settings.address import ClickHouseAddress
from usagepipe.schemas.settings.checks import PREFIX, TopicName, rule_of, setting_problem
from usagepipe.schemas.settings.clickhouse import ClickHouseSettings, clickhouse_problems
from usagepipe.schemas.settings.kafka import KafkaSettings
from usagepipe.schemas.settings.kafka_checks import kafka_problems
from usagepipe.schemas.settings.secret_files import revealed
from usagepipe.schemas.settings.server_checks import variable
from usagepipe.schemas.topics import EVENTS_TOPIC, dead_letter_topic


class ProcessSettings(BaseSettings):
    """The settings of one kind of process. Frozen: a process reads them once."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Lowest level that is logged. A web process logs through Python's `logging`, "
        "as the application has configured it; unless this is set, that configuration decides the "
        "level.",
    )

    @classmethod
    def load(cls, **options: object) -> Self:
        """The settings of this process. An option wins over its variable; None means "not given".

        Raises:
            SettingsError: with one sentence for every wrong setting.
        """
        given = {name: value for name, value in options.items() if value is not None}
        given = dict.fromkeys(cls._overridden_files(given), "") | given
        problems: list[str] = []
        try:
            settings = cls(**given)  # type: ignore[arg-type]  # checked by the model itself
        except ValidationError as error:
            wrong = {str(p["loc"][0]): p for p in error.errors(include_url=False)}
            schema = cls.model_json_schema()
            for name, each in wrong.items():
                problems.append(setting_problem(variable(name), rule_of(schema, name), each))
                given.pop(name, None)
            # The other settings are checked too: all mistakes are reported at once.
            defaults = {
                name: cls.model_fields[name].default for name in wrong.keys() & schema["properties"]
            }
            settings = cls(**given | defaults)
        if isinstance(settings, KafkaSettings):
            problems += kafka_problems(settings)
        if isinstance(settings, ClickHouseSettings):
            problems += clickhouse_problems(settings)
        if problems:
            raise SettingsError(tuple(problems)) from None  # the model's text quotes secrets
        return settings

    @classmethod
    def _overridden_files(cls, given: Mapping[str, object]) -> Iterator[str]:
        """The settings that name files of secrets which are given as options."""
        yield from (file for name in given if (file := f"{name}_file") in cls.model_fields)
        with suppress(ValueError):  # a wrong URL is reported as such
            if ClickHouseAddress.parse(revealed(given.get("clickhouse", ""))).password:
                yield "clickhouse_password_file"


class TopicSettings(KafkaSettings, ProcessSettings):
    """Kafka, and the topic of the usage events. Every process that uses Kafka has them."""

    topic: TopicName = Field(default=EVENTS_TOPIC, description="Topic of the usage events.")

    @property
    def dead_letter_topic(self) -> str:
        return dead_letter_topic(self.topic)


def plain(server: type[KafkaSettings] | type[ClickHouseSettings]) -> dict[str, object]:
    """Options for a server without TLS and login. They override the environment."""
    return {name: field.default for name, field in server.model_fields.items()}
