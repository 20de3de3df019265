"""Compares what each stage of the pipeline counted with what was sent.

The stages: the gateway's recorder, the raw events, each rollup, and the answers of `query`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal

from usagepipe.local.demo.check import Count, Difference, Sums, find_differences
from usagepipe.local.demo.gateway import GatewayCounters
from usagepipe.local.demo.replay import Sent, sum_up
from usagepipe.local.demo.tables import EVENTS
from usagepipe.query.answers import KeyUsage, SourceUsage, Usage

GATEWAY = "gateway"
BY_SOURCE = "usage by source"
BY_KEY = "usage by key"
ANY_ROLLUP = "rollup_*"


@dataclass(frozen=True, slots=True)
class Balance:
    """What was sent, what was counted, and where the two differ."""

    sent: Sums
    seconds: float
    counts: tuple[Count, ...]
    differences: tuple[Difference, ...]


def balance(
    sent: Sent,
    gateway: GatewayCounters,
    events: Count,
    rollups: tuple[Count, ...],
    sources: Iterable[SourceUsage],
    keys: Iterable[KeyUsage],
) -> Balance:
    """Compare all places with what was sent."""
    by_source = {row.source: _sums(row) for row in sources}
    by_key = {row.api_key_id: _sums(row) for row in keys}
    counts = (
        _count_gateway(gateway),
        events,
        *rollups,
        Count(BY_SOURCE, sum_up(by_source.values()).numbers()),
        Count(BY_KEY, sum_up(by_key.values()).numbers()),
    )
    details = (*_details(BY_SOURCE, by_source), *_details(BY_KEY, by_key))
    expected = _expected(sent, [rollup.place for rollup in rollups])
    differences = find_differences(expected, (*counts, *details))
    return Balance(sent.sums, sent.seconds, counts, differences)


def _count_gateway(gateway: GatewayCounters) -> Count:
    return Count(
        GATEWAY,
        {
            "recorded": gateway.recorded,
            "delivered": gateway.delivered,
            "dropped": sum(gateway.dropped.values()),
            "unrecorded": sum(gateway.unrecorded.values()),
        },
    )


def _expected(sent: Sent, rollups: list[str]) -> list[Count]:
    sums = sent.sums
    requests = sums.requests
    lost = {"dropped": 0, "unrecorded": 0}
    return [
        Count(GATEWAY, {"recorded": requests, "delivered": requests, **lost}),
        Count(EVENTS, {**sums.numbers(), "event_ids": requests}),
        *(Count(name, sums.numbers()) for name in rollups or [ANY_ROLLUP]),
        Count(BY_SOURCE, sums.numbers()),
        Count(BY_KEY, sum_up(sent.by_key.values()).numbers()),
        *_details(BY_SOURCE, sent.by_source),
        *_details(BY_KEY, sent.by_key),
    ]


def _details(place: str, parts: Mapping[str, Sums]) -> list[Count]:
    return [Count(f"{place}: {name}", sums.numbers()) for name, sums in sorted(parts.items())]


def _sums(row: Usage) -> Sums:
    sums = {field.name: getattr(row, field.name) for field in fields(Sums)}
    return Sums(**sums | {"cost": row.cost or Decimal(0)})  # null: no cost is known
