"""Records as only an enemy, a bug or another program would send them."""

import json
from typing import Any

ID = "0199aaaa-0000-7000-8000-000000000001"
LEAST = {"event_id": ID, "occurred_at": "2026-01-02T03:04:05.678Z", "user_id": "alice"}


def event_json(**fields: Any) -> bytes:
    return json.dumps(LEAST | fields).encode()


HOSTILE: dict[str, bytes | None] = {
    "not json": b"hello",
    "empty": b"",
    "tombstone": None,
    "null": b"null",
    "array": b"[]",
    "empty object": b"{}",
    "two objects": event_json() + event_json(),
    "two objects, a line each": event_json() + b"\n" + event_json(),
    "a line feed behind": event_json() + b"\n",
    "byte order mark": b"\xef\xbb\xbf" + event_json(),
    "key twice": event_json()[:-1] + b', "user_id": "bob"}',
    "own offset": event_json(kafka_offset=999),
    "unknown field": event_json(color="blue"),
    "future version": event_json(schema_version=2),
    "version as text": event_json(schema_version="1"),
    "version true": event_json(schema_version=True),
    "version 1.0": event_json(schema_version=1.0),
    "negative count": event_json(prompt_tokens=-1),
    "fractional count": event_json(prompt_tokens=1.5),
    "whole float": event_json(prompt_tokens=1.0),
    "exponent": event_json()[:-1] + b', "prompt_tokens": 1e3}',
    "count NaN": event_json(prompt_tokens=float("nan")),
    "count as text": event_json(prompt_tokens="12"),
    "count null": event_json(prompt_tokens=None),
    "count true": event_json(prompt_tokens=True),
    "count above the column": event_json(prompt_tokens=2**64),
    "count above the limit": event_json(prompt_tokens=10**12 + 1),
    "no id": json.dumps({k: v for k, v in LEAST.items() if k != "event_id"}).encode(),
    "id null": event_json(event_id=None),
    "id no uuid": event_json(event_id="abc"),
    "id in braces": event_json(event_id="{" + ID + "}"),
    "id without dashes": event_json(event_id=ID.replace("-", "")),
    "no time": json.dumps({k: v for k, v in LEAST.items() if k != "occurred_at"}).encode(),
    "year 1": event_json(occurred_at="0001-01-01T00:00:00Z"),
    "year 9999": event_json(occurred_at="9999-12-31T23:59:59.999Z"),
    "no time zone": event_json(occurred_at="2026-01-02T03:04:05"),
    "another time zone": event_json(occurred_at="2026-01-02T03:04:05.678+05:45"),
    "nanoseconds": event_json(occurred_at="2026-01-02T03:04:05.999999999Z"),
    "time as number": event_json(occurred_at=1_700_000_000),
    "invalid utf-8": event_json()[:-1] + b', "model": "\xff\xfe"}',
    "lone surrogate": event_json()[:-1] + b', "model": "\\ud800"}',
    "string of 1 MB": event_json(user_name="x" * 1_000_000),
    "nested 5,000 deep, unknown": event_json()[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "nested 5,000 deep, tags": event_json()[:-1] + b',"tags":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "nested 150 deep, unknown": event_json()[:-1] + b',"x":' + b"[" * 150 + b"]" * 150 + b"}",
    "SQL in a name": event_json(user_name="'); DROP TABLE usage_events; --"),
    "HTML in a name": event_json(user_name="<script>alert(1)</script>"),
    "newlines and tabs": event_json(user_name="a\nb\r\nc\td"),
    "NUL": event_json(user_name="a\0b"),
    "emoji": event_json(user_name="👩‍🚀 Zoë"),
    "cost negative": event_json(cost="-1"),
    "cost NaN": event_json(cost="NaN"),
    "cost infinite": event_json(cost="Infinity"),
    "cost too fine": event_json(cost="0.0000000000001"),
    "cost of many zeros": event_json(cost="0.50000000000000000000"),
    "cost zero, fine": event_json(cost="0E-20"),
    "cost with exponent": event_json(cost="1E+3"),
    "cost as number": event_json()[:-1] + b', "cost": 0.1}',
    "cost too large": event_json(cost="1000000000"),
    "tags nested": event_json(tags={"a": {"b": 1}}),
    "tag not text": event_json(tags={"a": 1}),
    "65 tags": event_json(tags={str(n): "" for n in range(65)}),
    "empty user": event_json(user_id=""),
    "quality unknown": event_json(usage_quality="so-so"),
}
