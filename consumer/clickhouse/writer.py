"""Inserts rows into ClickHouse over HTTP: one call is one insert of one block.

The settings of an insert are pinned. A retry deduplicates only if it makes exactly the same block,
and servers have different defaults (they changed in 24.7, 25.9, 25.10 and 26.2).
"""

from collections.abc import Mapping
from typing import Final, cast

from usagepipe.consumer.clickhouse.lazy_client import LazyClient
from usagepipe.schemas.clickhouse.usage_events import COLUMNS, TABLE
from usagepipe.schemas.settings import ClickHouseAddress

# Public, because the preflight uses the same settings.
INSERT_SETTINGS: Final[Mapping[str, str | int]] = {
    # The answer means "stored": the server must not queue the insert.
    "async_insert": 0,
    "wait_end_of_query": 1,
    # The raw table and the table of each view drop a repeated block.
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # One batch is one block: the limit is above any batch, and parsing is not parallel.
    "max_insert_block_size": 1 << 30,
    "min_insert_block_size_rows": 0,
    "min_insert_block_size_bytes": 0,
    "input_format_parallel_parsing": 0,
    "max_insert_threads": 1,
    # A batch of late events may touch more months than the default of 100 partitions.
    "max_partitions_per_insert_block": 0,
    # A view that fails, or whose table is gone, fails the insert. The retry repairs it.
    "materialized_views_ignore_errors": 0,
    "ignore_materialized_views_with_dropped_target_table": 0,
    # Strict input: the server stores what the worker sends; a profile cannot change that.
    "input_format_allow_errors_num": 0,
    "input_format_allow_errors_ratio": 0,
    "input_format_defaults_for_omitted_fields": 1,
    "input_format_skip_unknown_fields": 0,
    "input_format_null_as_default": 0,
    "date_time_input_format": "best_effort",  # RFC 3339, as events have it
    # On a cluster the answer comes after the shard has stored the block.
    "distributed_foreground_insert": 1,
}


class Writer:
    """Inserts into the raw table. Threads may share it."""

    def __init__(self, address: ClickHouseAddress, insert_seconds: float) -> None:
        self._client = LazyClient(address, insert_seconds)

    def insert(self, body: bytes | bytearray, token: str) -> None:
        """Store the rows of `body` (JSONEachRow) as one block named `token`. Blocks.

        A repeated `token` with the same bytes changes nothing while it is in the tables' windows.
        Raises the client's errors; then the rows may or may not be stored.
        """
        self._insert(body, {"insert_deduplication_token": token})

    def try_out(self) -> None:
        """Raise what the next insert would raise, by an insert without rows. Blocks."""
        self._insert(b"", {"throw_if_no_data_to_insert": 0})

    def _insert(self, body: bytes | bytearray, more_settings: Mapping[str, str | int]) -> None:
        self._client.get().raw_insert(
            TABLE,
            column_names=COLUMNS,
            # The client would copy bytes, and silently repeat the insert after a lost connection,
            # so that the rows would not be verified.
            insert_block=cast(bytes, memoryview(body)),
            settings={**INSERT_SETTINGS, **more_settings},
            fmt="JSONEachRow",
        )

    def ping(self) -> None:
        """Raise unless the server answers a query. Blocks."""
        self._client.get().command("SELECT 1")

    def close(self) -> None:
        """End the connections."""
        self._client.close()
