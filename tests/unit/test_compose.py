"""The containers, as far as they can be tested without Docker."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.clickhouse_server import IMAGE as CLICKHOUSE_IMAGE
from tests.support.installs import ROOT
from tests.support.kafka_jars import kafka_version
from tests.support.servers import skip_or_fail
from usagepipe.schemas.settings import Settings

Service = dict[str, Any]
JOB = "migrate"  # ends when its work is done, so nothing can ask for its health


def _read(text: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed


@pytest.fixture(scope="module")
def services() -> dict[str, Service]:
    """The services of the file, by name."""
    found: dict[str, Service] = _read((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def _environment(services: dict[str, Service]) -> Iterator[tuple[str, str]]:
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            if name.startswith("USAGEPIPE_"):
                yield name, value.replace("${USAGEPIPE_CLICKHOUSE_PASSWORD:-usagepipe}", "secret")


def test_compose_reads_the_file() -> None:
    """docker-compose accepts the file and fills in the password."""
    command = shutil.which("docker-compose")
    if not command:
        skip_or_fail("docker-compose", "PATH (Debian's package docker-compose)", "not installed")
    environment = os.environ | {"USAGEPIPE_CLICKHOUSE_PASSWORD": "other"}

    ended = subprocess.run(
        [str(command), "--file", str(ROOT / "docker-compose.yml"), "config"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == ended.returncode, ended.stderr
    read = _read(ended.stdout)["services"]
    assert {"kafka", "clickhouse", "migrate", "worker", "gateway"} == set(read)
    address = "http://usagepipe:other@clickhouse:8123/usagepipe"
    assert address == read["worker"]["environment"]["USAGEPIPE_CLICKHOUSE"]


def test_every_image_has_an_exact_version(services: dict[str, Service]) -> None:
    """The same file brings the same servers, today and in a year."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    images = [service["image"] for service in services.values()]
    images += re.findall(r"^FROM (\S+:\S+)", dockerfile, re.MULTILINE)

    assert [] == [image for image in images if not re.search(r":\d+\.\d+\.\d+", image)]


def test_the_servers_are_those_that_tests_use(services: dict[str, Service]) -> None:
    """What is tested is what is run."""
    assert f"apache/kafka:{kafka_version()}" == services["kafka"]["image"]
    assert CLICKHOUSE_IMAGE == services["clickhouse"]["image"]


def test_every_service_is_bounded(services: dict[str, Service]) -> None:
    """No container takes all of the machine, and each gets the time to end in order."""
    for name, service in services.items():
        assert {"cpus", "mem_limit"} <= set(service), name
        assert JOB == name or "stop_grace_period" in service, name


def test_every_service_reports_its_health(services: dict[str, Service]) -> None:
    """What depends on a service waits until it works, not only until it runs."""
    without = {name for name, service in services.items() if "healthcheck" not in service}

    assert {JOB} == without


def test_nothing_runs_as_root(services: dict[str, Service]) -> None:
    """The servers name a user; our own images end with one, and it is a number."""
    stages = (ROOT / "Dockerfile").read_text().split("\nFROM ")
    (runtime,) = (stage for stage in stages if " AS runtime\n" in stage)
    shipped = [stage for stage in stages if re.search(r" AS (gateway|worker)\n", stage)]

    assert {"kafka", "clickhouse"} == {name for name, each in services.items() if "user" in each}
    assert "\nUSER 10001:10001\n" in runtime
    assert ["runtime", "runtime"] == [stage.split()[0] for stage in shipped]
    assert not any("USER" in stage for stage in shipped)


def test_ports_are_open_on_this_machine_only(services: dict[str, Service]) -> None:
    """The servers have no passwords that count: nobody else may reach them."""
    ports = [port for service in services.values() for port in service.get("ports", [])]

    assert [] == [port for port in ports if not port.startswith("127.0.0.1:")]


def test_data_stays_in_named_volumes(services: dict[str, Service]) -> None:
    """Removing the containers removes no event."""
    assert ["kafka-data:/var/lib/kafka/data"] == services["kafka"]["volumes"]
    assert ["clickhouse-data:/var/lib/clickhouse"] == services["clickhouse"]["volumes"]


def test_topics_are_made_on_purpose(services: dict[str, Service]) -> None:
    """A mistyped topic fails instead of coming into being with the broker's settings."""
    assert "false" == services["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"]


def test_the_settings_exist(services: dict[str, Service], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every USAGEPIPE_* variable of the file is a setting, with a value that it takes."""
    given = dict(_environment(services))
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    settings = Settings.load()

    assert {name.removeprefix("USAGEPIPE_").lower() for name in given} == settings.model_fields_set


def test_the_dockerfile_copies_what_the_build_needs() -> None:
    """.dockerignore lets through each part of the package and the files that the build reads."""
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    linked = {path.name for path in (ROOT / "src" / "usagepipe").iterdir() if path.is_symlink()}
    needed = linked | {"src", "pyproject.toml", "requirements.txt", "README.md", "LICENSE"}

    assert set() == needed - {line.removeprefix("!") for line in ignore}
