"""Other programs' transactions: committed events count once, aborted ones never."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from tests.integration.test_audit import audit, total
from tests.support import topics
from tests.support.commands import usagepipe
from tests.support.programs import Programs
from tests.support.running_worker import SECONDS, MakeSettings, event, start_worker
from tests.support.waiting import eventually
from tests.support.worker import raw_counts, rollup_sums
from usagepipe.schemas import Settings, encode

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

PARTITION = 2

pytestmark = pytest.mark.usefixtures("migrated")


def events(first: int, count: int) -> list[bytes]:
    return [encode(event(number)) for number in range(first, first + count)]


@contextmanager
def transaction(settings: Settings, name: str, values: list[bytes]) -> Iterator[Producer]:
    """An open transaction whose records the broker has."""
    producer = Producer(
        {"bootstrap.servers": settings.kafka, "transactional.id": f"{settings.group}-{name}"}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in values:
        producer.produce(settings.topic, value, partition=PARTITION)
    assert 0 == producer.flush(30)
    yield producer


def sums(client: "Client") -> set[int]:
    return {requests for requests, _ in rollup_sums(client).values()}


def test_aborted_records_are_never_stored(
    settings: MakeSettings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """Committed and plain events count once; worker, audit and replay agree on the others."""
    made = settings()
    topics.send(made.kafka, made.topic, events(0, 7), partition=PARTITION)
    with (
        transaction(made, "taken-back", events(100, 11)) as aborting,
        transaction(made, "kept", events(200, 5)) as committing,
    ):
        topics.send(made.kafka, made.topic, events(300, 3), partition=PARTITION)
        aborting.abort_transaction(30)
        committing.commit_transaction(30)
    topics.send(made.kafka, made.topic, events(400, 2), partition=PARTITION)
    with transaction(made, "last", events(500, 6)) as aborting:
        aborting.abort_transaction(30)  # nothing comes after it
    worker = start_worker(run_program, made)
    eventually(lambda: raw_counts(clickhouse_client)[0] >= 17, SECONDS, worker.tail)
    eventually(lambda: audit(made)[1]["partitions"][PARTITION]["backlog"] == 0, SECONDS, "the end")

    status, found = audit(made)
    replayed = usagepipe(made, "replay").status

    assert (0, 17, 17, 3) == (status, *(total(found, n) for n in ("stored", "aborted", "marks")))
    assert 0 == replayed
    assert (17, 17) == raw_counts(clickhouse_client)
    assert {17} == sums(clickhouse_client)


def test_an_open_transaction_is_waited_for(
    settings: MakeSettings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """Later records are stored only after it ends, and the audit counts them as backlog."""
    made = settings()
    worker = start_worker(run_program, made)
    topics.send(made.kafka, made.topic, events(0, 4), partition=PARTITION)
    with transaction(made, "open", events(100, 3)) as producer:
        topics.send(made.kafka, made.topic, events(200, 5), partition=PARTITION)
        eventually(lambda: raw_counts(clickhouse_client)[0] >= 4, SECONDS, worker.tail)
        eventually(lambda: audit(made)[1]["partitions"][PARTITION]["stored"] == 4, SECONDS, "it")
        status, found = audit(made)
        counted = raw_counts(clickhouse_client)
        producer.commit_transaction(30)
    eventually(lambda: raw_counts(clickhouse_client)[0] >= 12, SECONDS, worker.tail)

    assert (0, 8) == (status, total(found, "backlog"))
    assert (4, 4) == counted
    assert (12, 12) == raw_counts(clickhouse_client)
    eventually(lambda: sums(clickhouse_client) == {12}, SECONDS, worker.tail)
