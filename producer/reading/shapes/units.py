"""Reads the counts that providers bill by beside the tokens of the normal form.

They have the names of genai-prices' units. Text tokens have none: they are the rest. A count that
is invalid is left out, because the tokens must be recorded anyway.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from usagepipe.producer.reading.usage import sum_of
from usagepipe.schemas.event import MAX_TOKENS

# Units in a usage object: a name leads to a unit, to `Items`, or to the names inside its value.
Tree = Mapping[str, Any]

MODALITIES: Final = {"audio": "audio", "image": "image", "video": "video", "document": "image"}

# What servers' tools did. A fetched page costs no more than its tokens, so it is not counted.
CLAUDE_TOOLS: Final[Tree] = {
    "web_search_requests": "web_searches",
    "code_execution_requests": "code_executions",
}

# Where a model ran, if the provider reports it. Anywhere else than here costs more.
ANYWHERE: Final = ("", "global", "not_available")
SIDES: Final = ("input_tokens", "output_tokens", "prompt_tokens", "completion_tokens")


class Items(NamedTuple):
    """A list of objects: each has a kind, which leads to a unit, and a count."""

    kind_name: str
    count_name: str
    units: Mapping[str, str]  # by kind


def by_modality(unit: str, kind: str, count: str) -> Items:
    """A list by modality. `unit` has a place for the modality: "input_{}_tokens"."""
    units = {name: unit.format(word) for name, word in MODALITIES.items()}
    return Items(kind, count, units | {name.upper(): unit for name, unit in units.items()})


def units_in(usage: Mapping[str, Any], tree: Tree) -> dict[str, int]:
    """The counts above 0 that the names in `tree` lead to.

    Counts in one object add up. Those in several objects are the same ones under several names, so
    the largest counts.
    """
    found: dict[str, int] = {}
    inner: list[dict[str, int]] = []
    for name, value in usage.items():
        if not value or name not in tree:
            continue
        wanted = tree[name]
        if isinstance(wanted, str):
            _add(found, wanted, value)
        elif isinstance(wanted, Items):
            inner.append(_in_items(value, wanted))
        elif isinstance(value, dict) and any(map(value.get, wanted)):  # mostly all are 0
            inner.append(units_in(value, wanted))
    for units in inner:
        for unit, count in units.items():
            found[unit] = max(count, found.get(unit, 0))
    return found


def units_with_tools(usage: Mapping[str, Any], tree: Tree, tools: Tree) -> dict[str, int]:
    """`units_in`, and the input that tools add (`tools`), which Gemini counts beside the prompt."""
    units = units_in(usage, tree)
    if "input_tool_tokens" not in units:
        return units
    return dict(sum_of(units, units_in(usage, tools)))


def regional_runs(usage: Mapping[str, Any]) -> dict[str, int]:
    """A run of Claude that had to stay in one region. It costs a tenth more, for which the price
    list has no rate: a unit without a rate leaves the event without a price."""
    region = usage.get("inference_geo")
    if not isinstance(region, str) or region in ANYWHERE or not any(map(usage.get, SIDES)):
        return {}
    return {"regional_runs": 1}


def _in_items(items: object, wanted: Items) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in items if isinstance(items, list) else ():
        kind = item.get(wanted.kind_name) if isinstance(item, dict) else None
        if isinstance(kind, str) and kind in wanted.units:
            _add(found, wanted.units[kind], item.get(wanted.count_name))
    return found


def _add(found: dict[str, int], unit: str, value: Any) -> None:
    count = _whole(value)
    if count:
        found[unit] = min(found.get(unit, 0) + count, MAX_TOKENS)


def _whole(value: Any) -> int:
    """`value` as a count: the fraction of a second is rounded up. 0: it is invalid."""
    if type(value) is int:
        return value if 0 < value <= MAX_TOKENS else 0
    if isinstance(value, float | Decimal) and 0 < value <= MAX_TOKENS:
        return int(value) + (value != int(value))
    return 0
