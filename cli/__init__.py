"""`usagepipe …`: one file a command group, nothing but arguments and output."""

import sys
from typing import Final

INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it


def main() -> None:
    """The `usagepipe` command. Ends the process with the exit status that its docs name."""
    try:
        import click  # noqa: F401  # the bare install has no command line
    except ImportError:
        sys.stderr.write(
            "usagepipe: the bare install is the producer library and has no commands.\n"
            "Run pip install 'usagepipe[local]' for all of them, or [consumer] or [query].\n"
        )
        sys.exit(2)
    try:
        from usagepipe.cli.root import run

        status = run(sys.argv[1:])
    except KeyboardInterrupt:  # before the commands are there to handle it
        status = INTERRUPTED
    sys.exit(status)
