"""The gap record: a producer reports on the topic how many events it lost, why and when.

A lost event leaves a gap in `UsageEvent.sequence`, which is visible only after a later event is
stored. A gap record makes it visible at once, with reason and time. It is not an event: workers
turn it into a dead letter with the reason `gap`, which counts against no limit, and
`usagepipe audit` reads it there.
"""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from usagepipe.schemas.event import EventTime, RequiredId

GAP: Final = "gap"  # the reason of its dead letter
_FORM: Final = b'{"usage_gap":'

Reason = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,64}$")]
Count = Annotated[int, Field(ge=1, le=2**63 - 1)]


class UsageGap(BaseModel):
    """The numbered events that a producer lost since its last gap record."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    producer_id: RequiredId = Field(description="As in the producer's events.")
    last_sequence: Count = Field(description="The greatest number among the lost ones.")
    lost: Annotated[dict[Reason, Count], Field(min_length=1, max_length=64)] = Field(
        description="How many events, by reason."
    )
    since: EventTime = Field(description="When the first of them was lost.")
    until: EventTime = Field(description="When the last of them was lost.")

    @property
    def losses(self) -> str:
        """The losses as text: `queue_full 3, too_large 1`."""
        return ", ".join(f"{reason} {events:,}" for reason, events in sorted(self.lost.items()))


def encode_gap(gap: UsageGap) -> bytes:
    return b"%b%b}" % (_FORM, gap.model_dump_json().encode())


def is_gap(value: bytes | None) -> bool:
    """Whether a record looks like a gap record. A cheap check, for producers."""
    return value is not None and value.startswith(_FORM)


def decode_gap(value: bytes | None) -> UsageGap | None:
    """The gap record in `value`; None if it is another record."""
    if value is None or not is_gap(value):
        return None
    try:
        return UsageGap.model_validate_json(value[len(_FORM) : -1])
    except ValidationError:
        return None
