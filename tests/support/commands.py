"""Commands of `usagepipe` that run inside the process of the test."""

import json
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from tests.support.programs import as_environment
from usagepipe.cli.root import root
from usagepipe.schemas import Settings


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """The object that it printed."""
        found: dict[str, Any] = json.loads(self.out)
        return found


def usagepipe(settings: Settings, *command: str) -> Ended:
    """Run a command with these settings; the errors that end it are passed on."""
    result = CliRunner().invoke(
        root,
        command,
        env=as_environment(settings),
        standalone_mode=False,
        catch_exceptions=False,
    )
    return Ended(result.return_value or 0, result.stdout, result.stderr)
