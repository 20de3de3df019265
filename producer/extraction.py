"""From the JSON of an answer to one usage in the normal form: of a single answer, or of a stream.

What a provider writes is in `shapes`. Here is what holds for all of them: which usage of several
counts, and how far the numbers can be trusted.
"""

from decimal import Decimal
from typing import Final

from usagepipe.producer.shapes import SHAPES
from usagepipe.producer.shapes.counts import Counts
from usagepipe.producer.shapes.failures import says_it_failed
from usagepipe.producer.shapes.shape import Fields
from usagepipe.producer.usage import COUNTS, Usage
from usagepipe.schemas.event import MAX_TOKENS

__all__ = ["Tally", "Usage", "usage_of"]

MODEL_NAMES = ("model", "modelVersion", "agent")  # an interaction is with a model or an agent
# The answer itself, else the object in it.
PLACES_OF_MODEL = (None, "response", "message", "session", "interaction")

# Of a stream with several answers: a repetition comes soon after what it repeats, so it is enough
# to know the last ones again, and their ids are a stranger's text to hold.
MAX_PARTS: Final = 1_000


def usage_of(answer: object) -> Usage | None:
    """The usage that a decoded JSON answer carries; None when it carries none. Never raises."""
    tally = Tally()
    tally.add(answer)
    tally.end()
    return tally.usage()


class Tally:
    """What the JSON objects of one answer say together. A plain answer is a stream of one.

    The last usage wins, for all providers' are cumulative, but zeros never replace what is known:
    some streams begin or end with a placeholder. Only where a stream has several answers, each
    with its id (see `Shape.part`), are theirs added up, each once.
    """

    def __init__(self) -> None:
        self._rank = len(SHAPES)
        self._seen: Fields | None = None
        self._cost: Decimal | None = None  # that was told with `_seen` or before
        self._ended = False
        self._closed = False
        self._broken = False  # by an error, with no usage after it
        self.failed = False  # the answer says so itself, whatever its status was
        self._model = ""
        self._part: str | None = None  # the answer that `_seen` is of
        self._parts: dict[str, None] = {}  # that one and those before it, the oldest first
        self._before: Usage | None = None  # of those before it

    def add(self, answer: object) -> None:
        """Take the next object. Anything else that JSON can be has no usage."""
        if not isinstance(answer, dict):
            return
        if says_it_failed(answer):
            self.fail()
        rank, usage = self._usage_in(answer)
        if usage is not None and rank <= self._rank and self._is_news(SHAPES[rank].part(answer)):
            self._broken = False
            self._take(rank, usage)
            if "cost" in usage:
                self._cost = Counts(usage).cost() or self._cost
            self._closed = SHAPES[self._rank].closes(answer)
        if self._seen is not None:
            shape = SHAPES[self._rank]
            self._ended = shape.ends(answer) or (self._ended and not shape.begins(answer))
        if not self._model:
            self._model = _model_of(answer)

    @property
    def model(self) -> str:
        """The model that was named, usage or not."""
        return self._model

    def end(self) -> None:
        """The end has passed, by a mark that is no JSON object. After an error it is the end of
        the stream, not of what the model wrote."""
        self._ended = self._ended or not self._broken

    def fail(self) -> None:
        """An error has passed: what was told before it counts."""
        self.failed = self._broken = True

    def usage(self, complete: bool = True) -> Usage | None:
        """The usage of all that was added, None when nothing had any.

        It is partial unless the end was seen, or the usage was final and the stream was not cut
        (`complete`): what should have followed can only have been the mark of the end.
        """
        told = self._told()
        if told is None:
            return None
        ended = self._ended or (complete and self._closed)
        return _judged(told._replace(model=self._model), cut=not ended)

    def _told(self) -> Usage | None:
        """All that was told until now: it is complete, or inconsistent."""
        if self._seen is None:
            return None
        counts = Counts(self._seen)
        usage = SHAPES[self._rank].normal(counts)
        cost = counts.cost()
        cost = self._cost if cost is None else cost
        if not counts.found and not cost:
            return self._before
        sound = counts.sound and _adds_up(usage)
        usage = usage._replace(cost=cost, usage_quality="complete" if sound else "inconsistent")
        return usage if self._before is None else self._before.plus(usage)

    def _is_news(self, part: str | None) -> bool:
        """Whether usage of `part` counts: it goes on with what was told last, or begins the next.
        If not, it repeats what has been added up already."""
        if part is None or part == self._part:
            return True
        if part in self._parts:
            return False
        if self._part is not None:
            self._before, self._seen, self._cost = self._told(), None, None
        self._part = part
        self._parts[part] = None
        if len(self._parts) > MAX_PARTS:
            del self._parts[next(iter(self._parts))]
        return True

    def _usage_in(self, answer: Fields) -> tuple[int, Fields | None]:
        """The usage of the best shape that fits, after the one that this stream already has."""
        if self._seen is not None:
            usage = SHAPES[self._rank].usage(answer)
            if usage is not None:
                return self._rank, usage
        for rank, shape in enumerate(SHAPES):
            usage = shape.usage(answer)
            if usage is not None:
                return rank, usage
        return self._rank, None

    def _take(self, rank: int, usage: Fields) -> None:
        if self._seen is None or rank < self._rank:
            merged = usage
        else:
            merged = SHAPES[rank].merged(self._seen, usage)
        seen = self._seen
        if seen is None or _has_tokens(rank, usage) or not _has_tokens(self._rank, seen):
            if rank < self._rank:  # a better shape tells of the whole stream
                self._before = None
            self._seen, self._rank = merged, rank


def _has_tokens(rank: int, usage: Fields) -> bool:
    normal = SHAPES[rank].normal(Counts(usage))
    return max(normal.prompt_tokens, normal.completion_tokens, normal.total_tokens) > 0


def _model_of(answer: Fields) -> str:
    for place in PLACES_OF_MODEL:
        fields = answer if place is None else answer.get(place)
        if isinstance(fields, dict):
            for name in MODEL_NAMES:
                model = fields.get(name)
                if isinstance(model, str) and model:
                    return model
    return ""


def _adds_up(usage: Usage) -> bool:
    return (
        usage.cached_tokens + usage.cache_write_tokens <= usage.prompt_tokens
        and usage.reasoning_tokens <= usage.completion_tokens
        and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    )


def _judged(usage: Usage, *, cut: bool) -> Usage:
    """`usage` with the quality it deserves. Numbers that contradict each other are kept: an event
    has no class for tokens of which only the total is known, so that total stands alone. Zeros
    are kept too, for the request took place."""
    if max(getattr(usage, name) for name in COUNTS) > MAX_TOKENS:
        return _capped(usage)
    if usage.usage_quality == "inconsistent":
        return usage
    if usage.total_tokens == 0:
        return usage._replace(usage_quality="missing")
    return usage._replace(usage_quality="partial") if cut else usage


def _capped(usage: Usage) -> Usage:
    """Sums of absurd counts, within what an event takes."""
    capped = {name: min(getattr(usage, name), MAX_TOKENS) for name in COUNTS}
    return usage._replace(**capped, usage_quality="inconsistent")
