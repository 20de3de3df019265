"""The model of a price book: providers, their entries, rates by date, and discounts.

It is the JSON that ClickHouse stores. Lists are in order of preference: the first entry that
matches a model is its entry; the last period that has begun is the one that counts.
"""

import re
from collections.abc import Iterator
from datetime import date, time
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from usagepipe.schemas.event import to_canonical_decimal

FORMAT: Final = 1
RATE_LIMIT: Final = 10**6  # US dollars for `per` units: a hundred times the highest rate of today
RATE_DECIMALS: Final = 18
_NUMBER: Final = re.compile(r"\d+(\.\d+)?", re.ASCII)


def to_exact(text: object) -> Decimal:
    """The number that `text` writes out.

    Raises:
        ValueError: it is not text with a plain number. A float of JSON is not exact.
    """
    if isinstance(text, Decimal):
        return text
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise ValueError("must be text with a number, such as '0.25'")
    return Decimal(text)


def _checked_date(text: str) -> str:
    return date.fromisoformat(text).isoformat()


def _checked_clock(text: str) -> str:
    return time.fromisoformat(text).isoformat()


Exact = Annotated[
    Decimal,
    BeforeValidator(to_exact),
    AfterValidator(to_canonical_decimal),
    PlainSerializer(lambda number: f"{number:f}"),
]
Amount = Annotated[Exact, Field(ge=0, lt=RATE_LIMIT)]
Day = Annotated[str, AfterValidator(_checked_date)]  # text, because it is compared with text
Clock = Annotated[str, AfterValidator(_checked_clock)]  # in UTC


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Clause(_Fields):
    """A condition on a name, in lower case. Exactly one of the fields is set."""

    equals: str | None = None
    starts_with: str | None = None
    ends_with: str | None = None
    contains: str | None = None
    regex: str | None = None
    any_of: tuple["Clause", ...] | None = None
    all_of: tuple["Clause", ...] | None = None

    @model_validator(mode="after")
    def _has_one_condition(self) -> "Clause":
        if len(self.model_fields_set) != 1:
            raise ValueError("must have exactly one condition")
        if self.regex is not None:
            _compiled(self.regex)
        return self


def _compiled(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None


class Tier(_Fields):
    """The rate of the whole request if its prompt has more than `above` tokens."""

    above: Annotated[int, Field(ge=0)]
    rate: Amount


class TieredRate(_Fields):
    """A rate that depends on the size of the prompt. The tiers are in ascending order."""

    base: Amount
    tiers: tuple[Tier, ...]


Rates = dict[str, Amount | TieredRate]  # by unit; US dollars for `per` units


class Dated(_Fields):
    """What counts from a day on, and at some hours of each day (the end may be after midnight)."""

    since: Day | None = None
    daily: tuple[Clock, Clock] | None = None

    def active(self, at: str) -> bool:
        """Whether it counts at `at`, a moment as ISO text in UTC."""
        if self.since is not None and at < self.since:
            return False
        if self.daily is None:
            return True
        start, end = self.daily
        clock = at[11:]
        return start <= clock < end if start <= end else clock >= start or clock < end


class Period(Dated):
    """The rates of a time."""

    rates: Rates


class Variant(Period):
    """Other rates for some units if the request's context has all values of `when`."""

    when: Annotated[dict[str, str], Field(min_length=1)]


class Reference(_Fields):
    """Names another entry, as an event would."""

    provider: str
    model: str


class Entry(_Fields):
    """The prices of one model. With `same_as` it has those of another entry."""

    id: str
    match: Clause
    own: bool = False  # from the operator's file
    same_as: Reference | None = None
    periods: tuple[Period, ...] = ()
    variants: tuple[Variant, ...] = ()
    minimums: dict[str, int] = {}  # the fewest units that are billed, if there is one


class Provider(_Fields):
    """A provider and its entries. It also sells the models of `fallbacks`, at their prices."""

    id: str
    match: Clause | None = None
    model_match: Clause | None = None  # finds the provider of an event that names none
    fallbacks: tuple[str, ...] = ()
    same_as: str = ""  # another name of that provider, with prices of its own for some models
    own: tuple[Entry, ...] = ()  # what the operator adds: preferred to `models`
    models: tuple[Entry, ...] = ()


class Discount(_Fields):
    """The part of the list price that is paid, by provider, by customer, or by both."""

    provider: str = ""
    customer: str = ""
    since: Day | None = None
    negotiated: Annotated[Exact, Field(gt=0, le=1)]


class Unit(_Fields):
    """Something that is counted. A unit with more dimensions is a part of one with fewer."""

    per: Annotated[int, Field(gt=0)]  # so many units have the rate as their price
    rate_name: str  # what the rate is called in price files
    dimensions: dict[str, str]


class Document(_Fields):
    """A whole price book. `models` are the operator's entries for every provider."""

    format: Literal[1]  # the next one may mean something else
    units: dict[str, Unit]
    providers: tuple[Provider, ...] = ()
    models: tuple[Entry, ...] = ()
    discounts: tuple[Discount, ...] = ()

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Every entry with the id of its provider, "" for every provider.

        An entry of the operator's that replaces another is there twice: for the name in the file,
        and for the names of the replaced one.
        """
        for provider in self.providers:
            for entry in (*provider.own, *provider.models):
                yield provider.id, entry
        for entry in self.models:
            yield "", entry
