"""quixstreams with the sink that its documentation tells to write: a `BatchingSink`."""

from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

from benchmarks.programs.sink import Place, Sink

SECONDS = 5.0


class ClickHouseSink(BatchingSink):
    """Inserts what was gathered of a partition since the last checkpoint."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._sink = Sink(place)

    def write(self, batch: SinkBatch) -> None:
        """Store a batch; the offsets are committed behind it."""
        self._sink.insert(item.value for item in batch)


def main() -> None:
    """Run until told to end."""
    place = Place.of_arguments()
    app = Application(
        broker_address=place.kafka,
        consumer_group=place.group,
        auto_offset_reset="earliest",
        commit_every=place.rows,
        commit_interval=SECONDS,
        auto_create_topics=False,
        consumer_extra_config={
            "queued.min.messages": 2 * place.rows,
            "queued.max.messages.kbytes": 512_000,
        },
        loglevel="WARNING",
    )
    topic = app.topic(place.topic, value_deserializer="bytes", key_deserializer="bytes")
    app.dataframe(topic).sink(ClickHouseSink(place))
    app.run()


if __name__ == "__main__":
    main()
