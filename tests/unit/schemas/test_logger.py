"""The logger of code that runs inside other programs."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.support.programs import clean_environment
from usagepipe.schemas.logger import HarmlessLogger, set_level
from usagepipe.schemas.logs import configure_logs

# Kafka is unreachable: a warning, and a debug line when events go to disk.
RECORD = """
import logging
{configuration}
from usagepipe.producer import UsageRecorder
from usagepipe.schemas import UsageEvent
with UsageRecorder(kafka="127.0.0.1:1", close_seconds=0.8) as recorder:
    print(recorder.record(UsageEvent.new(user_id="u")))
"""
TO_STDERR = "logging.basicConfig(level=logging.DEBUG)"
STRUCTLOG = """
import structlog
structlog.configure(processors=[structlog.processors.JSONRenderer()])
"""

log = HarmlessLogger("usagepipe.here")


def run(folder: Path, configuration: str = "", **settings: str) -> tuple[str, str]:
    """Standard output and error of a script that records, after `configuration`."""
    script = folder / "script.py"
    script.write_text(RECORD.format(configuration=configuration))
    environment = clean_environment() | {"XDG_STATE_HOME": str(folder)} | settings
    ended = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=True
    )
    return ended.stdout, ended.stderr


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the application's handler writes of the logger `usagepipe`."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(filename)s %(message)s"))
    logging.getLogger("usagepipe").addHandler(handler)
    yield stream
    logging.getLogger("usagepipe").removeHandler(handler)


@pytest.mark.parametrize("level", ["debug", "info"])
@pytest.mark.parametrize("configuration", ["", STRUCTLOG])
def test_a_script_prints_nothing_but_its_own_output(
    tmp_path: Path, configuration: str, level: str
) -> None:
    """Without a configuration of `logging` a process that records prints nothing of its own,
    at any level and with any configuration of structlog."""
    printed = run(tmp_path, configuration, USAGEPIPE_LOG_LEVEL=level)

    assert ("True\n", "") == printed


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        ("debug", {"DEBUG", "WARNING"}),
        ("info", {"WARNING"}),
        ("warning", {"WARNING"}),
        ("error", set()),
    ],
)
def test_a_configured_script_logs_at_its_level(tmp_path: Path, level: str, seen: set[str]) -> None:
    """USAGEPIPE_LOG_LEVEL decides what reaches the handlers of the program."""
    stdout, stderr = run(tmp_path, TO_STDERR, USAGEPIPE_LOG_LEVEL=level)

    ours = [line for line in stderr.splitlines() if ":usagepipe.producer:" in line]
    assert "True\n" == stdout
    assert seen == {line.partition(":")[0] for line in ours}
    assert bool(seen) == any("kafka_failed error=" in line for line in ours)


@pytest.mark.parametrize(
    ("configuration", "seen"),
    [
        ("logging.basicConfig(level=logging.ERROR)", set()),
        ("logging.basicConfig(level=logging.WARNING)", {"WARNING"}),
        ("logging.basicConfig(level=logging.DEBUG)", {"WARNING"}),
        (
            "logging.basicConfig(); logging.getLogger('usagepipe').setLevel('DEBUG')",
            {"DEBUG", "WARNING"},
        ),
    ],
)
def test_the_configuration_of_a_script_decides_without_the_setting(
    tmp_path: Path, configuration: str, seen: set[str]
) -> None:
    """Nothing below the script's own level is printed, and debug lines only if it names us."""
    _, stderr = run(tmp_path, configuration)

    ours = [line for line in stderr.splitlines() if ":usagepipe.producer:" in line]
    assert seen == {line.partition(":")[0] for line in ours}


def test_a_record_names_the_module_that_logs(written: io.StringIO) -> None:
    """The text has the event and its facts, and the place is the caller's. A % is text."""
    log.warning("disk_full", folder="/a%sb", events=3)

    expected = "WARNING usagepipe.here test_logger.py disk_full folder='/a%sb' events=3\n"
    assert expected == written.getvalue()


def test_facts_may_have_any_name(written: io.StringIO) -> None:
    """Facts may have the names of attributes of `logging`."""
    log.error("failed", name="n", args=(1,), message="m")

    assert written.getvalue().endswith("failed name='n' args=(1,) message='m'\n")


def test_the_level_of_the_program_wins(written: io.StringIO) -> None:
    """A program that has set the level of `usagepipe` keeps it; else the last recorder's holds."""
    set_level("error")
    set_level("info")
    log.info("seen")
    logging.getLogger("usagepipe").setLevel(logging.ERROR)
    set_level("debug")
    log.warning("unseen")

    assert ["INFO usagepipe.here test_logger.py seen"] == written.getvalue().splitlines()


def test_our_own_programs_write_facts_as_keys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Under `configure_logs` a record is a line like all others, on standard error."""
    configure_logs("info")

    log.warning("kafka_failed", servers="k:9092")
    structlog.get_logger().warning("other", number=1)

    out, err = capsys.readouterr()
    first, second = map(json.loads, err.splitlines())
    assert "" == out
    assert ("kafka_failed", "warning", "k:9092") == (
        first["event"],
        first["level"],
        first["servers"],
    )
    assert ("other", "warning", 1) == (second["event"], second["level"], second["number"])
