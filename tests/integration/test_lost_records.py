"""Records that the log loses from its middle: a topic that was compacted by mistake."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from tests.integration.test_audit import audit, total
from tests.support import topics
from tests.support.apache_kafka import ApacheKafka
from tests.support.programs import Programs
from tests.support.running_worker import (
    SECONDS,
    MakeSettings,
    event,
    metric,
    start_worker,
    wait_until_committed,
)
from tests.support.servers import NoServerError, skip_or_fail
from tests.support.waiting import eventually
from tests.support.worker import raw_counts
from usagepipe.schemas import Settings, encode

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

PARTITION, STORED, UNREAD = 1, 30, 80

pytestmark = pytest.mark.usefixtures("migrated")


@pytest.fixture
def eager_kafka(tmp_path: Path) -> Iterator[ApacheKafka]:
    """A Kafka that compacts as soon as it may."""
    try:
        broker = ApacheKafka(tmp_path / "kafka", "log.cleaner.backoff.ms=200\n")
    except NoServerError as error:
        skip_or_fail("Kafka that compacts", "PATH (Java 17 and Maven)", error)
        raise
    with broker:
        yield broker


def configure(settings: Settings, **values: str) -> None:
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in values.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, settings.topic, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": settings.kafka})
    admin.incremental_alter_configs([resource])[resource].result(SECONDS)


def test_records_that_compaction_took_are_reported_and_do_not_balance(
    settings: MakeSettings,
    eager_kafka: ApacheKafka,
    topic_name: str,
    run_program: Programs,
    clickhouse_client: "Client",
) -> None:
    """They are not marks of transactions: the worker names them, and the audit fails."""
    topics.make_topics(eager_kafka.bootstrap, topic_name, 2)
    made = settings(kafka=eager_kafka.bootstrap, topic=topic_name)
    values = [encode(event(number)) for number in range(STORED + UNREAD + 1)]
    worker = start_worker(run_program, made)
    topics.send(made.kafka, made.topic, values[:STORED], partition=PARTITION, key=b"a-key")
    wait_until_committed(made, worker)
    worker.stop()

    topics.send(made.kafka, made.topic, values[STORED:-1], partition=PARTITION, key=b"a-key")
    configure(
        made,
        cleanup_policy="compact",
        segment_ms="100",
        min_cleanable_dirty_ratio="0.001",
        max_compaction_lag_ms="100",
    )
    topics.send(made.kafka, made.topic, values[-1:], partition=PARTITION, key=b"another")
    eventually(lambda: len(topics.read(made.kafka, made.topic)) < 10, SECONDS, "compaction")
    configure(made, cleanup_policy="delete", segment_ms="604800000")
    left = sum(each.offset >= STORED for each in topics.read(made.kafka, made.topic))
    worker = start_worker(run_program, made)
    wait_until_committed(made, worker)
    lost = STORED + UNREAD + 1 - raw_counts(clickhouse_client)[0]

    status, found = audit(made)

    assert UNREAD + 1 - left == lost
    assert (1, lost, 0) == (status, total(found, "missing_from_log"), total(found, "marks"))
    assert float(lost) == metric(worker, "usagepipe_log_missing_records_total")
    (reported,) = [
        line for line in worker.stderr.splitlines() if "records_missing_from_log" in line
    ]
    assert f'"first": {STORED}' in reported
