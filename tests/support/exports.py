"""Files of exported events for tests, and the commands that write and read them."""

import io
from collections.abc import Iterable
from pathlib import Path

import pytest

from usagepipe.cli.root import run
from usagepipe.schemas import Settings, UsageEvent
from usagepipe.schemas.event import EARLIEST, LATEST
from usagepipe.schemas.export_file import ExportWriter, place_of

Output = pytest.CaptureFixture[str]


def export_bytes(events: Iterable[UsageEvent]) -> bytes:
    """An export of these events in any order."""
    out = io.BytesIO()
    writer = ExportWriter(out, EARLIEST, LATEST)
    for event in sorted(events, key=place_of):
        writer.add(event)
    writer.finish()
    return out.getvalue()


def export_file(path: Path, events: Iterable[UsageEvent]) -> Path:
    """The same as a file."""
    path.write_bytes(export_bytes(events))
    return path


class ImportCommand:
    """Runs `usagepipe import` into one installation."""

    def __init__(self, settings: Settings, capsys: Output) -> None:
        self._servers = (
            *("--kafka", settings.kafka, "--topic", settings.topic),
            *("--clickhouse", settings.clickhouse.get_secret_value()),
        )
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, file: Path, *arguments: str) -> int:
        self._capsys.readouterr()
        status = run(["import", str(file), *self._servers, *arguments])
        self.out, self.err = self._capsys.readouterr()
        return status
