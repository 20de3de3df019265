"""Consume, insert, commit, over and over: what a first version looks like. No guarantee.

A crash between insert and commit stores a batch twice, an event that ClickHouse refuses stops the
loop for ever, and nothing is fenced: the partitions are assigned by hand.
"""

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from benchmarks.programs.sink import Place, Sink


def main() -> None:
    """Run until killed."""
    place = Place.of_arguments()
    sink = Sink(place)
    consumer = Consumer(
        {
            "bootstrap.servers": place.kafka,
            "group.id": place.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "queued.min.messages": 2 * place.rows,
            "queued.max.messages.kbytes": 512_000,
            "fetch.message.max.bytes": 8_000_000,
        }
    )
    partitions = consumer.list_topics(place.topic, 30).topics[place.topic].partitions
    mine = [number for number in partitions if number % place.shares == place.share]
    consumer.assign([TopicPartition(place.topic, number, OFFSET_BEGINNING) for number in mine])
    while True:
        messages = consumer.consume(place.rows, timeout=0.5)
        # A message may be an error of the client, with its text as the value.
        values = [m.value() or b"" for m in messages if m.error() is None]
        if values:
            sink.insert(values)
            consumer.commit(asynchronous=False)


if __name__ == "__main__":
    main()
