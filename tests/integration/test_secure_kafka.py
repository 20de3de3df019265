"""A Kafka of a company: each way to log in works, each trouble is named, and passes when mended."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AclOperation,
    AdminClient,
)

from tests.support.certificates import KEY_PASSWORD
from tests.support.logs import capture_logs
from tests.support.programs import Programs, as_environment
from tests.support.running_worker import event, health, start_worker, wait_until_running
from tests.support.secure_kafka import PASSWORD, SecureKafka
from tests.support.secure_settings import WAYS, way
from tests.support.token_server import CLIENT_SECRET, TokenServer
from tests.support.topics import make_topics, read
from tests.support.waiting import eventually
from usagepipe.producer import UsageRecorder
from usagepipe.schemas import Settings
from usagepipe.schemas.errors import UsagePipeError
from usagepipe.schemas.kafka_clients import librdkafka_config
from usagepipe.schemas.settings import ClickHouseAddress
from usagepipe.schemas.topic_admin import ensure_topics

SOON = 20  # seconds, on a busy machine
SECRETS = (PASSWORD, KEY_PASSWORD, CLIENT_SECRET)

pytestmark = pytest.mark.one_process
MakeSettings = Callable[..., Settings]


@pytest.mark.parametrize("name", WAYS)
def test_all_parts_connect(
    name: str,
    secure_kafka: SecureKafka,
    token_server: TokenServer,
    settings: MakeSettings,
    migrated: ClickHouseAddress,
    topic_name: str,
    run_program: Programs,
    tmp_path: Path,
) -> None:
    """Commands make the topics, a recorder writes, a worker stores, and an audit balances."""
    made = settings(
        topic=topic_name,
        topic_partitions=1,
        spill_dir=str(tmp_path / "spill"),
        **way(secure_kafka, token_server, name),
    )
    ensure_topics(made)
    with UsageRecorder(made) as recorder:
        recorder.record(event(1))
    worker = start_worker(run_program, made)
    environment = as_environment(made)

    def is_stored() -> bool:
        audit = run_program("audit", environment=environment)
        return audit.wait() == 0 and "1 " in audit.stdout

    eventually(lambda: health(worker).get("seconds_since_stored"), 60, worker.tail)
    worker.stop()

    assert is_stored()
    assert not any(secret in worker.stdout + worker.stderr for secret in SECRETS)


@dataclass(frozen=True)
class Trouble:
    """A problem of a Kafka: how it begins and ends, and what the error says."""

    way: str
    words: str
    begin: Callable[[SecureKafka, TokenServer, str], None]
    end: Callable[[SecureKafka, TokenServer, str], None]
    other_words: str = ""  # of the health

    @property
    def in_health(self) -> str:
        return self.other_words or self.words


def _deny(kafka: SecureKafka, tokens: TokenServer, topic: str) -> None:
    for operation in (AclOperation.WRITE, AclOperation.DESCRIBE, AclOperation.READ):
        kafka.forbid(operation, topic)


def _permit(kafka: SecureKafka, tokens: TokenServer, topic: str) -> None:
    for operation in (AclOperation.WRITE, AclOperation.DESCRIBE, AclOperation.READ):
        kafka.allow(operation, topic)


TROUBLES = {
    "wrong password": Trouble(
        "SCRAM-SHA-256",
        "USAGEPIPE_KAFKA_SASL_PASSWORD",
        lambda kafka, tokens, topic: kafka.set_password("SCRAM-SHA-256", "another"),
        lambda kafka, tokens, topic: kafka.set_password("SCRAM-SHA-256", PASSWORD),
    ),
    "expired certificate": Trouble(
        "TLS",
        "certificate has expired",
        lambda kafka, tokens, topic: kafka.present("TLS", expired=True),
        lambda kafka, tokens, topic: kafka.present("TLS"),
    ),
    "wrong host name": Trouble(
        "TLS",
        "mismatch",
        lambda kafka, tokens, topic: kafka.present("TLS", name="elsewhere.example"),
        lambda kafka, tokens, topic: kafka.present("TLS"),
    ),
    "missing right": Trouble("PLAIN", "lacks a right", _deny, _permit, "a right is missing"),
    "no token": Trouble(
        "OAUTHBEARER",
        "gives no token: it answers HTTP 401 (invalid_client)",
        lambda kafka, tokens, topic: setattr(tokens, "answers", False),
        lambda kafka, tokens, topic: setattr(tokens, "answers", True),
    ),
}


class World:
    """A Kafka in trouble, and settings to connect to it."""

    def __init__(
        self, trouble: Trouble, kafka: SecureKafka, tokens: TokenServer, settings: Settings
    ) -> None:
        self.trouble = trouble
        self.settings = settings
        self._place = kafka, tokens, settings.topic
        trouble.begin(*self._place)
        # The broker takes a new certificate, password or right a moment after it was changed.
        eventually(lambda: not _answers(settings), SOON, "a Kafka in trouble")
        self._is_mended = False

    def mend(self) -> None:
        if not self._is_mended:
            self._is_mended = True
            self.trouble.end(*self._place)


def _answers(settings: Settings) -> bool:
    try:
        admin = AdminClient(librdkafka_config(settings) | {"log_level": 0})
        found = admin.list_topics(settings.topic, timeout=3)
    except (KafkaException, UsagePipeError):
        return False
    return found.topics[settings.topic].error is None


@pytest.fixture(params=TROUBLES)
def world(
    request: pytest.FixtureRequest,
    secure_kafka: SecureKafka,
    token_server: TokenServer,
    settings: MakeSettings,
    topic_name: str,
    tmp_path: Path,
) -> Any:
    """In trouble until `mend`; its topic stands."""
    trouble = TROUBLES[request.param]
    make_topics(secure_kafka.bootstrap, topic_name, 1)
    options = way(secure_kafka, token_server, trouble.way)
    made = settings(topic=topic_name, spill_dir=str(tmp_path / "spill"), **options)
    world = World(trouble, secure_kafka, token_server, made)
    yield world
    world.mend()


def test_a_web_process_keeps_events_and_says_why(world: World, secure_kafka: SecureKafka) -> None:
    """One line of the log names the cause; the events wait on disk and arrive when it is gone."""
    with capture_logs() as logs, UsageRecorder(world.settings) as recorder:

        def named() -> list[dict[str, Any]]:
            lines = [line for line in logs if line["event"] == "kafka_failed"]
            return [line for line in lines if world.trouble.words in line.get("cause", "")]

        for number in range(3):
            recorder.record(event(number))
        eventually(named, SOON, lambda: f"the cause: {logs}")
        eventually(lambda: 3 == recorder.snapshot().spilled, SOON, lambda: f"the spill: {logs}")
        world.mend()
        eventually(lambda: 3 == recorder.snapshot().delivered, SOON, lambda: f"delivery: {logs}")

    assert 1 == len(named())
    assert not any(secret in str(logs) for secret in SECRETS)
    assert 3 == len(read(secure_kafka.bootstrap, world.settings.topic))


def test_a_command_says_why(world: World, run_program: Programs) -> None:
    """It ends soon with status 3 and one message that names the cause."""
    began = time.monotonic()

    for arguments in (("audit",), ("migrate", "--wait", "30")):
        command = run_program(*arguments, environment=as_environment(world.settings))

        assert 3 == command.wait(), command.tail()
        assert world.trouble.words in command.stderr
        assert 1 == len(command.stderr.strip().splitlines()), command.stderr
        assert not any(secret in command.stdout + command.stderr for secret in SECRETS)
    assert time.monotonic() - began < 2 * SOON


def test_a_worker_says_why_and_goes_on(
    world: World, migrated: ClickHouseAddress, run_program: Programs
) -> None:
    """`/health` names the cause while the trouble lasts, and the same process works after it."""
    worker = start_worker(run_program, world.settings)

    eventually(
        lambda: world.trouble.in_health in str(health(worker).get("troubles")),
        SOON,
        lambda: f"the cause in {health(worker)}\n{worker.tail()}",
    )
    world.mend()
    wait_until_running(worker)

    assert not any(secret in worker.stdout + worker.stderr for secret in SECRETS)
