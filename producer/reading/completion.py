"""Combines the usage in the events of one completion.

Mostly one shape fits all events. If several fit (a model's own events, and Bedrock's metrics), each
is read separately, and the others fill in what the best one leaves open.
"""

from decimal import Decimal

from usagepipe.producer.reading.shapes import SHAPES, Shape, costs
from usagepipe.producer.reading.shapes.counts import Counts
from usagepipe.producer.reading.shapes.shape import Fields
from usagepipe.producer.reading.usage import Usage
from usagepipe.schemas.event import MAX_TOKENS


class Completion:
    """One completion. The last usage wins, because all providers' usage is cumulative. But zeros
    never replace known counts: some streams begin or end with a placeholder."""

    def __init__(self) -> None:
        self._seen: dict[int, Fields] = {}  # by the rank of its shape
        self._older: dict[int, Fields] = {}  # usage with a side that the latest one leaves open
        self._cost: Decimal | None = None
        self.tier = ""  # that the latest usage reports
        self.rank = len(SHAPES)  # of the best shape so far
        self.closed = False  # the usage is final, though an end mark may still follow

    def add(self, rank: int, usage: Fields, answer: Fields) -> None:
        """Take the usage that the shape of this rank read from an event."""
        shape, seen = SHAPES[rank], self._seen.get(rank)
        if seen is None:
            self._seen[rank] = usage
            self.rank = min(self.rank, rank)
        else:
            self._follow(rank, seen, usage)
        if not costs.NAMES.isdisjoint(usage):
            self._cost = costs.cost_in(usage) or self._cost
        tier = shape.tier(answer, usage)
        if tier and isinstance(tier, str):
            self.tier = tier
        if rank == self.rank:
            self.closed = shape.closes(answer)

    def _follow(self, rank: int, seen: Fields, usage: Fields) -> None:
        shape = SHAPES[rank]
        if not has_both_sides(shape, usage):
            if not has_tokens(shape, usage) and has_tokens(shape, seen):
                return
            if has_both_sides(shape, seen):
                self._older[rank] = seen
        self._seen[rank] = shape.merged(seen, usage)

    def usage(self) -> Usage | None:
        """The usage so far: complete or inconsistent. None: there is none."""
        best: Usage | None = None
        for rank in sorted(self._seen):
            found = _read(SHAPES[rank], self._seen[rank])
            if found is not None:
                best = found if best is None else _filled(best, found, final=self.closed)
        if best is None:
            return Usage("", 0, 0, 0, cost=self._cost) if self._cost else None
        for rank, seen in self._older.items():
            if (older := _read(SHAPES[rank], seen)) is not None:
                best = _filled(best, older, final=True)
        if best.cost is None and self._cost is not None:
            best = best._replace(cost=self._cost)
        return best if best.adds_up else best._replace(usage_quality="inconsistent")


def has_tokens(shape: Shape, usage: Fields) -> bool:
    input_name, output_name = shape.sides  # mostly they decide, and cost less than the normal form
    if _is_positive(usage.get(input_name)) or _is_positive(usage.get(output_name)):
        return True
    normal = shape.normal(Counts(usage))
    return max(normal.prompt_tokens, normal.completion_tokens, normal.total_tokens) > 0


def has_both_sides(shape: Shape, usage: Fields) -> bool:
    """Whether a usage object has both input and output tokens."""
    input_name, output_name = shape.sides
    if _is_positive(usage.get(input_name)) and _is_positive(usage.get(output_name)):
        return True
    normal = shape.normal(Counts(usage))
    return normal.prompt_tokens > 0 and normal.completion_tokens > 0


def _is_positive(value: object) -> bool:
    return type(value) is int and 0 < value <= MAX_TOKENS


def _read(shape: Shape, seen: Fields) -> Usage | None:
    """The usage in the normal form, inconsistent if a count is invalid. None: it has no counts."""
    counts = Counts(seen)
    usage = shape.normal(counts)
    units = shape.units(seen)
    if not (counts.found or units):
        return None
    if units:
        usage = usage._replace(units=units)
    if not costs.NAMES.isdisjoint(seen):
        usage = usage._replace(cost=costs.cost_in(seen))
    return usage if counts.sound else usage._replace(usage_quality="inconsistent")


def _filled(ours: Usage, theirs: Usage, *, final: bool) -> Usage:
    """`ours` with the whole input or the whole output of `theirs`, if that knows more."""
    filled = ours
    if _fuller(_input(ours), _input(theirs)):
        filled = filled._replace(
            prompt_tokens=theirs.prompt_tokens,
            cached_tokens=theirs.cached_tokens,
            cache_write_tokens=theirs.cache_write_tokens,
        )
    larger = not final and theirs.completion_tokens > ours.completion_tokens
    if larger or _fuller(_output(ours), _output(theirs)):
        filled = filled._replace(
            completion_tokens=theirs.completion_tokens, reasoning_tokens=theirs.reasoning_tokens
        )
    if filled is ours:
        return ours
    if theirs.usage_quality == "inconsistent":
        filled = filled._replace(usage_quality="inconsistent")
    if theirs.units:
        filled = filled._replace(units={**theirs.units, **ours.units})
    return filled._replace(total_tokens=filled.prompt_tokens + filled.completion_tokens)


def _input(usage: Usage) -> tuple[int, int]:
    return usage.prompt_tokens, usage.cached_tokens + usage.cache_write_tokens


def _output(usage: Usage) -> tuple[int, int]:
    return usage.completion_tokens, usage.reasoning_tokens


def _fuller(ours: tuple[int, int], theirs: tuple[int, int]) -> bool:
    """Whether theirs has tokens and ours has none, or theirs has a detail that ours lacks."""
    (count, detail), (other_count, other_detail) = ours, theirs
    return other_count > 0 and (
        count == 0 or (detail == 0 and other_detail > 0 and other_count >= count)
    )
