"""Compares what was sent with what is stored: raw rows, each key and bucket of each rollup, and
dead letters. Says in sentences what differs; nothing is exactly once in effect.
"""

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from confluent_kafka import Consumer, KafkaError, TopicPartition

from tests.support.chaos_traffic import Ledger
from tests.support.stored_prices import wrong_costs
from tests.support.topics import read
from usagepipe.schemas import Settings
from usagepipe.schemas.clickhouse.client import connect

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SECONDS: Final = 30
BUCKETS: Final = {
    "rollup_usage_15m": "toStartOfFifteenMinutes(toDateTime(occurred_at, 'UTC'))",
    "rollup_usage_1d": "toStartOfDay(occurred_at, 'UTC')",
}
COUNTS: Final = {  # of a rollup, and of a raw row
    "requests": "part = 0",
    "failures": "failed AND part = 0",
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "total_tokens": "total_tokens",
}
COST: Final = "ifNull(cost, toDecimal128(0, 12))"
_ROLLUPS: Final = (
    "SELECT name, sorting_key FROM system.tables WHERE database = currentDatabase()"
    " AND name LIKE 'rollup_%' AND engine LIKE '%MergeTree' ORDER BY name"
)


def differences(settings: Settings, ledger: Ledger) -> list[str]:
    """What differs between `ledger`, the log, the tables and the dead letters."""
    with connect(settings.clickhouse_address, wait_seconds=SECONDS) as client:
        return [
            *_raw(client, ledger),
            *_prices(client, ledger),
            *rollup_differences(client),
            *_letters(settings, ledger),
        ]


def rollup_differences(client: "Client") -> list[str]:
    """What differs between the rollups and raw."""
    return [line for table, keys in _rollups(client) for line in _rollup(client, table, keys)]


def _rollups(client: "Client") -> list[tuple[str, list[str]]]:
    rows = client.query(_ROLLUPS).result_rows
    assert {name for name, _ in rows} == set(BUCKETS), "a rollup that nobody compares"
    return [(name, [key for key in keys.split(", ") if key != "bucket"]) for name, keys in rows]


def _raw(client: "Client", ledger: Ledger) -> Iterator[str]:
    rows = client.query("SELECT toString(event_id), count() FROM usage_events GROUP BY 1")
    found: dict[str, int] = {str(event_id): count for event_id, count in rows.result_rows}
    twice = sorted(event_id for event_id, count in found.items() if count > 1)
    missing, alien = ledger.ids - set(found), set(found) - ledger.ids
    for what, ids in (("missing", missing), ("never sent", alien), ("stored twice", twice)):
        if ids:
            places = _places(client, sorted(ids)[:3])
            yield f"usage_events: {len(ids)} of {len(ledger.ids)} {what}, such as {places}"
    expected = [
        len(ledger.ids),
        ledger.failures,
        ledger.prompt_tokens,
        ledger.completion_tokens,
        ledger.total_tokens,
        ledger.cost,
    ]
    sums = ", ".join(f"sum({column})" for column in COUNTS.values())
    own_cost = COST.replace("cost", "reported_cost")
    ((*held, cost),) = client.query(f"SELECT {sums}, sum({own_cost}) FROM usage_events").result_rows
    if expected != [*held, cost]:
        yield f"usage_events: sums are {[*held, cost]}, sent was {expected}"


def _prices(client: "Client", ledger: Ledger) -> Iterator[str]:
    """Each row has the cost of the book that it names, and none that has a price lacks it."""
    wrong = list(wrong_costs(client))
    if wrong:
        yield f"usage_events: {len(wrong)} rows have a wrong cost, such as {wrong[0]}"
    ((priced,),) = client.query(
        "SELECT count() FROM usage_events WHERE cost_source = 'priced' AND reported_cost IS NULL"
    ).result_rows
    if priced != ledger.priced:
        yield f"usage_events: {priced} rows are priced that had no cost, of {ledger.priced}"


def _places(client: "Client", ids: list[str]) -> list[object]:
    rows = client.query(
        "SELECT toString(event_id), kafka_partition, kafka_offset, batch_epoch, stored_at"
        " FROM usage_events WHERE event_id IN {ids:Array(UUID)} ORDER BY ALL",
        parameters={"ids": ids},
    ).result_rows
    return [*(id_ for id_ in ids if id_ not in {row[0] for row in rows}), *map(str, rows)]


def _rollup(client: "Client", table: str, keys: list[str]) -> Iterator[str]:
    """Each bucket and key of the rollup less the same of raw: nothing may be left."""
    names = ", ".join(["bucket", *keys])
    # Signed, because a correction of a rollup is a row that takes away.
    held = ", ".join(f"toInt64({name}) AS _{name}" for name in COUNTS)
    raw = ", ".join(f"-toInt64({column}) AS _{name}" for name, column in COUNTS.items())
    sums = ", ".join(f"sum(_{name}) AS {name}" for name in COUNTS)
    left = " OR ".join(f"{name} != 0" for name in (*COUNTS, "cost"))
    rows = client.query(
        f"SELECT {names}, {sums}, sum(_cost) AS cost FROM ("
        f" SELECT {names}, {held}, {COST} AS _cost FROM {table}"
        f" UNION ALL SELECT {BUCKETS[table]} AS bucket, {', '.join(keys)}, {raw},"
        f" -{COST} AS _cost FROM usage_events"
        f") GROUP BY {names} HAVING {left} ORDER BY {names}"
    ).result_rows
    if rows:
        counts = [sum(row[len(keys) + 1 + n] for row in rows) for n in range(len(COUNTS))]
        cost = sum((row[-1] for row in rows), Decimal(0))
        yield (
            f"{table}: {len(rows)} buckets and keys differ from raw, in all by "
            f"{dict(zip(COUNTS, counts, strict=True)) | {'cost': str(cost)}}, such as {rows[0]}"
        )


def _letters(settings: Settings, ledger: Ledger) -> Iterator[str]:
    log = list(_log(settings))
    if len(log) != ledger.records:
        yield f"the log: {len(log)} records, sent were {ledger.records} (the harness is wrong)"
    expected = {
        place: value
        for *place_, value in log
        if value in ledger.refused
        for place in [tuple(place_)]
    }
    found = Counter[tuple[int, int]]()
    for letter in read(settings.kafka, settings.dead_letter_topic):
        headers = letter.headers
        place = (int(headers["partition"] or b""), int(headers["offset"] or b""))
        found[place] += 1
        if expected.get(place, b"none") != letter.value and letter.key != b"":
            yield f"dead letter of {place}: other bytes than the record's, or no letter's record"
    if missing := sorted(set(expected) - set(found)):
        yield f"dead letters: {len(missing)} of {len(expected)} missing, such as {missing[:3]}"
    if alien := sorted(set(found) - set(expected)):
        yield f"dead letters: {len(alien)} of good records, such as {alien[:3]}"


def _log(settings: Settings) -> Iterator[tuple[int, int, bytes | None]]:
    """Every record: partition, offset, value, without commit markers."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka,
            "group.id": "tests.balance",  # never joined
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_uncommitted",  # as the worker reads
        }
    )
    try:
        partitions = consumer.list_topics(settings.topic, SECONDS).topics[settings.topic].partitions
        consumer.assign([TopicPartition(settings.topic, number, 0) for number in partitions])
        open_ = set(partitions)
        while open_:
            for message in consumer.consume(10_000, 1.0):
                partition, offset, error = message.partition(), message.offset(), message.error()
                assert partition is not None
                if error is None:
                    assert offset is not None
                    yield partition, offset, message.value()
                elif error.code() == KafkaError._PARTITION_EOF:
                    open_.discard(partition)
                else:
                    raise AssertionError(str(error))
    finally:
        consumer.close()
