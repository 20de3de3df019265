"""A bare install is the thin producer: what a web process needs and nothing else."""

import json
import tomllib

import pytest

from tests.support.installs import ROOT, Install

HEAVY = (
    "aiokafka",
    "chdb",
    "click",
    "clickhouse_connect",
    "fastapi",
    "faust",
    "httpx",
    "httpx2",
    "msgspec",
    "rich",
    "starlette",
    "uvicorn",
)
LOOK = """
import importlib.util, json, sys
import usagepipe
from usagepipe.producer import UsageMiddleware, UsageRecorder, stamp_usage
from usagepipe.schemas import UsageEvent, decode, encode

print(json.dumps({
    "importable": [name for name in HEAVY if importlib.util.find_spec(name)],
    "imported": [name for name in HEAVY if name in sys.modules],
    "file": usagepipe.__file__,
}))
"""


def _found(install: Install) -> dict[str, object]:
    found: dict[str, object] = json.loads(install.python(f"HEAVY = {HEAVY!r}\n{LOOK}"))
    return found


def test_the_producer_and_the_schemas_work(bare_install: Install) -> None:
    """They import with the base dependencies alone, from the wheel and not from the checkout."""
    found = _found(bare_install)

    assert str(found["file"]).startswith(str(bare_install.folder))


def test_no_faust_no_clickhouse_no_web_framework_comes_along(bare_install: Install) -> None:
    """None of the heavy libraries is importable, so none can be imported."""
    found = _found(bare_install)

    assert [] == found["importable"]
    assert [] == found["imported"]


def test_an_event_is_recorded_without_them(bare_install: Install) -> None:
    """The recorder starts, queues an event and closes, with no Kafka there."""
    code = """
from usagepipe.producer import UsageRecorder
from usagepipe.schemas import UsageEvent
from uuid import uuid4
from datetime import datetime, UTC
recorder = UsageRecorder(kafka="127.0.0.1:9", close_seconds=0.1)
print(recorder.record(UsageEvent(event_id=uuid4(), occurred_at=datetime.now(UTC), user_id="u")))
recorder.close(0.1)
"""

    assert "True" in bare_install.python(code)


def test_the_command_says_what_to_install(bare_install: Install) -> None:
    """The bare install has no commands, and says so with the status of wrong use."""
    ended = bare_install.usagepipe("worker")

    assert 2 == ended.returncode
    assert "pip install 'usagepipe[local]'" in ended.stderr


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_a_transport_says_what_to_install(bare_install: Install, library: str) -> None:
    """Without its library a transport cannot be imported, and the error has the cure."""
    code = f"""
try:
    import usagepipe.producer.{library}
except ImportError as error:
    print(error)
"""

    reported = bare_install.python(code)

    assert f"{library} is not installed: run pip install 'usagepipe[{library}]'.\n" == reported


def test_the_base_dependencies_are_these() -> None:
    """Every library that comes into each web process is a decision."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {requirement.split(">")[0] for requirement in project["dependencies"]}

    assert {"confluent-kafka", "pydantic", "pydantic-settings", "structlog"} == names
