"""Every metric of the worker, declared once with its meaning; nothing else can be emitted.

A registry of its own keeps two workers in one process (tests) from counting into each other.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class WorkerMetrics:
    """What a worker counts. Names are part of the public contract."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.rows = Counter("usagepipe_rows_stored", "Rows stored.", registry=registry)
        self.batches = Counter("usagepipe_batches_stored", "Batches stored.", registry=registry)
        self.bytes = Counter(
            "usagepipe_insert_bytes", "Bytes of rows sent to ClickHouse.", registry=registry
        )
        self.dead_letters = Counter(
            "usagepipe_dead_letters",
            "Records sent to the dead-letter topic.",
            ["reason"],
            registry=registry,
        )
        self.store_failures = Counter(
            "usagepipe_store_failures",
            "Attempts to store at a server that failed; each is tried again.",
            ["server", "kind"],
            registry=registry,
        )
        self.duplicates = Counter(
            "usagepipe_duplicates",
            "Records skipped: their event is stored already (stored), or is twice in one batch"
            " (batch).",
            ["reason"],
            registry=registry,
        )
        self.missing_records = Counter(
            "usagepipe_log_missing_records",
            "Offsets at which the log has no record any more, though it has later ones.",
            registry=registry,
        )
        self.refused_batches = Counter(
            "usagepipe_refused_batches",
            "Inserts that ClickHouse refused for their content; they are divided.",
            registry=registry,
        )
        self.incomplete_ranges = Counter(
            "usagepipe_incomplete_ranges",
            "Ranges that lacked rows after an insert that seemed to succeed; they are repaired.",
            registry=registry,
        )
        self.rebuilt_rows = Counter(
            "usagepipe_rebuilt_rollup_rows",
            "Rollup rows that were rebuilt from raw rows.",
            registry=registry,
        )
        self.insert_seconds = Histogram(
            "usagepipe_insert_seconds", "Seconds an insert took.", registry=registry
        )
        self.commit_failures = Counter(
            "usagepipe_commit_failures", "Commits that failed and are retried.", registry=registry
        )
        self.assignments = Counter(
            "usagepipe_assignments", "Consumer-group assignments that began.", registry=registry
        )
        self.partitions = Gauge(
            "usagepipe_partitions", "Partitions this worker holds.", registry=registry
        )
        self.parked_partitions = Gauge(
            "usagepipe_parked_partitions",
            "Partitions of this worker that wait for an operator: too many records are refused.",
            registry=registry,
        )
        self.buffered_rows = Gauge(
            "usagepipe_buffered_rows", "Records fetched and not yet stored.", registry=registry
        )
        self.lag_events = Gauge(
            "usagepipe_lag_events",
            "Offsets of a partition that are not stored yet; 0 where no record waits.",
            ["partition"],
            registry=registry,
        )
        self.lag_seconds = Gauge(
            "usagepipe_lag_seconds",
            "Age of the oldest record of a partition that is not stored yet.",
            ["partition"],
            registry=registry,
        )
        self.newest_stored_age = Gauge(
            "usagepipe_newest_stored_age_seconds",
            "Age of the newest event of a partition that this worker has stored.",
            ["partition"],
            registry=registry,
        )
        self.healthy = Gauge(
            "usagepipe_healthy", "1 while the worker can store, else 0.", registry=registry
        )
