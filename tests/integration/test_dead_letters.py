"""Dead letters on a real topic: every record that Kafka can hold has one."""

import asyncio
import os

from tests.support import topics
from tests.support.fake_records import PARTITION, FakeRecord
from usagepipe.consumer.dead_letters.producer import DeadLetterProducer
from usagepipe.consumer.rows.rows import Rejected
from usagepipe.schemas import Settings
from usagepipe.schemas.topics import MAX_DEAD_LETTER_BYTES, dead_letter_topic

SECONDS = 60


def letters_of(kafka: str, topic: str, *records: FakeRecord) -> list[topics.Record]:
    """The records of the dead-letter topic after `records` were sent there at once."""

    async def send() -> None:
        letters = DeadLetterProducer(Settings.load(kafka=kafka), dead_letter_topic(topic))
        rejected = [Rejected(record, "not_json", "no JSON") for record in records]
        try:
            async with asyncio.timeout(SECONDS):
                await letters.send(rejected, PARTITION, "topic-id")
        finally:
            await letters.close()

    asyncio.run(send())
    return topics.read(kafka, dead_letter_topic(topic))


def test_a_tombstone_without_a_key_is_a_letter(kafka: str, topic: str) -> None:
    """Kafka takes a record of neither key nor value; the client would refuse to send one."""
    (letter,) = letters_of(kafka, topic, FakeRecord(7, value=None, key=None))

    assert (b"", None, b"7") == (letter.key, letter.value, letter.headers["offset"])


def test_a_record_that_came_compressed_is_a_letter_with_all_its_bytes(
    kafka: str, topic: str
) -> None:
    """The topic's limit counts compressed bytes: 8 MB of text fit, also in a dead letter."""
    value = b"usage? " * 1_200_000

    (letter,) = letters_of(kafka, topic, FakeRecord(7, value))

    assert value == letter.value


def test_a_letter_that_kafka_refuses_for_its_size_goes_without_its_value(
    kafka: str, topic: str
) -> None:
    """It has the record's place and size; other dead letters are complete."""
    giant = FakeRecord(8, os.urandom(2 * MAX_DEAD_LETTER_BYTES))

    found = letters_of(kafka, topic, FakeRecord(7, b"a"), giant, FakeRecord(9, b"b"))

    reported = {letter.headers["offset"]: letter for letter in found}
    size = str(2 * MAX_DEAD_LETTER_BYTES).encode()
    assert {b"7": b"a", b"8": None, b"9": b"b"} == {o: each.value for o, each in reported.items()}
    assert size == reported[b"8"].headers["omitted_value_bytes"]
