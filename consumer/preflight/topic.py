"""Checks the settings of the events' topic: no record may be lost, or stored twice.

A compacted topic loses records inside an announced range. With a short retention, a topic loses
records that a stopped worker has not read. With a longer retention than that of the raw rows, a
record that is read again is stored and summed a second time. The check has its own connection:
brokers that do not know the request close it, and the worker's must stay open.
"""

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import structlog
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    IncompatibleBrokerVersion,
    InvalidRequestError,
    KafkaConnectionError,
    TopicAuthorizationFailedError,
    UnsupportedVersionError,
    for_code,
)

from usagepipe.consumer.topics.kafka_credentials import aiokafka_options
from usagepipe.schemas.errors import StartRefusedError
from usagepipe.schemas.settings.kafka import KafkaSettings
from usagepipe.schemas.topics import ARRIVAL

log = structlog.get_logger()

_ASKED: Final = ("cleanup.policy", "retention.ms", "retention.bytes", "message.timestamp.type")
_NOT_ANSWERED: Final = (  # the broker does not know the request, or refuses it to this client
    KafkaConnectionError,
    IncompatibleBrokerVersion,
    UnsupportedVersionError,
    InvalidRequestError,
    ClusterAuthorizationFailedError,
    TopicAuthorizationFailedError,
)
_TRIES: Final = 2  # a broker that closes the connection twice does not know the request
_DAY: Final = timedelta(days=1)
_DAY_MS: Final = 86_400_000


async def check_topic(
    kafka: KafkaSettings, topic: str, retention: timedelta, raw_days: int
) -> None:
    """Return if `topic` keeps every record, for at least `retention` and for less than `raw_days`.

    `raw_days` is the retention of the raw rows; 0 is for ever. A topic passes if its broker does
    not report the settings.

    Raises:
        StartRefusedError: it is compacted, or its retention is too short or too long.
        aiokafka.errors.KafkaError: the broker is unreachable, or there is no such topic.
    """
    for _ in range(_TRIES):
        admin = AIOKafkaAdminClient(**aiokafka_options(kafka))
        try:
            await admin.start()
            config = await _config(admin, topic)
        finally:
            await admin.close()
        if config is not None:
            return judge_topic(topic, config, retention, raw_days)
    log.info("topic_settings_unknown", topic=topic, reason="the broker does not report them")


def judge_topic(topic: str, config: Mapping[str, str], retention: timedelta, raw_days: int) -> None:
    """As `check_topic`, for a topic with the settings `config`.

    Raises:
        StartRefusedError: see `check_topic`.
    """
    policies = {word.strip() for word in config.get("cleanup.policy", "delete").split(",")}
    if policies - {"delete", ""}:
        raise StartRefusedError(
            f"The topic {topic} has cleanup.policy={config['cleanup.policy']}, which removes "
            "records that are not stored yet. Set cleanup.policy=delete on it."
        )
    kept = int(config.get("retention.ms") or -1)
    if 0 <= kept < retention / timedelta(milliseconds=1):
        raise StartRefusedError(_too_short(topic, timedelta(milliseconds=kept), retention))
    is_reported = "retention.ms" in config  # a small broker does not name it
    if is_reported and raw_days and not 0 <= kept < raw_days * _DAY_MS:
        raise StartRefusedError(_too_long(topic, kept, retention, raw_days))
    if config.get("message.timestamp.type", ARRIVAL) != ARRIVAL:
        log.warning(
            "topic_keeps_producers_time",
            topic=topic,
            danger="a producer's clock decides which rows are old",
            cure=f"set message.timestamp.type={ARRIVAL} on the topic",
        )
    if int(config.get("retention.bytes") or -1) >= 0:
        log.warning("topic_limited_by_size", topic=topic, retention_bytes=config["retention.bytes"])


def _too_short(topic: str, kept: timedelta, retention: timedelta) -> str:
    milliseconds = retention // timedelta(milliseconds=1)
    days = math.floor(kept / _DAY)
    lower = f", or set USAGEPIPE_TOPIC_RETENTION_DAYS={days}" if days else ""
    return (
        f"The topic {topic} removes records after {kept / _DAY:g} days (retention.ms="
        f"{kept // timedelta(milliseconds=1)}), USAGEPIPE_TOPIC_RETENTION_DAYS is "
        f"{retention / _DAY:g}: records that no worker has read by then would be lost. "
        f"Set retention.ms={milliseconds} on the topic{lower}."
    )


def _too_long(topic: str, kept: int, retention: timedelta, raw_days: int) -> str:
    records = f"for {kept / _DAY_MS:g} days" if kept >= 0 else "for ever"
    rows = f"for {raw_days} days" if raw_days > 1 else "for one day, or under another TTL"
    enough = f"{kept // _DAY_MS + 1}" if kept >= 0 else "0 (for ever)"
    lower = f"retention.ms={retention // timedelta(milliseconds=1)} on the topic, or "
    return (
        f"The topic {topic} keeps records {records} (retention.ms={kept}), usage_events their rows "
        f"{rows}: a record that is read again after its row is gone would be stored and summed a "
        f"second time. Set {lower if retention < raw_days * _DAY else ''}"
        f"USAGEPIPE_RAW_RETENTION_DAYS={enough} and run usagepipe migrate."
    )


async def _config(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str] | None:
    """The settings that the broker reports, perhaps not all; None if it reports none."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict.fromkeys(_ASKED, ""))
    try:
        (response,) = await admin.describe_configs([resource])
    except _NOT_ANSWERED:
        return None
    ((code, _, _, _, entries),) = response.resources
    error = for_code(code)
    if issubclass(error, _NOT_ANSWERED):
        return None
    if code:
        raise error(topic)
    return {name: value for name, value, *_ in entries if value is not None}
