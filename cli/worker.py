"""`usagepipe worker`: write events from Kafka to ClickHouse until stopped."""

import errno
import socket

import click

from usagepipe.cli.options import load_settings, server_options
from usagepipe.consumer.app import create_app
from usagepipe.consumer.program import run_worker
from usagepipe.schemas.errors import WrongUseError
from usagepipe.schemas.settings import WorkerSettings

PORT_REFUSED = {errno.EADDRINUSE, errno.EACCES}  # another port helps; not so with a wrong host


@click.command("worker")
@server_options("kafka", "clickhouse", "topic", "group")
@click.option("--web-port", type=int, help="Health and metrics [USAGEPIPE_WEB_PORT].")
def command(web_port: int | None, **servers: str | None) -> int:
    """Write events from Kafka to ClickHouse until stopped.

    You can run several: they share the partitions. SIGTERM or Ctrl-C stores and commits the fetched
    records, then ends. The web port serves /health, /live and /metrics.
    """
    settings = load_settings(WorkerSettings, web_port=web_port, **servers)
    settings.check_retention()
    port = usable_port(settings.web_host, settings.web_port)
    return run_worker(create_app(settings.model_copy(update={"web_port": port})))


def usable_port(host: str, port: int) -> int:
    """`port`, or a free one for 0.

    This check comes before Faust's start: with a taken port, Faust runs without web, or hangs.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise WrongUseError(_refused(host, port, error)) from error
        free: int = probe.getsockname()[1]
        return free


def _refused(host: str, port: int, error: OSError) -> str:
    """Names the setting that is wrong, and what to do."""
    if error.errno in PORT_REFUSED:
        return (
            f"USAGEPIPE_WEB_PORT is {port} and {host} does not have it free ({error.strerror}):"
            " stop what listens there, or choose another with --web-port (0: any)."
        )
    return (
        f"USAGEPIPE_WEB_HOST is {host!r} and a worker cannot listen there ({error.strerror}):"
        " write an address of this machine, or 0.0.0.0 for all of them."
    )
