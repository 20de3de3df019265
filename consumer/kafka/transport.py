"""Faust's Kafka driver, changed so that the worker gets whole fetches and writes its own offsets.

Faust's stock path costs 68 µs a record and loses records in three ways that `docs/architecture.md`
lists. A contract test (`tests/unit/consumer/kafka/test_transport.py`) lists in `OVERRIDDEN` what is
overridden of Faust and aiokafka. `pyproject.toml` bounds their versions.
"""

from collections.abc import Mapping, Set
from typing import Any, Final, Protocol, cast

from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers import aiokafka as stock
from faust.types import TP, ConsumerMessage

from usagepipe.consumer.kafka.thread import ChunkThread
from usagepipe.consumer.log.chunk import Chunk
from usagepipe.consumer.log.lineage import Lineage
from usagepipe.consumer.log.records import TopicPartition

SCHEME: Final = "usagepipe"

# How soon a paused worker looks whether a partition may be fetched again (stock: 1 s).
ALL_PAUSED_SECONDS: Final = 0.02


class RebalanceListener(Protocol):
    """The worker's side: what `ChunkConsumer` calls when the group assigns or revokes partitions.

    No method raises: Faust would hang.
    """

    def assign(self, partitions: Set[TopicPartition], /) -> None: ...
    async def take_over(self, log: ChunkThread, consumer: "ChunkConsumer", /) -> None: ...
    async def release(self) -> None: ...


class _NoReadOffsets(dict[TP, int | None]):
    """Forgets every read offset. Faust would drop older records silently."""

    def __getitem__(self, key: TP) -> None:
        return None

    def __setitem__(self, key: TP, value: int | None) -> None:
        pass


class ChunkConsumer(stock.Consumer):
    """Carries a chunk as one message, and leaves order, offsets and commits to others."""

    _thread: ChunkThread

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._read_offset = _NoReadOffsets()
        self._listener: RebalanceListener = cast(Any, self.app).rebalance_listener

    @property
    def log_of_kafka(self) -> ChunkThread:
        """The log and the group, as the rebalance handler sees them."""
        return self._thread

    def _new_consumer_thread(self) -> ChunkThread:
        return ChunkThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        chunk = cast(Chunk, record)
        return ConsumerMessage(
            topic=tp.topic,
            partition=tp.partition,
            offset=chunk.first,
            timestamp=0.0,
            timestamp_type=0,
            headers=[],
            key=None,
            value=chunk,  # type: ignore[arg-type]  # the schema passes it through
            checksum=None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def _wait_next_records(self, timeout: float) -> tuple[Any, Any]:
        """As stock, but a worker whose partitions are all paused looks again soon, not in 1 s."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]
        active = self._get_active_partitions()
        if not active:
            await self.sleep(ALL_PAUSED_SECONDS)
            return {}, active
        return await self._getmany(active_partitions=active, timeout=timeout), active

    def on_buffer_full(self, tp: tuple[str, int]) -> None:
        super().on_buffer_full(TP(*tp))  # Faust asserts its own type

    def on_buffer_drop(self, tp: tuple[str, int]) -> None:
        super().on_buffer_drop(TP(*tp))
        self._thread.look_again()

    async def read_from(self, tp: TopicPartition, read: Lineage) -> int:
        """Fetch `tp` again after what was read; the index of the first chunk from there."""
        return await self._thread.seek_one(tp, read)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: stock would acknowledge the records inside a chunk. Loss."""

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Nothing: stock would write offsets of its own, and wipe an assignment's metadata."""
        self._acked.clear()
        self._acked_index.clear()
        return False

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        raise AssertionError("only an assignment's committer writes offsets")

    async def perform_seek(self) -> None:
        """Take the assignment over; Faust calls this after each. Never raises: Faust would hang."""
        await self._listener.take_over(self._thread, self)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._listener.assign({TopicPartition(*tp) for tp in assigned})
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Give running inserts a grace before the partitions are another worker's."""
        await self._listener.release()
        await super().on_partitions_revoked(revoked)


class Transport(stock.Transport):
    """The driver of the URL scheme `usagepipe://`."""

    Consumer = ChunkConsumer


TRANSPORTS.aliases[SCHEME] = f"{__name__}:Transport"
