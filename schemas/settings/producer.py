"""The settings of a process that records events: a web application."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.settings.base import TopicSettings
from usagepipe.schemas.settings.checks import RecordKinds, split_list

AUTO = "auto"


def state_path() -> Path:
    """This user's folder for files that must outlive a process.

    Raises:
        RuntimeError: there is no home directory.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    # The XDG Base Directory Specification says to ignore a relative path.
    home = state if Path(state).is_absolute() else "~/.local/state"
    return Path(home).expanduser() / "usagepipe"


class ProducerSettings(TopicSettings):
    """The settings of a recorder and its middleware."""

    enabled: bool = Field(default=True, description="off turns the recorder off.")
    metrics: bool = Field(
        default=False,
        description="Whether the recorder adds its metrics to prometheus-client's registry "
        "(extra `metrics`).",
    )
    queue_events: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=100_000,
        description="Maximum events that the recorder holds in memory. It drops further events.",
    )
    queue_kilobytes: Annotated[int, Field(ge=64, le=2_097_151)] = Field(
        default=131_072, description="Maximum memory for these events, in KiB."
    )
    linger_ms: Annotated[int, Field(ge=0, le=60_000)] = Field(
        default=20,
        description="How long the recorder collects events before it sends them, in milliseconds.",
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        default="lz4",
        description="How the recorder compresses what it sends: none, gzip, snappy, lz4 or zstd.",
    )
    spill_dir: str = Field(
        default=AUTO,
        description="Folder for events while Kafka is unavailable; empty turns the spill off. auto "
        "is `usagepipe` in `$XDG_STATE_HOME`, or in `~/.local/state`. It must outlive the process "
        "and be on a local disk, not on a network file system.",
    )
    spill_megabytes: Annotated[int, Field(ge=1, le=1_048_576)] = Field(
        default=256, description="Maximum size of one process's spill, in MiB."
    )
    spill_policy: Literal["newest", "oldest"] = Field(
        default="newest",
        description="Which events are dropped when the spill is full: newest or oldest.",
    )
    close_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=10.0,
        description="How long the recorder tries to deliver the remaining events when it closes.",
    )
    max_body_kilobytes: Annotated[int, Field(ge=1, le=1_048_576)] = Field(
        default=256,
        description="Maximum size of a JSON document that the middleware keeps whole, in KiB. Of a "
        "larger one it keeps only the parts that hold usage.",
    )
    record: RecordKinds = Field(
        default="failed,cancelled,missing",
        description="Model requests without known tokens that become events: failed ones, "
        "those that the client cancelled, and those whose usage is missing. Empty: none.",
    )

    @property
    def recorded_kinds(self) -> frozenset[str]:
        return frozenset(split_list(self.record))

    @property
    def spill_path(self) -> Path | None:
        """The folder for events while Kafka is unavailable; None: no spill.

        Raises:
            SettingsError: the path starts with a home directory, and there is none.
        """
        if not self.spill_dir:
            return None
        try:
            return state_path() if self.spill_dir == AUTO else Path(self.spill_dir).expanduser()
        except RuntimeError:  # a user id without a name, as in many containers
            problem = "USAGEPIPE_SPILL_DIR: there is no such home directory. Write a full path."
            raise SettingsError((problem,)) from None
