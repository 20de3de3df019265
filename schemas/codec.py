"""The event as bytes on the topic: one JSON object per record.

`decode` is the reference: every faster decoder is tested against it. It ignores unknown fields (a
newer producer may send more within version 1) and rejects everything else that it cannot keep.
"""

import json

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from usagepipe.schemas.errors import EventRejectedError
from usagepipe.schemas.event import SCHEMA_VERSION, UsageEvent
from usagepipe.schemas.gap import GAP, decode_gap

_VERSION_PREFIX = b'{"schema_version":%d,' % SCHEMA_VERSION
MAX_DETAIL_CHARS = 500  # of a rejection: it travels in a record's header


def encode(event: UsageEvent) -> bytes:
    """The event as a JSON object, without fields at their default, but always with the version."""
    body = event.model_dump_json(exclude_defaults=True).encode()
    return _VERSION_PREFIX + body[1:]


def record_key(event: UsageEvent) -> bytes:
    """The key of the event's record: events of one key, or user, are in one partition, in order."""
    return (event.api_key_id or event.user_id).encode()


class StampingEncoder:
    """Encodes the events of one producer: it adds the producer's id and each event's number.

    As fast as `encode`: it copies an event only if that names a producer already.
    """

    def __init__(self, producer_id: str) -> None:
        name = json.dumps(producer_id, ensure_ascii=False).encode()
        self._prefix = _VERSION_PREFIX + b'"producer_id":' + name + b',"sequence":'

    def encode(self, event: UsageEvent, sequence: int) -> bytes:
        if event.producer_id or event.sequence is not None:
            event = event.model_copy(update={"producer_id": "", "sequence": None})
        body = event.model_dump_json(exclude_defaults=True, warnings=False).encode()
        return b"%b%d,%b" % (self._prefix, sequence, body[1:])


def decode(raw: bytes | None) -> UsageEvent:
    """The event that `raw` holds.

    Raises:
        EventRejectedError: it holds none; the reason is one of `tombstone`, `gap`, `not_json`,
            `not_an_object`, `unknown_schema_version` and `invalid_fields`.
    """
    if raw is None:
        raise EventRejectedError("tombstone", "the record has no value")
    try:
        return UsageEvent.model_validate_json(raw, extra="ignore")
    except ValidationError as error:
        if (gap := decode_gap(raw)) is not None:
            detail = f"lost before Kafka: {gap.losses}"[:MAX_DETAIL_CHARS]
            raise EventRejectedError(GAP, detail) from None
        raise _rejection(error) from None  # its text quotes the input


def _rejection(error: ValidationError) -> EventRejectedError:
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    detail = "; ".join(f"{_path(p['loc'])}: {_rule(p)}" for p in problems)[:MAX_DETAIL_CHARS]
    kinds = {p["type"] for p in problems}
    if "json_invalid" in kinds:
        return EventRejectedError("not_json", problems[0]["msg"][:MAX_DETAIL_CHARS])
    if "model_type" in kinds:
        return EventRejectedError("not_an_object", "the record's value is not a JSON object")
    if any(p["loc"] == ("schema_version",) for p in problems):
        return EventRejectedError("unknown_schema_version", detail)
    return EventRejectedError("invalid_fields", detail)


def _rule(problem: ErrorDetails) -> str:
    if problem["type"] == "uuid_parsing":
        return "Input should be a valid UUID"  # pydantic's own text quotes characters of it
    return problem["msg"]


def _path(location: tuple[int | str, ...]) -> str:
    """The place of a problem. Below a field it shows only the depth: a tag's key is input."""
    return str(location[0]) + "[…]" * (len(location) > 1) if location else "event"


def json_schema() -> str:
    """The JSON Schema of the event as it is on the topic, as text."""
    schema = UsageEvent.model_json_schema(mode="validation")
    schema["additionalProperties"] = True  # unknown fields are ignored, not refused
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
