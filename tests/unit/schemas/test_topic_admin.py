"""Topics that were created a moment ago, as a broker lists them."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from tests.support.logs import capture_logs
from usagepipe.schemas import topic_admin

ABSENT: dict[str, Any] = {}
LEADERLESS = {"events": SimpleNamespace(partitions={0: SimpleNamespace(leader=-1)})}
LED = {"events": SimpleNamespace(partitions={0: SimpleNamespace(leader=1)})}


class Admin:
    """Answers each question with the next of `answers`, and with the last one for ever."""

    def __init__(self, *answers: dict[str, Any] | KafkaException) -> None:
        self.answers = list(answers)
        self.asked = 0

    def list_topics(self, timeout: float) -> SimpleNamespace:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if isinstance(answer, KafkaException):
            raise answer
        return SimpleNamespace(topics=answer)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_admin, "KNOWN_SECONDS", 0.2)
    monkeypatch.setattr(topic_admin, "PAUSE_SECONDS", 0.001)


def test_a_topic_is_waited_for_until_it_can_be_written() -> None:
    """The wait continues while the broker does not answer."""
    away = KafkaException(KafkaError(KafkaError._TRANSPORT))
    admin = Admin(ABSENT, away, LEADERLESS, LED)

    topic_admin._wait_until_known(admin, {"events"})  # type: ignore[arg-type]

    assert 4 == admin.asked


def test_a_topic_that_stays_unknown_is_logged_and_no_failure() -> None:
    """It was created: a broker that does not list it yet takes nothing back."""
    with capture_logs() as logs:
        topic_admin._wait_until_known(Admin(ABSENT), {"events"})  # type: ignore[arg-type]

    assert ["topics_not_known_yet"] == [entry["event"] for entry in logs]
