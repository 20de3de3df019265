"""A record batch that is small on the wire and huge when unpacked, against a real worker."""

import os
from typing import TYPE_CHECKING

import pytest
from aiokafka.record.default_records import DefaultRecordBatch

from tests.support import topics
from tests.support.bombs import batch_of_headers, bomb, send_batch
from tests.support.commands import usagepipe
from tests.support.memory import needs_proc, peak_bytes
from tests.support.programs import Programs
from tests.support.running_worker import (
    MakeSettings,
    event,
    start_worker,
    wait_until_committed,
    wait_until_running,
)
from tests.support.worker import raw_counts
from usagepipe.schemas import encode
from usagepipe.schemas.topics import dead_letter_topic

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MOST_BYTES = 400 << 20  # of a worker, with any content of the topic


@needs_proc
@pytest.mark.usefixtures("migrated")
@pytest.mark.parametrize(
    ("codec", "mebibytes"),
    [
        pytest.param(DefaultRecordBatch.CODEC_GZIP, 300, id="gzip"),
        pytest.param(DefaultRecordBatch.CODEC_LZ4, 200, id="lz4"),
        pytest.param(DefaultRecordBatch.CODEC_ZSTD, 512, id="zstd"),
    ],
)
def test_a_batch_that_would_fill_the_memory_is_a_dead_letter_and_its_partition_goes_on(
    settings: MakeSettings,
    run_program: Programs,
    clickhouse_client: "Client",
    codec: int,
    mebibytes: int,
) -> None:
    """The broker accepts small compressed batches; a worker that unpacked them would be killed."""
    made = settings()
    topics.send(made.kafka, made.topic, [encode(event(0))], partition=1)
    send_batch(made.kafka, made.topic, 1, bomb(codec, mebibytes))
    topics.send(made.kafka, made.topic, [encode(event(1))], partition=1)

    worker = start_worker(run_program, made)
    wait_until_running(worker)
    wait_until_committed(made, worker)

    (letter,) = topics.read(made.kafka, dead_letter_topic(made.topic))
    reported = {name: letter.headers[name] for name in ("offset", "reason", "omitted_value_bytes")}
    assert {"offset": b"1", "reason": b"batch_too_large", "omitted_value_bytes": b""} == reported
    assert None is letter.value
    assert (2, 2) == raw_counts(clickhouse_client)
    assert 0 == usagepipe(made, "audit").status
    assert peak_bytes(worker.pid) < MOST_BYTES


@needs_proc
@pytest.mark.usefixtures("migrated")
def test_a_record_that_would_fill_the_memory_is_a_dead_letter_and_its_partition_goes_on(
    settings: MakeSettings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """Also within the bound of a batch a record may take fifty times its room, once it is read."""
    made = settings()
    zstd = DefaultRecordBatch.CODEC_ZSTD
    send_batch(made.kafka, made.topic, 1, batch_of_headers(zstd, 30_000_000, os.urandom(1 << 16)))
    send_batch(made.kafka, made.topic, 1, bomb(zstd, 60, noise=4_096))
    topics.send(made.kafka, made.topic, [encode(event(0))], partition=1)

    worker = start_worker(run_program, made)
    wait_until_running(worker)
    wait_until_committed(made, worker)

    letters = topics.read(made.kafka, dead_letter_topic(made.topic))
    reported = {letter.headers["offset"]: letter.headers["reason"] for letter in letters}
    assert {b"0": b"not_json", b"1": b"record_too_large"} == reported
    assert (1, 1) == raw_counts(clickhouse_client)
    assert peak_bytes(worker.pid) < MOST_BYTES
