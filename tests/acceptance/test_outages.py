"""Servers die for 20 s while events flow; nothing is lost.

Each story has a recorder that goes on recording, a worker that goes on running, and one server
that is killed with -9 and started again on its folder.
"""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.support.apache_kafka import ApacheKafka
from tests.support.programs import Programs, as_environment
from tests.support.topics import make_topics
from tests.support.waiting import eventually
from tests.support.worker import free_web_port, raw_counts, rollup_sums
from usagepipe.local import LocalClickHouse
from usagepipe.producer import UsageRecorder
from usagepipe.schemas import Settings, UsageEvent
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.clickhouse.migrate import migrate
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

OUTAGE_SECONDS = 20  # the issue's own number
EVENTS_A_SECOND = 200
SECONDS = 90

pytestmark = pytest.mark.timeout(300)


class Traffic:
    """Records events at a steady rate until it is stopped."""

    def __init__(self, settings: Settings) -> None:
        self.recorder = UsageRecorder(settings)
        self.tokens = 0
        self.sent = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(1 / EVENTS_A_SECOND):
            event = UsageEvent.new(
                user_id=f"user-{self.sent % 5}",
                api_key_id=f"key-{self.sent % 11}",
                prompt_tokens=self.sent,
                total_tokens=self.sent,
            )
            assert self.recorder.record(event)
            self.sent += 1
            self.tokens += event.total_tokens

    def stop(self) -> int:
        """Stop and deliver; how many events were recorded."""
        self._stopping.set()
        self._thread.join()
        assert 0 == self.recorder.close(60)
        return self.sent


def worker_environment(settings: Settings) -> dict[str, str]:
    return as_environment(settings) | {
        "USAGEPIPE_WEB_PORT": str(free_web_port()),
        "USAGEPIPE_SESSION_SECONDS": "6",
    }


def outage(kill: Callable[[], None], start: Callable[[], object], settings: Settings) -> Traffic:
    """Traffic before, during and after a server's outage."""
    traffic = Traffic(settings)
    eventually(lambda: traffic.sent > EVENTS_A_SECOND * 3, SECONDS, "traffic before the outage")
    kill()
    time.sleep(OUTAGE_SECONDS)  # the outage itself, not a wait for luck
    start()
    before = traffic.sent
    eventually(
        lambda: traffic.sent > before + EVENTS_A_SECOND * 3, SECONDS, "traffic after the outage"
    )
    return traffic


def test_a_broker_that_crashes_loses_no_event(
    crashable_kafka: ApacheKafka,
    migrated: ClickHouseAddress,
    clickhouse_client: "Client",
    settings: Callable[..., Settings],
    topic_name: str,
    run_program: Programs,
) -> None:
    """Kafka killed with -9: the recorder holds events, the worker waits, both go on after it."""
    make_topics(crashable_kafka.bootstrap, topic_name, 4)
    made = settings(kafka=crashable_kafka.bootstrap, topic=topic_name)
    worker = run_program("worker", environment=worker_environment(made))

    traffic = outage(crashable_kafka.kill, crashable_kafka.start, made)
    sent = traffic.stop()
    eventually(lambda: raw_counts(clickhouse_client)[1] >= sent, SECONDS, lambda: worker.tail())

    assert sent == raw_counts(clickhouse_client)[1]
    assert {} == traffic.recorder.snapshot().dropped


def test_a_clickhouse_that_crashes_loses_and_doubles_nothing(
    crashable_clickhouse: LocalClickHouse,
    kafka: str,
    topic: str,
    settings: Callable[..., Settings],
    run_program: Programs,
) -> None:
    """ClickHouse killed with -9: batches wait and are retried under their own tokens."""
    made = settings(kafka=kafka, topic=topic, clickhouse=f"{crashable_clickhouse.url}/outage")
    migrate(made, wait_seconds=30)
    worker = run_program("worker", environment=worker_environment(made))

    traffic = outage(crashable_clickhouse.kill, crashable_clickhouse.start, made)
    sent = traffic.stop()
    client = connect(made.clickhouse_address, wait_seconds=30)
    eventually(lambda: raw_counts(client)[1] >= sent, SECONDS, lambda: worker.tail())

    assert (sent, sent) == raw_counts(client)
    # Raw rows can be seen a moment before their block has reached the rollups.
    sums = dict.fromkeys(("rollup_usage_15m", "rollup_usage_1d"), (sent, traffic.tokens))
    eventually(lambda: rollup_sums(client) == sums, SECONDS, worker.tail)
    assert sums == rollup_sums(client)
    client.close()
