"""Prints the explanation of a cost as sentences and tables."""

from collections.abc import Iterator, Mapping
from typing import Final

import click

from usagepipe.cli.explain_amounts import exact_text, money_text
from usagepipe.query.cards import Cards, iso_text, terminal
from usagepipe.query.explanations import ExplainedEvent
from usagepipe.schemas.event import COST_DECIMALS
from usagepipe.schemas.prices import Explanation, PricedPart, Unpriced
from usagepipe.schemas.prices.wording import discount_text, rule_text
from usagepipe.schemas.visible import visible

NONE: Final = "(none)"
PRICE_COLUMNS: Final = ("class", "count", "rate", "per", "rule", "amount")
PART_COLUMNS: Final = ("part", "event", "model", "cost in USD", "source")
SOURCES: Final = {
    "reported": "reported by the provider",
    "stamped": "stamped by a handler",
    "": "reported by the provider or stamped by a handler",  # stored by an early version
}
COUNTS_ARE_THE_REASON: Final = "Prices cannot change this: the event's own counts are the reason."
ADD_A_PRICE: Final = (
    "usagepipe prices unpriced lists the models without a price, and prints the lines for your"
    " price file."
)
CURES: Final = {
    Unpriced.NO_ENTRY: ADD_A_PRICE,
    Unpriced.NO_RATE: ADD_A_PRICE,
    Unpriced.UNKNOWN_UNIT: "A newer version of usagepipe may know the unit.",
    Unpriced.USAGE_MISSING: COUNTS_ARE_THE_REASON,
    Unpriced.UNCLASSIFIED_TOKENS: COUNTS_ARE_THE_REASON,
    Unpriced.INCONSISTENT: COUNTS_ARE_THE_REASON,
}


def print_explained(found: ExplainedEvent) -> None:
    """Print the explanation. Names are untrusted: control characters never reach a terminal."""
    for sentence in (*_about(found), *_cost(found), *_rules(found.explanation)):
        click.echo(visible(sentence))
    if found.explanation.parts:
        terminal().print(_price_table(found.explanation))
    for sentence in _verdict(found):
        click.echo(visible(sentence))
    if len(found.parts) > 1:
        terminal().print(_part_table(found))


def _about(found: ExplainedEvent) -> Iterator[str]:
    event = found.event
    request = f", request {event.request_id}" if event.request_id else ""
    yield f"Event {event.event_id} at {iso_text(event.occurred_at)}"
    yield (
        f"{event.model or NONE} of {event.provider or NONE}, for user {event.user_id}{request},"
        f" attempt {event.attempt}, part {event.part}"
    )
    if found.rows > 1:
        yield f"The event is stored {found.rows:,} times. This is the newest row."


def _cost(found: ExplainedEvent) -> Iterator[str]:
    event, version = found.event, found.explanation.version
    if found.is_priced:
        yield f"Cost: {money_text(event.cost)} USD, from the price book {version}"
        if found.own_cost is not None:
            yield f"It came with a cost of {money_text(found.own_cost)} USD."
    elif event.cost is not None:
        listed = f" (price version {event.price_version})" if event.price_version else ""
        yield f"Cost: {money_text(event.cost)} USD, {SOURCES[event.cost_source]}{listed}"
    elif found.lacks_cost:
        yield "Cost: unknown. The event counts as unpriced."
        if found.own_cost is not None:
            yield f"It came with a cost of {money_text(found.own_cost)} USD, which does not count."
    else:
        yield "Cost: none, and none is missing."
    if not found.is_priced:
        yield f"The active price book {version}:"


def _rules(explained: Explanation) -> Iterator[str]:
    if explained.entry:
        yield f"Entry: {_entry(explained)}"
    if explained.context:
        yield f"Context: {_pairs(explained.context)}"
    if (discount := explained.discount) is not None:
        whose = discount_text(discount)
        yield f"Discount: the amounts are {discount.negotiated:f} of the list price ({whose})"


def _entry(explained: Explanation) -> str:
    owner = f"of {explained.owner}" if explained.owner else "for every provider"
    origin = "from your price file" if explained.own else "built-in"
    text = f"{explained.entry} {owner}, {origin}"
    return f"{explained.alias}, with the prices of {text}" if explained.alias else text


def _price_table(explained: Explanation) -> Cards:
    rows = [
        (
            part.unit,
            f"{part.count:,}",
            f"{part.rate:f}",
            f"{part.per:,}",
            _rule(part),
            exact_text(part.amount),
        )
        for part in explained.parts
    ]
    caption = "Rates and amounts in US dollars"
    return Cards("", PRICE_COLUMNS, rows, words=("class", "rule"), caption=caption)


def _rule(part: PricedPart) -> str:
    words = (
        rule_text(part.rule),
        f"prompts above {part.above:,} tokens" if part.above is not None else "",
        f"rate of {part.rate_unit}" if part.is_fallback else "",
    )
    return ", ".join(filter(None, words)) or "standard"


def _verdict(found: ExplainedEvent) -> Iterator[str]:
    event, explained = found.event, found.explanation
    if found.is_priced:
        yield _proof(found)
        return
    if explained.reason is not None:
        named = f" Units: {', '.join(explained.culprits)}." if explained.culprits else ""
        yield f"No price: {explained.reason.sentence}{named}"
        if explained.reason in CURES:
            yield CURES[explained.reason]
        return
    yield f"Sum: {money_text(found.book_cost)} USD"
    if found.difference is not None:
        yield f"The event's own cost minus the sum: {found.difference:+.{COST_DECIMALS}f} USD"
        if len(found.parts) > 1:
            yield "Its own cost may be that of all parts together. The sum is that of this part."
    if event.cost is None:
        yield (
            "The book that was active when the event was stored had no price for it, or"
            " USAGEPIPE_COST is reported-only. A stored cost does not change."
        )


def _proof(found: ExplainedEvent) -> str:
    if found.is_proven:
        return (
            f"Sum: {money_text(found.book_cost)} USD. It equals the stored cost, to the last digit."
        )
    reason = found.explanation.reason
    charged = f"charges {money_text(found.book_cost)} USD."
    says = charged if reason is None else f"has no price for it. {reason.sentence}"
    return (
        f"WRONG: the stored cost is {money_text(found.event.cost)} USD, but its price book {says}"
        " Somebody changed the row, or this is a fault of usagepipe."
    )


def _part_table(found: ExplainedEvent) -> Cards:
    rows = [
        (
            str(each.part),
            str(each.event_id),
            each.model or NONE,
            money_text(each.cost),
            each.cost_source or "-",
        )
        for each in found.parts
    ]
    unknown = sum(each.cost is None for each in found.parts)
    missing = f", and {unknown} without a cost" if unknown else ""
    caption = f"Total of the request: {money_text(found.request_cost)} USD{missing}"
    return Cards(
        "All parts of the request",
        PART_COLUMNS,
        rows,
        words=("event", "model", "source"),
        caption=caption,
    )


def _pairs(context: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(context.items()))
