"""Inserts rows into ClickHouse over HTTP: one call is one insert of one block.

The settings of an insert are pinned, because a retry deduplicates only when it makes the very
same block; a server's defaults (they changed in 24.7, 25.9, 25.10 and 26.2) must not decide it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

from usagepipe.consumer.clickhouse.lazy_client import LazyClient
from usagepipe.schemas.clickhouse.usage_events import COLUMNS, TABLE
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    pass

# Public, because the proof at the start must use the very same.
INSERT_SETTINGS: Final[Mapping[str, str | int]] = {
    # The answer means "stored": no queue of the server's own in between.
    "async_insert": 0,
    "wait_end_of_query": 1,
    # A repeated block is dropped, in the raw table and in each view's own window.
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # One batch is one block: larger than any batch, parsed in one go, never squashed with others.
    "max_insert_block_size": 1 << 30,
    "min_insert_block_size_rows": 0,
    "min_insert_block_size_bytes": 0,
    "input_format_parallel_parsing": 0,
    "max_insert_threads": 1,
    # A batch of late events may touch more months than the default of 100 partitions.
    "max_partitions_per_insert_block": 0,
    # A view that fails, or has lost its table, fails the insert, and the retry heals it.
    "materialized_views_ignore_errors": 0,
    "ignore_materialized_views_with_dropped_target_table": 0,
    # Strict input: what the worker sends is what is stored. A profile may have it otherwise.
    "input_format_allow_errors_num": 0,
    "input_format_allow_errors_ratio": 0,
    "input_format_defaults_for_omitted_fields": 1,
    "input_format_skip_unknown_fields": 0,
    "input_format_null_as_default": 0,
    "date_time_input_format": "best_effort",  # RFC 3339, as events have it
    # On a cluster: the answer comes after the shard has the block.
    "distributed_foreground_insert": 1,
}


class Writer:
    """Inserts into the raw table. Several threads may insert at once through one writer."""

    def __init__(self, address: ClickHouseAddress, insert_seconds: float) -> None:
        self._client = LazyClient(address, insert_seconds)

    def insert(self, body: bytes | bytearray, token: str) -> None:
        """Store the rows of `body` (JSONEachRow) as one block named `token`. Blocks.

        The same `token` with the same bytes again changes nothing, as long as the tables' windows
        remember it. Raises whatever the client raises: the rows may or may not be stored then.
        """
        self._insert(body, {"insert_deduplication_token": token})

    def try_out(self) -> None:
        """Raise what the next insert would: an insert of no rows, which changes nothing. Blocks."""
        self._insert(b"", {"throw_if_no_data_to_insert": 0})

    def _insert(self, body: bytes | bytearray, more_settings: Mapping[str, str | int]) -> None:
        self._client.get().raw_insert(
            TABLE,
            column_names=COLUMNS,
            # As bytes, the client would copy it, and repeat an insert whose connection was lost
            # without a word, so that nobody would verify it.
            insert_block=cast(bytes, memoryview(body)),
            settings={**INSERT_SETTINGS, **more_settings},
            fmt="JSONEachRow",
        )

    def ping(self) -> None:
        """Raise unless the server answers a query. Blocks."""
        self._client.get().command("SELECT 1")

    def close(self) -> None:
        self._client.close()
