"""The built-in book: the public prices that genai-prices collects.

genai-prices is imported when the book is made, and by nothing else: it takes half a second and
20 MB, and more than a second and 70 MB where Python cannot keep it compiled. It also brings an HTTP
client for its updater, which is never used: prices change with a new version of usagepipe, or with
a book that an operator applies.
"""

import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from usagepipe.schemas.errors import MissingExtraError
from usagepipe.schemas.prices.book import PriceBook
from usagepipe.schemas.prices.document import (
    FORMAT,
    Clause,
    Document,
    Entry,
    Period,
    Provider,
    Rates,
    Tier,
    TieredRate,
    Unit,
    Variant,
)
from usagepipe.schemas.prices.rates import FREE_UNITS

if TYPE_CHECKING:
    from genai_prices import types as genai

# A model without rates is free if the data say so; otherwise its price is not known, and not 0.
# The word "free" is not enough: a model may be "not in the free tier", or "royalty-free".
_FREE_ID: Final = ":free"
_FREE_WORDS: Final = ("free of charge", "included in the subscription")
# genai-prices has this rule in its code, not in its data.
_MINIMUM_SECONDS: Final = 10
_MINIMUM_MODELS: Final = {("groq", "whisper-large-v3"), ("groq", "whisper-large-v3-turbo")}
# Of patterns like https://api\.example\.com(?:/|$).
_SCHEME: Final = re.compile(r"^(?:\(https\?://\)\?|https://)")
_END_OF_HOST: Final = re.compile(r"\((?:\?:)?/\|\$\)$")
_CLAUSES: Final = {"or_": "any_of", "and_": "all_of"}


@cache
def builtin_book() -> PriceBook:
    """The book of the installed genai-prices.

    Raises:
        MissingExtraError: genai-prices is not installed.
    """
    try:
        from genai_prices.data import providers
        from genai_prices.data_units import unit_data
    except ImportError:
        raise MissingExtraError("prices", "genai-prices") from None
    units = {
        name: Unit(per=unit["per"], rate_name=unit["price_key"], dimensions=unit["dimensions"])
        for name, unit in unit_data.items()
    }
    names = {unit.rate_name: name for name, unit in units.items()}
    units |= {name: _unbilled(name) for name in FREE_UNITS}
    converted = tuple(_provider(each, names) for each in providers)
    return PriceBook(Document(format=FORMAT, units=units, providers=converted))


def _unbilled(name: str) -> Unit:
    """Tokens that the provider counts and does not bill: genai-prices leaves them out."""
    direction = name.partition("_")[0]
    dimensions = {"family": "tokens", "direction": direction, "billing": "none"}
    return Unit(per=10**6, rate_name=f"{direction}_unbilled_mtok", dimensions=dimensions)


def _provider(provider: "genai.Provider", names: dict[str, str]) -> Provider:
    return Provider(
        id=provider.id,
        match=_with_host(_clause(provider.provider_match), provider.api_pattern),
        model_match=_clause(provider.model_match),
        fallbacks=tuple(provider.fallback_model_providers or ()),
        models=tuple(_entry(provider.id, each, names) for each in provider.models),
    )


def _with_host(match: Clause | None, api_pattern: str) -> Clause | None:
    """`match`, or the host of the provider's API: who watches the calls knows only the host.

    A host that needs a path as well is no provider: several share it.
    """
    host = _SCHEME.sub("", _END_OF_HOST.sub("", api_pattern))
    if "/" in host.replace("[^/]", ""):
        return match
    by_host = Clause(regex=f"^(?:{host})")
    return Clause(any_of=(match, by_host)) if match else by_host


def _entry(provider: str, model: "genai.ModelInfo", names: dict[str, str]) -> Entry:
    seconds = (
        dict.fromkeys(("audio_seconds", "input_audio_seconds"), _MINIMUM_SECONDS)
        if (provider, model.id) in _MINIMUM_MODELS
        else {}
    )
    match = _clause(model.match)
    assert match is not None
    return Entry(
        id=model.id,
        match=match,
        periods=_periods(model, names),
        variants=tuple(
            Variant(
                when=each.when, rates=_rates(each.prices, names), **_constraint(each.constraint)
            )
            for each in model.price_variants or ()
        ),
        minimums=seconds,
    )


def _periods(model: "genai.ModelInfo", names: dict[str, str]) -> tuple[Period, ...]:
    if not isinstance(model.prices, list):
        rates = _rates(model.prices, names) or (_free() if _is_free(model) else {})
        return (Period(rates=rates),)
    return tuple(
        Period(rates=_rates(each.prices, names), **_constraint(each.constraint))
        for each in model.prices
    )


def _is_free(model: "genai.ModelInfo") -> bool:
    about = f"{model.price_comments} {model.description}".lower()
    return model.id.endswith(_FREE_ID) or any(words in about for words in _FREE_WORDS)


def _free() -> Rates:
    return {"input_tokens": Decimal(0), "output_tokens": Decimal(0)}


def _rates(prices: "genai.ModelPrice", names: dict[str, str]) -> Rates:
    return {names[key]: _rate(value) for key, value in vars(prices).items() if value is not None}


def _rate(value: "Decimal | genai.TieredPrices") -> Decimal | TieredRate:
    if isinstance(value, Decimal):
        return value
    tiers = tuple(Tier(above=each.start, rate=each.price) for each in value.tiers)
    return TieredRate(base=value.base, tiers=tiers)


def _constraint(constraint: Any) -> dict[str, Any]:
    if constraint is None:
        return {}
    if (since := getattr(constraint, "start_date", None)) is not None:
        assert isinstance(since, date)
        return {"since": since.isoformat()}
    return {"daily": (_clock(constraint.start_time), _clock(constraint.end_time))}


def _clock(moment: time) -> str:
    if moment.tzinfo is None:
        return moment.isoformat()
    day = date(2000, 1, 1)
    return datetime.combine(day, moment).astimezone(UTC).time().isoformat()


def _clause(clause: Any) -> Clause | None:
    """The same condition in lower case, except for regular expressions."""
    if clause is None:
        return None
    ((field, value),) = vars(clause).items()
    if isinstance(value, list):
        fields = {_CLAUSES[field]: [_clause(each) for each in value]}
        return Clause.model_validate(fields)
    return Clause.model_validate({field: value if field == "regex" else value.lower()})
