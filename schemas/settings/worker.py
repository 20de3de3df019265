"""The settings of a worker."""

from typing import Annotated

from pydantic import Field

from usagepipe.schemas.settings.storage import StorageSettings

MAX_BATCH_ROWS = 1_000_000


class WorkerSettings(StorageSettings):
    """The settings of `usagepipe worker`."""

    batch_rows: Annotated[int, Field(ge=1, le=MAX_BATCH_ROWS)] = Field(
        default=50_000, description="Maximum rows per batch."
    )
    batch_megabytes: Annotated[int, Field(ge=1, le=1_024)] = Field(
        default=32, description="Maximum MiB of records per batch."
    )
    batch_seconds: Annotated[float, Field(ge=0.01, le=60)] = Field(
        default=0.25,
        description="Maximum time that a record waits for its batch to fill. With a backlog, up to "
        "2 seconds.",
    )
    buffer_megabytes: Annotated[int, Field(ge=16, le=1_048_576)] = Field(
        default=192,
        description="Maximum MiB of records that a worker holds in memory. Its partitions share "
        "it: half is for waiting records, still compressed, and half for batches in work. "
        "Raise it together with USAGEPIPE_INSERTS.",
    )
    inserts: Annotated[int, Field(ge=1, le=64)] = Field(
        default=4, description="Maximum concurrent inserts of a worker, at most one per partition."
    )
    insert_seconds: Annotated[float, Field(ge=1, le=600)] = Field(
        default=15.0, description="Timeout of one insert."
    )
    lockout_seconds: Annotated[float, Field(ge=1, le=86_400)] = Field(
        default=60.0,
        description="How long ClickHouse may refuse a worker's login or rights before the worker "
        "leaves its partitions to others. It joins again when ClickHouse accepts it.",
    )
    session_seconds: Annotated[float, Field(ge=6, le=1_800)] = Field(
        default=7.0,
        description="Consumer session timeout: a worker without a heartbeat for this time loses "
        "its partitions to others.",
    )
    drain_seconds: Annotated[float, Field(ge=0, le=600)] = Field(
        default=20.0, description="How long a stopping worker may finish the batches in work."
    )
    preflight: bool = Field(
        default=True,
        description="off starts a worker even if the check of its servers fails. It logs a "
        "warning: events may be lost or counted twice.",
    )
    dead_letter_run: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=1_000,
        description="Maximum consecutive rejected records of a partition. With more, the partition "
        "is parked.",
    )
    dead_letter_ratio: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.2,
        description="Maximum share of rejected records among a partition's last 10,000. With more, "
        "the partition is parked; 1 turns this limit off.",
    )
    web_host: Annotated[str, Field(min_length=1)] = Field(
        default="127.0.0.1", description="Address of the worker's health and metrics."
    )
    web_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        default=6066, description="Port of the worker's health and metrics."
    )
