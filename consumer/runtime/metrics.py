"""Every metric of the worker, declared once with its meaning; nothing else can be emitted.

A registry of its own keeps two workers in one process (tests) from counting into each other.
"""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class WorkerMetrics:
    """What a worker counts. Names are part of the public contract."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        self.rows = counter("usagepipe_rows_stored", "Rows stored.")
        self.batches = counter("usagepipe_batches_stored", "Batches stored.")
        self.bytes = counter("usagepipe_insert_bytes", "Bytes of rows sent to ClickHouse.")
        self.dead_letters = counter(
            "usagepipe_dead_letters", "Records sent to the dead-letter topic.", ["reason"]
        )
        self.store_failures = counter(
            "usagepipe_store_failures",
            "Attempts to store at a server that failed; each is tried again.",
            ["server", "kind"],
        )
        self.duplicates = counter(
            "usagepipe_duplicates",
            "Records skipped: their event is stored already (stored), or is twice in one batch"
            " (batch).",
            ["reason"],
        )
        self.costs = counter(
            "usagepipe_costs",
            "Rows stored, by where their cost comes from: reported, stamped, priced, or none.",
            ["source"],
        )
        self.price_book = gauge(
            "usagepipe_price_book_info",
            "1 for the cost rule and the version of the price book in use.",
            ["rule", "version"],
        )
        self.missing_records = counter(
            "usagepipe_log_missing_records",
            "Offsets at which the log has no record any more, though it has later ones.",
        )
        self.refused_batches = counter(
            "usagepipe_refused_batches",
            "Inserts that ClickHouse refused for their content; they are divided.",
        )
        self.incomplete_ranges = counter(
            "usagepipe_incomplete_ranges",
            "Ranges that lacked rows after an insert that seemed to succeed; they are repaired.",
        )
        self.rebuilt_rows = counter(
            "usagepipe_rebuilt_rollup_rows", "Rollup rows that were rebuilt from raw rows."
        )
        self.insert_seconds = Histogram(
            "usagepipe_insert_seconds", "Seconds an insert took.", registry=self.registry
        )
        self.commit_failures = counter(
            "usagepipe_commit_failures", "Commits that failed and are retried."
        )
        self.assignments = counter(
            "usagepipe_assignments", "Consumer-group assignments that began."
        )
        self.partitions = gauge("usagepipe_partitions", "Partitions this worker holds.")
        self.parked_partitions = gauge(
            "usagepipe_parked_partitions",
            "Partitions of this worker that wait for an operator: too many records are refused.",
        )
        self.buffered_rows = gauge("usagepipe_buffered_rows", "Records fetched and not yet stored.")
        self.lag_events = gauge(
            "usagepipe_lag_events",
            "Offsets of a partition that are not stored yet; 0 where no record waits.",
            ["partition"],
        )
        self.lag_seconds = gauge(
            "usagepipe_lag_seconds",
            "Age of the oldest record of a partition that is not stored yet.",
            ["partition"],
        )
        self.newest_stored_age = gauge(
            "usagepipe_newest_stored_age_seconds",
            "Age of the newest event of a partition that this worker has stored.",
            ["partition"],
        )
        self.healthy = gauge("usagepipe_healthy", "1 while the worker can store, else 0.")
