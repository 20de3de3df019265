"""sentry-arroyo as its documentation builds a consumer that inserts: reduce, insert, commit."""

import signal
from collections.abc import Mapping
from typing import Any

from arroyo.backends.kafka import KafkaConsumer, KafkaPayload
from arroyo.backends.kafka.configuration import build_kafka_consumer_configuration
from arroyo.commit import ONCE_PER_SECOND
from arroyo.processing import StreamProcessor
from arroyo.processing.strategies import CommitOffsets, ProcessingStrategyFactory
from arroyo.processing.strategies.reduce import Reduce
from arroyo.processing.strategies.run_task_in_threads import RunTaskInThreads
from arroyo.types import BaseValue, Commit, Message, Partition, Topic

from benchmarks.programs.sink import Place, Sink

INSERTS = 2  # at once
SECONDS = 1.0


def gather(values: list[bytes], value: BaseValue[KafkaPayload]) -> list[bytes]:
    """One more event of a batch."""
    values.append(value.payload.value)
    return values


class Strategies(ProcessingStrategyFactory[KafkaPayload]):
    """Reduce to batches, insert several at once, commit what is stored."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._sink = Sink(place)

    def create_with_partitions(self, commit: Commit, partitions: Mapping[Partition, int]) -> Any:
        """The strategies of an assignment."""

        def insert(message: Message[list[bytes]]) -> int:
            self._sink.insert(message.payload)
            return len(message.payload)

        inserting = RunTaskInThreads(insert, INSERTS, 2 * INSERTS, CommitOffsets(commit))
        return Reduce(self._place.rows, SECONDS, gather, list, inserting)


def main() -> None:
    """Run until told to end."""
    place = Place.of_arguments()
    consumer = KafkaConsumer(
        build_kafka_consumer_configuration(
            {},
            bootstrap_servers=[place.kafka],
            group_id=place.group,
            auto_offset_reset="earliest",
            queued_max_messages_kbytes=512_000,
            queued_min_messages=2 * place.rows,
        )
    )
    processor: StreamProcessor[KafkaPayload] = StreamProcessor(
        consumer, Topic(place.topic), Strategies(place), ONCE_PER_SECOND
    )
    signal.signal(signal.SIGTERM, lambda *_: processor.signal_shutdown())
    processor.run()


if __name__ == "__main__":
    main()
