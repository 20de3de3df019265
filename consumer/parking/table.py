"""The table of parked partitions: notes of workers, and decisions of operators.

Through it a decision reaches a worker on another machine, and a worker that takes over a partition
finds that it is parked. A note names the group, the topic's id, the partition and the exact range,
so it never applies to records of another log.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any, Final

import msgspec

from usagepipe.consumer.clickhouse.lazy_client import LazyClient
from usagepipe.consumer.clickhouse.stored import READ_SETTINGS
from usagepipe.consumer.log.records import TopicPartition
from usagepipe.consumer.parking.parked import Parked, Report
from usagepipe.schemas.clickhouse.sql_files import read_sql
from usagepipe.schemas.settings import ClickHouseAddress

TABLE: Final = "parked_partitions"
_WORKER: Final = "worker"
_OPERATOR: Final = "operator"
_READ: Final = partial(read_sql, "usagepipe.consumer.parking", "notes")
_ALL_PARTITIONS: Final = -1
_WRITE_SETTINGS: Final[Mapping[str, int]] = {
    "async_insert": 0,
    "wait_end_of_query": 1,
    "input_format_defaults_for_omitted_fields": 1,
    "distributed_foreground_insert": 1,
}
_read_report: Final = msgspec.json.Decoder(Report).decode


class Mode(StrEnum):
    """How an operator releases a parked partition."""

    LETTERS = "letters"  # refused records of the range become dead letters, without limits
    RETRY = "retry"  # the range is read again, and parked again if it still exceeds a limit


@dataclass(frozen=True, slots=True)
class Release:
    """An operator's decision about the offsets `first` … `last`."""

    mode: Mode
    first: int
    last: int
    author: str
    noted_at: datetime

    def applies_to(self, parked: Parked) -> bool:
        return self.first <= parked.first <= self.last


@dataclass(frozen=True, slots=True)
class Notes:
    """The notes about one partition: of its worker, and of operators."""

    parked: Parked | None = None  # None: it was never parked, or it was resumed
    release: Release | None = None

    @property
    def is_released(self) -> bool:
        """Whether an operator decided after the worker had parked the partition."""
        return (
            self.parked is not None
            and self.parked.noted_at is not None
            and self.release is not None
            and self.release.noted_at > self.parked.noted_at
            and self.release.applies_to(self.parked)
        )


def parked_now(
    notes: Mapping[int, Notes], committed: Mapping[int, int]
) -> dict[int, tuple[Parked, Notes]]:
    """The partitions that are parked: their range is not committed."""
    return {
        number: (each.parked, each)
        for number, each in notes.items()
        if each.parked is not None and committed.get(number, -1) <= each.parked.last
    }


class ParkingTable:
    """Reads and writes the notes of one consumer group. Connects at the first call.

    Thread-safe. All methods block and raise the client's errors.
    """

    def __init__(self, address: ClickHouseAddress, group: str, seconds: float) -> None:
        """`seconds` is the timeout of one statement."""
        self._group = group
        self._client = LazyClient(address, seconds)

    def read(self, topic_id: str, partition: int) -> Notes:
        """The notes of one partition."""
        return self._read(topic_id, partition).get(partition, Notes())

    def read_parked(
        self, topic_id: str, committed: Mapping[int, int]
    ) -> dict[int, tuple[Parked, Notes]]:
        """The partitions that are parked now, with their notes. `committed` is read before."""
        return parked_now(self._read(topic_id, _ALL_PARTITIONS), committed)

    def try_out(self) -> None:
        """Raise what the next read would raise."""
        self.read("", 0)

    def park(self, parked: Parked) -> None:
        """Note that a worker has parked a partition.

        A note that was written before keeps its time, so a decision about it stays newer.
        """
        times = {"parked_at": parked.since, "noted_at": parked.noted_at}
        self._write(
            parked,
            noted_by=_WORKER,
            state="parked",
            author=parked.worker,
            report=msgspec.json.encode(parked.report).decode(),
            **{name: _moment(moment) for name, moment in times.items() if moment},
        )

    def resume(self, parked: Parked) -> None:
        """Note that the worker has resumed the partition."""
        self._write(parked, noted_by=_WORKER, state="resumed", author=parked.worker)

    def release(self, parked: Parked, mode: Mode, last: int, author: str) -> None:
        """Note an operator's decision about the range from `parked.first` to `last`."""
        self._write(parked, noted_by=_OPERATOR, state=mode, author=author, last_offset=last)

    def close(self) -> None:
        self._client.close()

    def _read(self, topic_id: str, partition: int) -> dict[int, Notes]:
        parameters = {"group": self._group, "topic_id": topic_id, "partition": partition}
        found = self._client.get().query(
            _READ(), parameters=parameters, settings=dict(READ_SETTINGS)
        )
        by_partition: dict[int, dict[str, Mapping[str, Any]]] = {}
        for row in found.named_results():
            by_partition.setdefault(row["kafka_partition"], {})[row["noted_by"]] = row
        return {number: _notes(topic_id, rows) for number, rows in by_partition.items()}

    def _write(self, parked: Parked, **fields: object) -> None:
        row = {
            "consumer_group": self._group,
            "kafka_topic": parked.partition.topic,
            "kafka_topic_id": parked.topic_id,
            "kafka_partition": parked.partition.partition,
            "first_offset": parked.first,
            "last_offset": parked.last,
        } | fields
        self._client.get().raw_insert(
            TABLE,
            column_names=list(row),
            insert_block=json.dumps(row).encode(),
            settings=dict(_WRITE_SETTINGS),
            fmt="JSONEachRow",
        )


def _notes(topic_id: str, rows: Mapping[str, Mapping[str, Any]]) -> Notes:
    worker, operator = rows.get(_WORKER), rows.get(_OPERATOR)
    return Notes(
        _parked(topic_id, worker) if worker and worker["state"] == "parked" else None,
        _release(operator) if operator else None,
    )


def _parked(topic_id: str, row: Mapping[str, Any]) -> Parked:
    return Parked(
        TopicPartition(row["kafka_topic"], row["kafka_partition"]),
        topic_id,
        row["first_offset"],
        row["last_offset"],
        _read_report(row["report"]),
        row["parked_at"],
        row["author"],
        row["noted_at"],
    )


def _release(row: Mapping[str, Any]) -> Release:
    return Release(
        Mode(row["state"]), row["first_offset"], row["last_offset"], row["author"], row["noted_at"]
    )


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
