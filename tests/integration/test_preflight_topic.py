"""What a worker checks of its topic before it begins, on real brokers."""

import asyncio
from contextlib import nullcontext
from datetime import timedelta

import pytest
from aiokafka.errors import KafkaConnectionError, UnknownTopicOrPartitionError
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    AdminClient,
    NewTopic,
)
from structlog.testing import capture_logs

from tests.support.ports import lasting_port
from tests.support.waiting import eventually
from usagepipe.consumer.preflight.topic import check_topic, judge_topic
from usagepipe.local.broker import EmbeddedBroker
from usagepipe.schemas import Settings
from usagepipe.schemas.errors import StartRefusedError

WEEK = timedelta(days=7)
DAY_MS = 86_400_000


def make(kafka: str, topic: str, **config: str) -> None:
    settings = {name.replace("_", "."): value for name, value in config.items()}
    admin = AdminClient({"bootstrap.servers": kafka})
    for made in admin.create_topics([NewTopic(topic, 1, 1, config=settings)]).values():
        made.result(30)
    eventually(lambda: _stands(kafka, topic))


def _stands(kafka: str, topic: str) -> bool:
    """A broker may have made a topic that it does not know yet."""
    try:
        check(kafka, topic)
    except UnknownTopicOrPartitionError:
        return False
    except StartRefusedError:
        return True
    return True


def check(kafka: str, topic: str, raw_days: int = 0) -> None:
    asyncio.run(check_topic(Settings.load(kafka=kafka), topic, WEEK, raw_days))


def test_a_topic_of_migrate_is_fine(kafka: str, topic: str) -> None:
    """It is kept exactly as long as the settings say, so nothing is logged."""
    with capture_logs() as logs:
        check(kafka, topic)

    assert [] == logs


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_a_compacted_topic_is_refused(kafka: str, topic_name: str, policy: str) -> None:
    """Compaction removes records inside a range that was announced."""
    make(kafka, topic_name, cleanup_policy=policy, retention_ms="-1")

    with pytest.raises(StartRefusedError, match=f"{topic_name} has cleanup.policy={policy},"):
        check(kafka, topic_name)


def test_a_topic_that_cleans_up_early_is_refused(kafka: str, topic_name: str) -> None:
    """The error names both values and both cures."""
    make(kafka, topic_name, retention_ms=str(5 * DAY_MS + 1))

    with pytest.raises(StartRefusedError) as refused:
        check(kafka, topic_name)

    text = str(refused.value)
    assert f"removes records after 5 days (retention.ms={5 * DAY_MS + 1})" in text
    assert "USAGEPIPE_TOPIC_RETENTION_DAYS is 7:" in text
    assert f"Set retention.ms={7 * DAY_MS} on the topic" in text
    assert text.endswith("or set USAGEPIPE_TOPIC_RETENTION_DAYS=5.")


def test_a_topic_that_keeps_everything_is_fine(kafka: str, topic_name: str) -> None:
    """-1 is for ever, which is fine if raw rows stay for ever too."""
    make(kafka, topic_name, retention_ms="-1")

    check(kafka, topic_name)


def test_a_topic_that_keeps_records_longer_than_raw_rows_stay_is_refused(
    kafka: str, topic_name: str
) -> None:
    """Read again, they would be stored and summed twice. The error names both cures."""
    make(kafka, topic_name, retention_ms=str(500 * DAY_MS + 1))

    with pytest.raises(StartRefusedError) as refused:
        check(kafka, topic_name, raw_days=400)

    text = str(refused.value)
    assert f"keeps records for 500 days (retention.ms={500 * DAY_MS + 1})" in text
    assert "usage_events their rows for 400 days:" in text
    assert (
        f"Set retention.ms={7 * DAY_MS} on the topic, or USAGEPIPE_RAW_RETENTION_DAYS=501 and"
        in (text)
    )
    check(kafka, topic_name, raw_days=501)


def test_a_topic_that_keeps_everything_needs_raw_rows_that_stay_for_ever(
    kafka: str, topic_name: str
) -> None:
    """No number of days is enough."""
    make(kafka, topic_name, retention_ms="-1")

    with pytest.raises(StartRefusedError, match=r"records for ever .*_DAYS=0 \(for ever\) and run"):
        check(kafka, topic_name, raw_days=36_500)


@pytest.mark.parametrize(("days", "refused"), [(8, True), (7, False)])
def test_raw_rows_stay_longer_than_records_not_just_as_long(days: int, *, refused: bool) -> None:
    """The same rule as of the settings."""
    with pytest.raises(StartRefusedError) if refused else nullcontext():
        judge_topic("t", {"retention.ms": str(days * DAY_MS)}, WEEK, 8)


def test_a_broker_that_does_not_name_the_retention_is_no_reason_to_refuse() -> None:
    """An unknown retention is not read as for ever."""
    judge_topic("t", {"cleanup.policy": "delete"}, WEEK, 8)


def test_a_topic_bounded_by_size_is_reported(kafka: str, topic_name: str) -> None:
    """The time that the bytes last is unknown, so the topic is not refused."""
    make(
        kafka,
        topic_name,
        retention_bytes="1000000",
        message_timestamp_type="LogAppendTime",
    )

    with capture_logs() as logs:
        check(kafka, topic_name)

    assert [("topic_limited_by_size", "warning", "1000000")] == [
        (line["event"], line["log_level"], line["retention_bytes"]) for line in logs
    ]


def test_a_topic_that_nobody_made_is_no_reason_to_refuse(kafka: str, topic_name: str) -> None:
    """The worker waits for it and checks again."""
    with pytest.raises(UnknownTopicOrPartitionError):
        check(kafka, topic_name)


def test_a_broker_that_is_away_is_no_reason_to_refuse() -> None:
    """The worker waits for it and checks again."""
    with pytest.raises(KafkaConnectionError):
        check(f"127.0.0.1:{lasting_port()}", "t")


def test_a_broker_that_hides_its_settings_is_mentioned() -> None:
    """The embedded one hangs up when it is asked."""
    with EmbeddedBroker() as broker:
        make(broker.address, "t")
        with capture_logs() as logs:
            check(broker.address, "t")

    assert [("topic_settings_unknown", "info")] == [
        (line["event"], line["log_level"]) for line in logs
    ]


def test_less_than_a_day_leaves_one_way_out() -> None:
    """The setting counts whole days."""
    with pytest.raises(StartRefusedError, match=r"Set retention\.ms=604800000 on the topic\.$"):
        judge_topic("t", {"retention.ms": "3600000"}, WEEK, 0)


def test_a_topic_that_keeps_the_producers_time_is_reported(kafka: str, topic_name: str) -> None:
    """It works, but rows are then as old as some producer's clock says."""
    make(kafka, topic_name, message_timestamp_type="CreateTime", retention_ms="-1")

    with capture_logs() as logs:
        check(kafka, topic_name)

    assert ["topic_keeps_producers_time"] == [line["event"] for line in logs]
