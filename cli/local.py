"""`usagepipe local`: a local Kafka and ClickHouse."""

import json
from pathlib import Path

import click

from usagepipe.local.serving import Addresses, serve
from usagepipe.schemas.logs import configure_logs

PORT = click.IntRange(0, 65_535)


@click.command()
@click.option(
    "--data",
    default=".usagepipe",
    show_default=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder that keeps ClickHouse's data.",
)
@click.option(
    "--kafka-port", default=0, metavar="N", type=PORT, help="Port of Kafka; 0, the default, is any."
)
@click.option("--no-kafka", is_flag=True, help="Start no Kafka.")
@click.option(
    "--clickhouse-port",
    default=0,
    metavar="N",
    type=PORT,
    help="Port of ClickHouse; 0, the default, is any.",
)
@click.option("--lifeline", type=int, hidden=True)
def command(
    data: Path, kafka_port: int, no_kafka: bool, clickhouse_port: int, lifeline: int | None
) -> int:
    """Run a local Kafka and ClickHouse until stopped.

    Prints one line of JSON with their addresses when both answer. Needs neither Docker nor Java.
    ClickHouse keeps its data in a folder; Kafka keeps its data in memory only.
    """
    if no_kafka and kafka_port:
        raise click.UsageError("--kafka-port and --no-kafka contradict each other.")
    configure_logs("warning")
    return serve(
        data,
        None if no_kafka else kafka_port,
        clickhouse_port,
        lambda addresses: _announce(addresses, data),
        lifeline,
    )


def _announce(addresses: Addresses, data: Path) -> None:
    if addresses.kafka:
        click.echo(
            f"Kafka at {addresses.kafka} is an embedded broker (Tansu): it keeps everything in "
            "memory and forgets it when it stops.",
            err=True,
        )
    click.echo(
        f"ClickHouse at {addresses.clickhouse} is its embedded engine (chDB); its data is in "
        f"{data.absolute()}.{_about_default(addresses)}\nCtrl-C stops both.",
        err=True,
    )
    line = json.dumps({"kafka": addresses.kafka, "clickhouse": addresses.clickhouse})
    click.echo(line)


def _about_default(addresses: Addresses) -> str:
    if not addresses.clickhouse.endswith("/default"):
        return ""
    return " It keeps using the database `default`: an earlier version stored the events there."
