"""Apache Kafka's own jars, fetched once by Maven and kept outside the checkout."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.servers import NoServerError
from tests.support.side_by_side import locked

POM = Path(__file__).with_name("pom.xml")
MAVEN_SECONDS = 600
ATTEMPTS = 2  # a registry that stumbles once is no reason to run no test


def kafka_version() -> str:
    """The version of Kafka that the jars are of."""
    found = re.search(r"<version>(.+?)</version>", POM.read_text())
    assert found, f"{POM} names no version"
    return found[1]


def jars() -> Path:
    """The folder of the jars. Blocks for the download (43 MB) the first time.

    Raises:
        NoServerError: Maven is missing or could not fetch them.
    """
    # A change of any jar is another folder; the version is in the name for people.
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:8]
    folder = _cache() / f"kafka-{kafka_version()}-{digest}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(
        folder.with_name(f"{folder.name}.lock")
    ):  # the other processes of the test run wait for it
        if not folder.exists():
            _fetch(folder)
    return folder


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "usagepipe"


def _fetch(folder: Path) -> None:
    maven = shutil.which("mvn")
    if not maven:
        raise NoServerError("Docker does not answer and Maven is not installed")
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        whole = Path(scratch) / "jars"
        for attempt in range(1, ATTEMPTS + 1):
            ended = _copy_dependencies(maven, whole)
            if ended.returncode == 0:
                break
            if attempt == ATTEMPTS:
                raise NoServerError(f"Maven could not fetch Kafka: {ended.stdout.strip()[-500:]}")
        whole.rename(folder)  # complete or not there at all


def _copy_dependencies(maven: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"),
            *(f"-DoutputDirectory={folder}", "-DincludeScope=runtime"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=MAVEN_SECONDS,
        check=False,
    )
