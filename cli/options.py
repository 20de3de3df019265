"""Options that several commands share. Each has a USAGEPIPE_* variable."""

import math
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from difflib import get_close_matches
from typing import Any, Final, TypeVar

import click

from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.settings import PREFIX, Settings
from usagepipe.schemas.settings.base import ProcessSettings

# Variables of the tests and of docker-compose.yml, which are no settings.
_OTHERS = ("USAGEPIPE_TEST_", "USAGEPIPE_REQUIRE_SERVERS", "USAGEPIPE_CLICKHOUSE_PASSWORD")
RENAMED: Final = {"PROOF": "PREFLIGHT"}  # settings of earlier versions
CLICKHOUSE_HELP = (
    "ClickHouse [USAGEPIPE_CLICKHOUSE]. Not for a URL with a password: every user of the machine"
    " sees it in the process list. Set USAGEPIPE_CLICKHOUSE, USAGEPIPE_CLICKHOUSE_FILE or"
    " USAGEPIPE_CLICKHOUSE_PASSWORD_FILE instead."
)
SERVERS: Final = {  # option: (metavar, help)
    "kafka": ("HOST:PORT", "Kafka [USAGEPIPE_KAFKA]."),
    "clickhouse": ("URL", CLICKHOUSE_HELP),
    "topic": ("NAME", "Topic of events [USAGEPIPE_TOPIC]."),
    "group": ("NAME", "Consumer group [USAGEPIPE_GROUP]."),
}
Function = TypeVar("Function", bound=Callable[..., Any])
Model = TypeVar("Model", bound=ProcessSettings)


class Moment(click.ParamType):
    """A date or a time in ISO 8601; one without a time zone gets `zone`, if that is given."""

    name = "time"

    def __init__(self, zone: tzinfo | None = UTC) -> None:
        self._zone = zone

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo:
                moment.astimezone(UTC)  # overflows near the first and the last year
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a date or time: write 2026-01-31 or 2026-01-31T14:30:00Z.")
        return moment if moment.tzinfo else moment.replace(tzinfo=self._zone)


class Number(click.FloatRange):
    """A number within a range. Unlike click's type, it refuses "nan"."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def combined(*options: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """One decorator that adds several options. The help lists them in this order."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def server_options(*names: str) -> Callable[[Function], Function]:
    """The options of these `SERVERS`, in this order."""
    return combined(
        *(
            click.option(f"--{name}", metavar=metavar, help=text)
            for name, (metavar, text) in ((name, SERVERS[name]) for name in names)
        )
    )


def wait_option(default: float, text: str) -> Callable[[Function], Function]:
    return click.option(
        "--wait",
        type=Number(min=0),
        default=default,
        show_default=True,
        metavar="SECONDS",
        help=text,
    )


def load_settings(model: type[Model], **options: object) -> Model:
    """The settings of a command. An option wins over its variable; None means "not given".

    Warns on standard error about variables that are not a setting, such as a mistyped name.

    Raises:
        SettingsError: with one sentence for every wrong setting. It names the option, if given.
    """
    for warning in unknown_variables(os.environ):
        click.echo(f"Warning: {warning}", err=True)
    try:
        return model.load(**options)
    except SettingsError as error:
        given = [name for name, value in options.items() if value is not None]
        raise SettingsError(tuple(_by_option(text, given) for text in error.problems)) from None


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """A warning for each USAGEPIPE_* variable that is not a setting. It never shows values."""
    known = [name.upper() for name in Settings.model_fields]
    sentences = []
    for name in sorted(environment):
        upper = name.upper()  # as pydantic reads them
        setting = upper.removeprefix(PREFIX)
        if setting == upper or setting in known or upper.startswith(_OTHERS):
            continue
        near = [RENAMED.get(setting), *get_close_matches(setting, known, 1)]
        meant = next(filter(None, near), None)
        cure = f": did you mean {PREFIX}{meant}?" if meant else "."
        sentences.append(f"{name} is not a setting{cure}")
    return sentences


def _by_option(problem: str, given: list[str]) -> str:
    for name in given:
        variable = PREFIX + name.upper()
        rest = problem.removeprefix(variable)
        if rest != problem and rest[0] in " :":
            return f"--{name.replace('_', '-')} ({variable}){rest}"
    return problem
