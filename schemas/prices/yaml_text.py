"""Writes models as the text of a price file, with an empty field for each rate that is missing."""

import re
from collections.abc import Collection, Iterator, Sequence
from decimal import Decimal
from itertools import combinations
from typing import Final

from usagepipe.schemas.prices.document import Period, TieredRate, Variant
from usagepipe.schemas.prices.units import Units

_PLAIN: Final = re.compile(r"[A-Za-z][\w.:/-]*\w", re.ASCII)
_WORDS: Final = ("null", "true", "false", "yes", "no", "on", "off")
_FIRST: Final = ("input_tokens", "output_tokens")
_INDENT: Final = " " * 4


def scalar(text: str) -> str:
    """`text` as YAML, in ASCII."""
    import yaml

    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS and ": " not in text:
        return text
    return yaml.safe_dump(text, default_style='"', width=10**6).strip()


def can_be_named(model: str) -> bool:
    """Whether a price file can name this one model: there, a star stands for other characters."""
    return bool(model) and model == model.strip() and "*" not in model


def model_text(
    provider: str,
    model: str,
    periods: Sequence[Period],
    variants: Sequence[Variant],
    missing: Collection[str],
    units: Units,
) -> str:
    """One item of `models`. `missing` are the units whose rates the reader has to fill in."""
    lines = [f"  - model: {scalar(model)}"]
    if provider.strip():
        lines.append(f"{_INDENT}provider: {scalar(provider.strip())}")
    lines.append(f"{_INDENT}prices:")
    for period in periods or [Period(rates={})]:
        lines += _period_lines(period, missing, units, _INDENT + "  ")
    grouped: dict[str, list[Variant]] = {}
    for variant in variants:
        if variant.rates and variant.when.keys() <= {"service_tier", "processing"}:
            grouped.setdefault(str(sorted(variant.when.items())), []).append(variant)
    lines += [f"{_INDENT}variants:"] if grouped else []
    for group in grouped.values():
        lines += _variant_lines(group, units)
    return "\n".join(lines)


def _variant_lines(group: Sequence[Variant], units: Units) -> Iterator[str]:
    when = group[0].when
    fields = [f"service_tier: {scalar(when['service_tier'])}"] if "service_tier" in when else []
    fields += ["batch: true"] if when.get("processing") else []
    for number, field in enumerate([*fields, "prices:"]):
        yield f"{_INDENT}  {'  ' if number else '- '}{field}"
    for variant in group:
        yield from _period_lines(variant, (), units, _INDENT + " " * 6)


def _period_lines(
    period: Period, missing: Collection[str], units: Units, indent: str
) -> Iterator[str]:
    """One item of `prices`."""
    fields = [f"from: {period.since}"] if period.since else []
    if period.daily:
        fields += [f"start_time: {period.daily[0]}", f"end_time: {period.daily[1]}"]
    for name, rate in period.rates.items():
        fields += _rate_lines(units.by_name[name].rate_name, rate)
    for name in _with_joints({*period.rates, *missing}, units):
        unit = units.by_name[name]
        if name not in period.rates:
            fields.append(f"{unit.rate_name}:  # US dollars for {unit.per:,}")
    for number, field in enumerate(fields):
        yield f"{indent}{'  ' if number else '- '}{field}"


def _rate_lines(name: str, rate: Decimal | TieredRate) -> list[str]:
    if not isinstance(rate, TieredRate):
        return [f"{name}: {rate:f}"]
    tiers = ", ".join(f"{{start: {each.above}, price: {each.rate:f}}}" for each in rate.tiers)
    return [f"{name}: {{base: {rate.base:f}, tiers: [{tiers}]}}"]


def _with_joints(names: set[str], units: Units) -> list[str]:
    """`names` in order, with what is both of two of them: a price file must have its rate."""
    added = True
    while added:
        joints = {units.joint(*pair) for pair in combinations(sorted(names), 2)}
        added = bool(new := {each for each in joints if each} - names)
        names |= new
    return sorted(names, key=lambda each: (each not in _FIRST, each))
