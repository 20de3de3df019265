"""The command tree. A command is imported when it is called, so `--help` loads no library."""

import importlib
import os
import sys
from keyword import iskeyword
from typing import ClassVar

import click

from usagepipe.cli.interrupts import INTERRUPTED, raise_on_interrupt
from usagepipe.cli.streams import give_up_output
from usagepipe.schemas.errors import MissingExtraError, OutputError, UsagePipeError
from usagepipe.schemas.visible import LINES, visible


class LazyGroup(click.Group):
    """Finds each command as `command` in the module of its name."""

    COMMANDS: ClassVar[dict[str, tuple[str, str]]] = {  # name: (the extra it needs, what it does)
        "audit": ("consumer", "Compare the tables with the log, and repair them."),
        "demo": (
            "local",
            "Run the whole pipeline on a trace of requests, and check its sums.",
        ),
        "dlq": ("consumer", "List, show and replay dead letters."),
        "explain": ("query", "Show how the cost of an event comes about."),
        "export": ("query", "Write the stored events of a range to a file."),
        "import": ("consumer", "Send the events of an export that are not stored yet."),
        "local": ("local", "Run a local Kafka and ClickHouse until stopped."),
        "migrate": ("consumer", "Create or update the tables and topics."),
        "prices": ("query", "Show, compare, check and apply prices; find what has none."),
        "replay": ("consumer", "Store the events of a part of the log that the tables lack."),
        "status": ("consumer", "Show the workers, the lag, and the newest stored event."),
        "usage": ("query", "Print usage by source, key, user, model."),
        "worker": ("consumer", "Write events from Kafka to ClickHouse until stopped."),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.COMMANDS:
            return None
        try:
            module = importlib.import_module(f"usagepipe.cli.{_module_of(cmd_name)}")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("usagepipe"):
                raise
            raise MissingExtraError(self.COMMANDS[cmd_name][0], error.name) from error
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        found = super().resolve_command(ctx, args)
        raise_on_interrupt()  # the imports are done
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(self.COMMANDS.items())])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="usagepipe")
def root() -> None:
    """Record AI usage through Kafka into ClickHouse, and read it back.

    Settings come from USAGEPIPE_* variables; a command's option wins over its variable.
    Exit status: 0 done, 1 the answer is no, 2 wrong use, 3 a server cannot be reached or does not
    let usagepipe in, 74 the output cannot be written, 130 interrupted (a worker ends with 0), 141
    the output's reader left.
    """


def _module_of(command: str) -> str:
    """The module of a command. A Python keyword, such as `import`, cannot name a module."""
    return f"{command}_" if iskeyword(command) else command


def _refuse_bytes(arguments: list[str]) -> None:
    """Raise for an argument that is not valid text: no server would accept it."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(argument)
            raise click.UsageError(f"{shown!r} is not valid UTF-8: write it in UTF-8.") from None


def run(arguments: list[str]) -> int:
    """Run one command; its exit status."""
    try:
        _refuse_bytes(arguments)
        result = root.main(args=arguments, prog_name="usagepipe", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except OutputError as error:
        give_up_output()
        if not error.quiet:
            click.echo(f"Error: {visible(error, LINES)}", err=True)
        return error.status
    except UsagePipeError as error:
        click.echo(f"Error: {visible(error, LINES)}", err=True)
        return error.exit_status
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    return result if isinstance(result, int) else 0
