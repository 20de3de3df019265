"""What a request costs: the price book, and the one function that prices a request with it.

A book never changes: another price is another book, with another version. `builtin_book()` has the
public prices; `read_yaml()` adds the operator's own. `Pricer` compiles a book and prices events.
"""

from usagepipe.schemas.prices.amounts import cost_text
from usagepipe.schemas.prices.book import PriceBook
from usagepipe.schemas.prices.builtin import builtin_book
from usagepipe.schemas.prices.explanation import Explanation, PricedPart
from usagepipe.schemas.prices.pricer import Pricer
from usagepipe.schemas.prices.usage import PricedUsage, Unpriced
from usagepipe.schemas.prices.yaml_file import read_yaml

__all__ = [
    "Explanation",
    "PriceBook",
    "PricedPart",
    "PricedUsage",
    "Pricer",
    "Unpriced",
    "builtin_book",
    "cost_text",
    "read_yaml",
]
