"""What every kind of server has in common: an address, and a way to be missing.

A missing server skips the tests that need it, with the variable to set. Where the servers must be
there (CI), `USAGEPIPE_REQUIRE_SERVERS=1` makes each of those skips a failure.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache

import pytest

REQUIRE_VARIABLE = "USAGEPIPE_REQUIRE_SERVERS"


class NoServerError(Exception):
    """No server of a kind can be had here; the text says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers. `label` is what the end of the run prints."""

    label: str
    address: str


def skip_or_fail(what: str, variable: str, reason: object) -> None:
    """End the test: `what` is missing for `reason`, and `variable` names one that exists."""
    text = f"no {what} ({reason}): set {variable}"
    if os.environ.get(REQUIRE_VARIABLE) == "1":
        pytest.fail(f"{text}. {REQUIRE_VARIABLE}=1 forbids to skip.", pytrace=False)
    pytest.skip(text)


@cache
def docker_answers() -> bool:
    """Whether containers can be started here."""
    # Asked by another process: where Docker is away its client leaves a socket open, and an open
    # socket fails the test that runs when it is found.
    question = [sys.executable, "-c", "import docker; docker.from_env(timeout=5).ping()"]
    return subprocess.run(question, capture_output=True, check=False).returncode == 0
