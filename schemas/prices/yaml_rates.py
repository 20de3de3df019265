"""The prices of one model in a price file: rates, dates, tiers and variants."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import combinations, pairwise, product
from typing import TYPE_CHECKING, Any, Final

from usagepipe.schemas.prices.document import (
    RATE_LIMIT,
    Period,
    Rates,
    Tier,
    TieredRate,
    Variant,
)
from usagepipe.schemas.prices.units import Units
from usagepipe.schemas.prices.yaml_nodes import (
    Field,
    Problems,
    fields_of,
    items_of,
    kind_of,
    one_or_more,
    text_of,
)
from usagepipe.schemas.prices.yaml_values import clock_of, day_of, rate_of, tokens_of

if TYPE_CHECKING:
    import yaml

PER_REQUEST: Final = "per_request"  # the readable form of requests_kcount
_DATES: Final = ("from", "start_time", "end_time")
_CONTEXT: Final = ("service_tier", "batch")
_FREE: Final[Rates] = {"input_tokens": Decimal(0), "output_tokens": Decimal(0)}


class RateReader:
    """Reads the fields `prices` and `variants` of a model."""

    def __init__(self, units: Units, problems: Problems) -> None:
        self._units = units
        self._problems = problems
        self._names = {unit.rate_name: name for name, unit in units.by_name.items()}
        self._joints: dict[frozenset[str], list[str]] = {}
        self._fields = (*_DATES, PER_REQUEST, *self._names)

    def periods(self, node: "yaml.Node") -> tuple[Period, ...]:
        """The rates by time, in the order in which they begin to count."""
        return tuple(self._with_free_tokens(period) for period in self._dated(node))

    def _dated(self, node: "yaml.Node") -> list[Period]:
        nodes = one_or_more(node, "prices", self._problems)
        read = [(each, self._period(each)) for each in nodes]
        found = [(each, period) for each, period in read if period is not None]
        found.sort(key=lambda each: _order(each[1]))
        for (_, first), (again, second) in pairwise(found):
            if _order(first) == _order(second):
                self._problems.add(again, f"two prices count {_time_of(second)}")
        for each, period in found:
            self._check_joints(each, period.rates)
        return [period for _, period in found]

    def _period(self, node: "yaml.Node") -> Period | None:
        fields = fields_of(node, "prices", self._fields, self._problems)
        if fields is None:
            return None
        rates = self._rates(fields)
        if not fields.keys() - _DATES:
            self._problems.add(node, "prices has no rate, such as input_mtok")
        return Period(rates=rates, **self._dates(fields))

    def variants(self, node: "yaml.Node", periods: Iterable[Period]) -> tuple[Variant, ...]:
        """The rates of some requests."""
        known = (*_CONTEXT, "prices")
        found: dict[tuple[tuple[str, str], ...], list[Variant]] = {}
        for each in items_of(node, "variants", self._problems):
            fields = fields_of(each, "a variant", known, self._problems)
            if fields is None:
                continue
            when = self._when(each, fields)
            if tuple(when.items()) in found:
                self._problems.add(each, "another variant counts for the same requests")
            if "prices" not in fields:
                self._problems.add(each, "the variant has no prices")
            elif when:
                dated = self._dated(fields["prices"][1])
                found[tuple(when.items())] = [
                    Variant(when=when, since=one.since, daily=one.daily, rates=one.rates)
                    for one in reversed(dated)  # the latest that has begun is tried first
                ]
                for one, period in product(dated, periods):
                    self._check_joints(each, {**period.rates, **one.rates})
        # The more a variant asks for, the earlier it is tried.
        keys = sorted(found, key=lambda key: (-len(key), key))
        return tuple(variant for key in keys for variant in found[key])

    def _when(self, node: "yaml.Node", fields: Mapping[str, Field]) -> dict[str, str]:
        when: dict[str, str] = {}
        if "batch" in fields:
            text = text_of(fields["batch"][1], "batch", self._problems)
            if text is not None and text != "true":
                self._problems.add(fields["batch"][1], "batch must be true, or left out")
            when["processing"] = "batch"
        if "service_tier" in fields:
            tier = text_of(fields["service_tier"][1], "service_tier", self._problems)
            when["service_tier"] = tier or "?"
        if not when:
            self._problems.add(node, "the variant counts for no request: add service_tier or batch")
        return when

    def _rates(self, fields: Mapping[str, Field]) -> Rates:
        rates: Rates = {}
        for name, (key, value) in fields.items():
            if name in self._names:
                unit = self._names[name]
                rate = self._rate(value, name, self._units.per[unit])
                if rate is not None:
                    rates[unit] = rate
            elif name == PER_REQUEST:
                if "requests_kcount" in fields:
                    self._problems.add(key, "per_request and requests_kcount are the same rate")
                per = self._units.per["requests"]
                rate = rate_of(value, name, self._problems, 1, RATE_LIMIT // per)
                if rate is not None:
                    rates["requests"] = rate * per
        return rates

    def _rate(self, node: "yaml.Node", name: str, per: int) -> Decimal | TieredRate | None:
        if kind_of(node) != "mapping":
            return rate_of(node, name, self._problems, per)
        fields = fields_of(node, name, ("base", "tiers"), self._problems) or {}
        if "base" not in fields or "tiers" not in fields:
            self._problems.add(node, f"{name} needs base and tiers, or is one number")
            return None
        base = rate_of(fields["base"][1], f"base of {name}", self._problems, per)
        tiers = sorted(self._tiers(fields["tiers"][1], name, per), key=lambda tier: tier.above)
        if any(first.above == second.above for first, second in pairwise(tiers)):
            self._problems.add(node, f"two tiers of {name} start at the same size of prompt")
        return TieredRate(base=base, tiers=tuple(tiers)) if base is not None else None

    def _tiers(self, node: "yaml.Node", name: str, per: int) -> Iterator[Tier]:
        for each in items_of(node, f"tiers of {name}", self._problems):
            what = f"a tier of {name}"
            fields = fields_of(each, what, ("start", "price"), self._problems) or {}
            if "start" not in fields or "price" not in fields:
                self._problems.add(each, f"{what} needs start, in prompt tokens, and price")
                continue
            start = tokens_of(fields["start"][1], f"start of {what}", self._problems)
            rate = rate_of(fields["price"][1], f"price of {what}", self._problems, per)
            if start is not None and rate is not None:
                yield Tier(above=start, rate=rate)

    def _dates(self, fields: Mapping[str, Field]) -> dict[str, Any]:
        read = {
            name: (day_of if name == "from" else clock_of)(fields[name][1], name, self._problems)
            for name in _DATES
            if name in fields
        }
        start, end = read.get("start_time"), read.get("end_time")
        if ("start_time" in read) != ("end_time" in read):
            key = fields["start_time" if "start_time" in read else "end_time"][0]
            self._problems.add(key, "start_time and end_time need each other")
        elif start is not None and start == end:
            self._problems.add(fields["end_time"][0], "end_time is start_time: no hour is between")
        daily = (start, end) if start and end else None
        return {"since": read.get("from"), "daily": daily}

    def _check_joints(self, node: "yaml.Node", rates: Rates) -> None:
        """Two rates that fit the same token need a third, for the tokens that are both."""
        for message in self._joints_missing(frozenset(rates)):
            self._problems.add(node, message)

    def _joints_missing(self, rates: frozenset[str]) -> list[str]:
        known = self._joints.get(rates)
        if known is None:
            known = self._joints[rates] = [
                self._overlap(one, other, joint)
                for one, other in combinations(sorted(rates), 2)
                if (joint := self._units.joint(one, other)) is not None and joint not in rates
            ]
        return known

    def _overlap(self, one: str, other: str, joint: str) -> str:
        names = {name: unit.rate_name for name, unit in self._units.by_name.items()}
        cure = f"add {names[joint]}, for what is both" if joint else "leave one of them out"
        return f"{names[one]} and {names[other]} overlap: {cure}"

    def _with_free_tokens(self, period: Period) -> Period:
        """Who names a price for requests and none for tokens says that tokens cost nothing."""
        families = {self._units.by_name[name].dimensions.get("family") for name in period.rates}
        if "requests" not in period.rates or "tokens" in families:
            return period
        return period.model_copy(update={"rates": {**_FREE, **period.rates}})


def _order(period: Period) -> tuple[str, bool, tuple[str, str]]:
    """Later days count before earlier ones, and hours before whole days."""
    return (period.since or "", period.daily is not None, period.daily or ("", ""))


def _time_of(period: Period) -> str:
    day = f"from {period.since} on" if period.since else "at every date"
    return f"{day}, {period.daily[0]} to {period.daily[1]}" if period.daily else day
