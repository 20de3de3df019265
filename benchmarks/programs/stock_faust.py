"""Faust as its documentation shows it: `stream.take`, then an insert."""

import asyncio
import sys
from typing import Any

import faust

from benchmarks.programs.sink import Place, Sink


def create_app(place: Place) -> faust.App:
    """An app that stores what it takes. Stock but for what its stay on this machine asks for."""
    app = faust.App(
        place.group,
        broker=f"kafka://{place.kafka}",
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        stream_buffer_maxsize=place.rows,
        broker_max_poll_records=place.rows,
    )
    sink = Sink(place)
    topic = app.topic(place.topic, value_type=bytes, value_serializer="raw", key_serializer="raw")

    @app.agent(topic)
    async def store(stream: Any) -> None:
        async for values in stream.take(place.rows, within=1.0):
            await asyncio.to_thread(sink.insert, values)

    return app


if __name__ == "__main__":
    worker = faust.Worker(create_app(Place.of_arguments()), loglevel="WARN")
    sys.exit(worker.execute_from_commandline())
