"""Turns the JSON of an answer, a single document or a stream, into one usage in the normal form.

`shapes` knows the providers' formats, and `completion` combines the events of one completion. This
module decides for the whole answer: which completions it has, which model answered, and how far the
numbers can be trusted.
"""

from functools import lru_cache
from typing import Final, NamedTuple

from usagepipe.producer.reading.completion import Completion, has_tokens
from usagepipe.producer.reading.shapes import SHAPES
from usagepipe.producer.reading.shapes.bedrock import METRICS
from usagepipe.producer.reading.shapes.counts import Counts
from usagepipe.producer.reading.shapes.failures import says_it_failed
from usagepipe.producer.reading.shapes.models import model_named, model_taking_over
from usagepipe.producer.reading.shapes.openai import OpenAI, is_chat
from usagepipe.producer.reading.shapes.shape import Fields, Shape
from usagepipe.producer.reading.usage import COUNTS, Usage
from usagepipe.schemas.event import MAX_TOKENS

# Ids of earlier completions that are remembered. A repetition comes soon after the original, and
# memory must be bounded because anybody can choose the ids.
MAX_PARTS: Final = 1_000

# Some servers give each chunk its own id: then ids do not distinguish completions. One change is
# normal, because some gateways begin with a chunk of their own.
MAX_SHIFTS: Final = 2

# An answer with none of these has no usage.
PLACES: Final = frozenset[str]().union(*(shape.places for shape in SHAPES))
# Places of usage beside a `usage`: all shapes read an answer with both.
PLACES_BESIDE: Final = PLACES - {
    *("usage", "choices", "delta", "interaction", "metadata", "eval_count", "responseId")
}
CHAT: Final = next(rank for rank, shape in enumerate(SHAPES) if isinstance(shape, OpenAI))
CHAT_ONLY: Final = ((CHAT, SHAPES[CHAT]),)


class Tally:
    """Adds up the JSON objects of one answer. A plain answer is a stream with one object.

    A stream may have several completions: the responses of a realtime session, or those of a
    gateway that runs tools itself. Their ids distinguish them (see `Shape.part`), and each counts
    once. The model is the one that answered last.
    """

    def __init__(self) -> None:
        self._completion = Completion()
        self._before: Usage | None = None  # of earlier completions
        self._tier = ""  # of them
        self._part: str | None = None  # the id of this completion
        self._past: dict[str, None] = {}  # the ids of earlier completions, oldest first
        self._repeats = False  # an earlier completion is sent again
        self._shifts = 0  # how often the id changed within a completion
        self._ended = False
        self._is_done = False  # `[DONE]` has passed, and no usage of another chat after it
        self._goes_on = False  # a chunk with a choice came after `[DONE]`, before this event
        self._broken = False  # by an error, with no usage after it
        self.failed = False  # the answer itself reports it
        self.model = ""  # that answered, if one has been named so far, with usage or without
        self.of_claude = False  # a message of Claude's has begun

    def add(self, answer: object) -> None:
        """Take the next object. Other JSON values have no usage."""
        if not isinstance(answer, dict):
            return
        if says_it_failed(answer):
            self.fail()
        news = False
        plan = _plan_for(PLACES.intersection(answer))
        found = self._usages_in(answer, plan) if plan.shapes else ()
        for rank, usage in found:
            if self._is_news(SHAPES[rank], usage, answer):
                self._completion.add(rank, usage, answer)
                news = True
                self._broken = False
        if not found and plan.with_ids:
            self._note_id(answer, plan)
        best = self._completion.rank
        if best < len(SHAPES):
            self._ended = SHAPES[best].ends(answer) or (
                self._ended and not SHAPES[best].begins(answer)
            )
        self._note_model(answer, news=news)
        if self._is_done and answer.get("choices"):
            self._goes_on = True

    def end(self) -> None:
        """An end mark that is not JSON has passed. After an error it ends the stream, but the
        model's output is not complete."""
        self._ended = self._ended or not self._broken
        self._is_done, self._goes_on = True, False

    def close(self) -> None:
        """The usage so far is final, unless the answer was cut."""
        self._completion.closed = True

    def fail(self) -> None:
        """An error has passed. The usage before it counts."""
        self.failed = self._broken = True

    def usage(self, complete: bool = True) -> Usage | None:
        """The usage of all objects; None if none had any.

        It is partial unless the end was seen, or the usage was final and the stream was not cut
        (`complete`): then only the end mark can be missing.
        """
        usage = self._sum()
        if usage is None:
            return None
        ended = self._ended or (complete and self._completion.closed)
        tier = self._completion.tier or self._tier
        return judged(usage.of_model(self.model, tier), cut=not ended)

    def _sum(self) -> Usage | None:
        latest = self._completion.usage()
        if latest is None or self._before is None:
            return latest or self._before
        return self._before.plus(latest)

    def _usages_in(self, answer: Fields, plan: "_Plan") -> list[tuple[int, Fields]]:
        """The usage read by this completion's shape, else by the best shape that fits. If there
        are several usages, each shape that fits reads its own."""
        if plan.several and (METRICS in answer or isinstance(answer["usage"], dict)):
            usages = ((rank, shape.usage(answer)) for rank, shape in plan.shapes)
            return [(rank, usage) for rank, usage in usages if usage is not None]
        known = self._completion.rank
        if known < len(SHAPES) and (usage := SHAPES[known].usage(answer)) is not None:
            return [(known, usage)]
        for rank, shape in CHAT_ONLY if plan.is_chat and _is_of_openai(answer) else plan.shapes:
            if (usage := shape.usage(answer)) is not None:
                return [(rank, usage)]
        return []

    def _is_news(self, shape: Shape, usage: Fields, answer: Fields) -> bool:
        """Whether usage counts: it belongs to this completion or begins the next one. If not, it
        repeats an earlier completion."""
        part = shape.part(answer)
        is_new = self._is_done and part not in self._past
        if is_new and self._is_of_next_chat(shape, usage, answer):
            self._turn()
            self._past.pop(part or "", None)  # the next chat may have the same id
            self._is_done = self._repeats = False
        if part is None:  # of the current completion
            return not self._repeats
        known = part in self._past
        if part and part == self._part and not known:
            self._repeats = False
            return True
        begins = shape.begins(answer)
        self._repeats = known and begins
        if known:
            return False
        if self._completion.rank == len(SHAPES):  # it has no usage yet
            self._note_part(part, begins=begins)
        elif begins or (part != self._part and has_tokens(shape, usage)):
            if self._is_next(shape, usage, begins=begins):
                self._turn()
            self._note_part(part, begins=begins)
        return True

    def _is_of_next_chat(self, shape: Shape, usage: Fields, answer: Fields) -> bool:
        """Whether usage after `[DONE]` belongs to another chat: a chunk of it came before, or the
        tokens differ. If not, the usage is repeated, perhaps with fewer details."""
        if not is_chat(answer) or not has_tokens(shape, usage):
            return False
        earlier, later = self._completion.usage(), shape.normal(Counts(usage))
        return earlier is not None and (
            self._goes_on
            or later.prompt_tokens != earlier.prompt_tokens
            or later.completion_tokens != earlier.completion_tokens
        )

    def _is_next(self, shape: Shape, usage: Fields, *, begins: bool) -> bool:
        """Whether usage under another id belongs to another completion."""
        if not begins and (self._part is None or self._shifts >= MAX_SHIFTS):
            return False
        earlier = self._completion.usage()
        ended = self._ended or self._completion.closed
        later = shape.normal(Counts(usage))
        return earlier is not None and shape.is_next(earlier, later, ended)

    def _turn(self) -> None:
        """End this completion and begin another one."""
        self._tier = self._completion.tier or self._tier
        self._before, self._completion, self._ended = self._sum(), Completion(), False
        if self._part:
            self._past[self._part] = None
        if len(self._past) > MAX_PARTS:
            del self._past[next(iter(self._past))]
        self._part = None

    def _note_part(self, part: str, *, begins: bool) -> None:
        self._shifts += not begins and self._part not in (None, part)
        self.of_claude |= begins
        self._part = part

    def _note_id(self, answer: Fields, plan: "_Plan") -> None:
        """Learn from an event without usage which ids are used, or that a completion begins."""
        for shape in plan.with_ids:
            part = shape.part(answer)
            if part is not None:
                if shape.begins(answer):
                    self._is_news(shape, {}, answer)
                elif self._completion.rank == len(SHAPES):
                    self._note_part(part, begins=False)
                return

    def _note_model(self, answer: Fields, *, news: bool) -> None:
        """Note the model: one that takes over, else the one beside the usage, else the first."""
        model = model_taking_over(answer)
        if not model and (news or not self.model):
            model = model_named(answer)
        self.model = model or self.model


class _Plan(NamedTuple):
    """Which shapes read the answers that have the same places of usage."""

    shapes: tuple[tuple[int, Shape], ...]  # with their ranks, the best first
    with_ids: tuple[Shape, ...]  # those that may find an id
    several: bool  # each of them may find its own usage
    is_chat: bool  # it is nearly always a chat


@lru_cache(maxsize=1_000)
def _plan_for(places: frozenset[str]) -> _Plan:
    shapes = tuple((rank, shape) for rank, shape in enumerate(SHAPES) if shape.places & places)
    if "choices" in places:
        with_ids: tuple[Shape, ...] = (SHAPES[CHAT],)
    else:
        with_ids = tuple(shape for _, shape in shapes if shape.places_of_id & places)
    beside = not PLACES_BESIDE.isdisjoint(places)
    several = beside and ("usage" in places or METRICS in places)
    return _Plan(shapes, with_ids, several, is_chat="choices" in places and not beside)


def _is_of_openai(answer: Fields) -> bool:
    """Whether no other shape can fit: a fast path for the most frequent answer."""
    usage = answer.get("usage")
    return usage is None or (isinstance(usage, dict) and "prompt_tokens" in usage)


def judged(usage: Usage, *, cut: bool) -> Usage:
    """`usage` and its parts with their quality. A part is never cut: it is reported at its end."""
    if not usage.parts:
        return _judged(usage, cut=cut)
    parts = (_judged(part, cut=False) for part in usage.parts)
    used = tuple(part for part in parts if part.usage_quality != "missing")
    return _judged(usage._replace(parts=used), cut=cut)


def _judged(usage: Usage, *, cut: bool) -> Usage:
    """`usage` with its quality. Contradictory numbers are kept: an event has no class for tokens of
    which only the total is known, so that total is alone. Zeros are kept too, because the
    request took place."""
    if max(usage.counts) > MAX_TOKENS:  # absurd counts, cut to what an event allows
        capped = {name: min(getattr(usage, name), MAX_TOKENS) for name in COUNTS}
        return usage._replace(**capped, usage_quality="inconsistent")
    if usage.usage_quality == "inconsistent":
        return usage
    if usage.total_tokens == 0 and not usage.units:
        return usage._replace(usage_quality="missing")
    return usage._replace(usage_quality="partial") if cut else usage
