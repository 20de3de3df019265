"""`usagepipe …`: one file a command group, nothing but arguments and output."""

import sys


def main() -> None:
    """The `usagepipe` command. Ends the process with the exit status that its docs name."""
    from usagepipe.cli.interrupts import INTERRUPTED, end_on_interrupt

    end_on_interrupt()
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
        from usagepipe.cli.streams import guard_streams

        guard_streams()
        status = run(sys.argv[1:])
    except KeyboardInterrupt:  # in the moment between a command and its report
        status = INTERRUPTED
    end_on_interrupt()  # nor does the interpreter's end need a traceback
    sys.exit(status)
