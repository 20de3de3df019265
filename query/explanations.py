"""Explains the cost of a stored event: its row, its price book, and the parts of its request."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from usagepipe.query.periods import TimeRange
from usagepipe.query.statements import statement
from usagepipe.query.store import Store
from usagepipe.schemas.clickhouse.price_books import active_version, read_book
from usagepipe.schemas.errors import (
    DamagedBookError,
    MissingBookError,
    UnknownEventError,
    UsagePipeError,
)
from usagepipe.schemas.event import UsageEvent
from usagepipe.schemas.prices import (
    Explanation,
    PriceBook,
    Pricer,
    Unpriced,
    builtin_book,
    cost_text,
)

PRICED: Final = "priced"
PARTS_WITHIN: Final = timedelta(hours=1)  # of the event: no request takes as long


@dataclass(frozen=True, slots=True)
class ExplainedEvent:
    """An event as it is stored, and how a price book prices it.

    The book is the one that priced the event. If none did, it is the active book.
    """

    event: UsageEvent
    explanation: Explanation
    rows: int = 1  # of this event; more than one if events are stored without deduplication
    parts: tuple[UsageEvent, ...] = ()  # of its request, in order, with the event itself

    @property
    def is_priced(self) -> bool:
        """Whether the stored cost is from a price book."""
        return _is_priced(self.event)

    @property
    def book_cost(self) -> Decimal | None:
        """What the book charges."""
        total = self.explanation.total
        return None if total is None else Decimal(cost_text(total))

    @property
    def own_cost(self) -> Decimal | None:
        """The cost that the event came with, whether or not it counts."""
        if self.event.reported_cost is not None or self.is_priced:
            return self.event.reported_cost
        return self.event.cost

    @property
    def difference(self) -> Decimal | None:
        """How much more the event's own cost is than the book's."""
        if self.own_cost is None or self.book_cost is None:
            return None
        return self.own_cost - self.book_cost

    @property
    def is_proven(self) -> bool:
        """Whether the stored cost is what the book charges. Other costs need no proof."""
        return not self.is_priced or self.event.cost == self.book_cost

    @property
    def lacks_cost(self) -> bool:
        """Whether the event counts as unpriced."""
        return self.event.cost is None and self.explanation.reason != Unpriced.NOTHING_TO_PRICE

    @property
    def request_cost(self) -> Decimal | None:
        """The known cost of all parts of the request; None if none is known."""
        costs = [each.cost for each in self.parts if each.cost is not None]
        return sum(costs, Decimal(0)) if costs else None


class Explainer:
    """Explains the costs of stored events. Reads each price book once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pricers: dict[str, Pricer] = {}

    def explain(self, event_id: UUID) -> ExplainedEvent:
        """How the cost of a stored event comes about. Blocks.

        Raises:
            UnknownEventError: the event is not stored.
            ServerUnavailableError: ClickHouse does not answer.
            MigrationError: the tables are missing.
            UsagePipeError: its price book cannot be used, or a row is no event.
        """
        parameters = {"event_id": str(event_id)}
        rows = list(self._store.events(statement("event_rows"), parameters))
        if not rows:
            raise UnknownEventError(str(event_id))
        event = rows[0]
        try:
            explanation = self._pricer_of(event).explain(event)
        except (MissingBookError, DamagedBookError) as error:
            raise UsagePipeError(
                f"The event {event_id} has the {_cost_words(event)}, and that cannot be explained: "
                f"{error}"
            ) from error
        return ExplainedEvent(event, explanation, len(rows), _parts(self._store, event))

    def _pricer_of(self, event: UsageEvent) -> Pricer:
        """The pricer of the book that priced the event; if none did, of the active book."""
        version = event.price_version if _is_priced(event) else self._store.call(active_version)
        if version not in self._pricers:
            self._pricers[version] = Pricer(self._book(version))
        return self._pricers[version]

    def _book(self, version: str) -> PriceBook:
        if not version:  # none was ever applied
            return builtin_book()
        try:
            return self._store.call(read_book, version)
        except MissingBookError:  # an import brings costs of books that no worker has stored here
            if builtin_book().version != version:
                raise
            return builtin_book()


def _cost_words(event: UsageEvent) -> str:
    if event.cost is None:
        return "cost null"
    version = f" from the price book {event.price_version}" if _is_priced(event) else ""
    return f"cost {event.cost:f} USD{version}"


def _is_priced(event: UsageEvent) -> bool:
    return event.cost_source == PRICED and event.cost is not None


def _parts(store: Store, event: UsageEvent) -> tuple[UsageEvent, ...]:
    if not event.request_id and event.sequence is None:
        return (event,)
    at = event.occurred_at
    (at_ms, _), (from_ms, to_ms) = (
        TimeRange(*ends).milliseconds
        for ends in ((at, at + PARTS_WITHIN), (at - PARTS_WITHIN, at + PARTS_WITHIN))
    )
    parameters = {
        "at_ms": at_ms,
        "from_ms": from_ms,
        "to_ms": to_ms,
        "request_id": event.request_id,
        "attempt": event.attempt,
        "user_id": event.user_id,
        "producer_id": event.producer_id,
        "main_sequence": (event.sequence or 0) - event.part,
        "part": event.part,
    }
    others = store.events(statement("event_parts"), parameters)
    return tuple(sorted((event, *others), key=lambda each: each.part))
