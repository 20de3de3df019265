"""Why a price is what it is: the parts of an event, their rates and the rules behind them."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from usagepipe.schemas.prices.document import Discount, Period, Variant
from usagepipe.schemas.prices.usage import Unpriced


@dataclass(frozen=True, slots=True)
class PricedPart:
    """Units of one class, and what they cost. No unit is in two parts."""

    unit: str
    count: int
    rate: Decimal  # the list price: US dollars for `per` units
    per: int
    rate_unit: str  # whose rate it is: another unit's if `unit` has none of its own
    above: int | None  # the rate is that of prompts with more tokens than this
    rule: Period  # its date and hours; a `Variant` says for which context it counts
    amount: Fraction  # US dollars, exact, with the discount

    @property
    def is_fallback(self) -> bool:
        """Whether the unit has no rate of its own."""
        return self.unit != self.rate_unit

    @property
    def variant(self) -> Mapping[str, str]:
        """The context that the rate is for. Empty: the standard rate."""
        return self.rule.when if isinstance(self.rule, Variant) else {}


@dataclass(frozen=True, slots=True)
class Explanation:
    """How an event is priced. `total` is exactly what `Pricer.price` returns, or None.

    The amounts of `parts` add up to `exact`, and `total` is `exact`, rounded once.
    """

    version: str
    reason: Unpriced | None = None  # why there is no price
    culprits: tuple[str, ...] = ()  # the units that are the reason, if some are
    provider: str = ""  # whom the request is paid to, as the book names it
    owner: str = ""  # the provider whose entry it is; "" for an entry of every provider
    entry: str = ""
    own: bool = False  # the entry is from the operator's file
    alias: str = ""  # the entry that has the prices of `entry`
    context: Mapping[str, str] | None = None
    discount: Discount | None = None
    parts: tuple[PricedPart, ...] = ()
    exact: Fraction | None = None  # US dollars
    total: int | None = None  # in money units: 10^-12 US dollars
