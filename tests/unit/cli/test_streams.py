"""Unwritable output and Ctrl-C end a command with their own exit status."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

USAGEPIPE = Path(sys.executable).with_name("usagepipe")
INTERRUPT = """
import os, signal
from usagepipe.cli.interrupts import end_on_interrupt, raise_on_interrupt

signal.signal(signal.SIGINT, signal.{before})
end_on_interrupt()
{then}
os.kill(os.getpid(), signal.SIGINT)
print("survived")
"""


def shell(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", text],
        env=os.environ | {"U": str(USAGEPIPE)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")],
)
def test_output_that_cannot_be_written_is_reported(redirection: str, reason: str) -> None:
    """A full disk or a closed output gives one sentence and its own status."""
    ended = shell(f"$U --help {redirection}")

    assert (74, f"Error: standard output cannot be written: {reason}.\n") == (
        ended.returncode,
        ended.stderr,
    )


@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-"])
def test_closed_streams_are_no_crash(closed: str) -> None:
    """If standard error is closed too, only the status reports it."""
    assert 74 == shell(f"$U --help >&- {closed}").returncode


def test_a_reader_that_leaves_is_no_error() -> None:
    """`| head` ends the command quietly, with a status that is not an answer."""
    ended = shell("$U --help | true; echo ${PIPESTATUS[0]}")

    assert ("141\n", "") == (ended.stdout, ended.stderr)


@pytest.mark.parametrize(
    ("before", "then", "status", "survives"),
    [
        ("default_int_handler", "", 130, False),
        ("SIG_IGN", "", 0, True),
        ("default_int_handler", "raise_on_interrupt()", -2, False),
    ],
)
def test_ctrl_c_before_a_command_began(before: str, then: str, status: int, survives: bool) -> None:
    """It ends the process at once, unless it is ignored; afterwards Python handles it again."""
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPT.format(before=before, then=then)],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (status, survives) == (ended.returncode, "survived" in ended.stdout)
    assert bool(then) == ("KeyboardInterrupt" in ended.stderr)
