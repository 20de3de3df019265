"""Options that several commands share, each the twin of a USAGEPIPE_* variable."""

from collections.abc import Callable
from typing import TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., object])


def kafka_option(function: Function) -> Function:
    return click.option("--kafka", metavar="HOST:PORT", help="Kafka [USAGEPIPE_KAFKA].")(function)


def clickhouse_option(function: Function) -> Function:
    return click.option("--clickhouse", metavar="URL", help="ClickHouse [USAGEPIPE_CLICKHOUSE].")(
        function
    )


def topic_option(function: Function) -> Function:
    return click.option("--topic", metavar="NAME", help="Topic of events [USAGEPIPE_TOPIC].")(
        function
    )


def group_option(function: Function) -> Function:
    return click.option("--group", metavar="NAME", help="Consumer group [USAGEPIPE_GROUP].")(
        function
    )
