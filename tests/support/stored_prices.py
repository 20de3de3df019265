"""Price books for tests, and whether each stored row has the cost of the book that it names."""

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from tests.support.price_usage import Usage
from usagepipe.schemas.clickhouse.price_books import read_book
from usagepipe.schemas.event import COST_DECIMALS
from usagepipe.schemas.prices import PriceBook, Pricer, builtin_book, read_yaml

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MODEL: Final = "house-model"  # priced by `house_book`, and by no public price
_FIELDS: Final = tuple(Usage.__dataclass_fields__)
_SQL: Final = (
    f"SELECT {', '.join(_FIELDS)}, cost, cost_source, price_version, reported_cost"
    " FROM usage_events"
)


def house_book(dollars: int, before: int | None = None) -> PriceBook:
    """A book in which a million prompt tokens of `MODEL` cost so many dollars.

    `before` is the price until the end of 2025.
    """
    text = (
        f"models:\n  - model: {MODEL}\n    prices:\n"
        f"      - {{input_mtok: {before or dollars}, output_mtok: 0}}\n"
        f"      - {{from: 2026-01-01, input_mtok: {dollars}, output_mtok: 0}}\n"
    )
    return read_yaml(text, builtin_book())


def versions(client: "Client") -> Counter[str]:
    """How many rows have been priced with each book."""
    sql = "SELECT price_version, count() FROM usage_events WHERE cost_source = 'priced' GROUP BY 1"
    return Counter({str(version): count for version, count in client.query(sql).result_rows})


def wrong_costs(client: "Client") -> Iterator[str]:
    """The rows whose cost is not that of the stored book that they name, each in a sentence."""
    pricers: dict[str, Pricer] = {}
    found = client.query(_SQL)
    for fields in found.named_results():
        cost, source, version, reported = (
            fields.pop(name) for name in ("cost", "cost_source", "price_version", "reported_cost")
        )
        if source == "priced":
            if version not in pricers:
                pricers[version] = Pricer(read_book(client, version))
            expected: object = pricers[version].price(Usage(**fields))
            if cost is None or int(cost.scaleb(COST_DECIMALS)) != expected:
                yield f"{fields}: its cost is {cost}, by {version} it is {expected}"
        elif (source == "") != (cost is None) or cost != reported:
            yield f"{fields}: its cost is {cost}, of {source or 'nobody'}, and {reported} reported"


def priced_sum(client: "Client") -> Decimal:
    """US dollars of all rows."""
    ((dollars,),) = client.query("SELECT sum(cost) FROM usage_events").result_rows
    return Decimal(dollars or 0)
