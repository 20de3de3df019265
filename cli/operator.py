"""Who runs a command, and what they answer."""

import getpass
import socket
import sys

import click

from usagepipe.schemas.errors import WrongUseError


def author() -> str:
    """The user and the host of this process, for records of who decided something."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):  # a user without a name, as in many containers
        return socket.gethostname()


def confirmed(question: str, act: str) -> bool:
    """Whether the operator answers yes. `act` is what --yes does without asking.

    Raises:
        WrongUseError: nobody can answer.
    """
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)  # the question has no line end
        raise WrongUseError(
            f"Standard input is not a terminal, so nobody can answer: add --yes to {act}."
        ) from None
