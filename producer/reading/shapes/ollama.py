"""Ollama: counts at the top of a chat's last line, or of an embedding's answer."""

from typing import ClassVar

from usagepipe.producer.reading.shapes.counts import Counts
from usagepipe.producer.reading.shapes.shape import Fields, Paths, Shape
from usagepipe.producer.reading.usage import Usage


class Ollama(Shape):
    """One JSON object per line; the last one is `done`. A cached prompt may have no count."""

    places = frozenset(("prompt_eval_count", "eval_count"))
    paths: ClassVar[Paths] = dict.fromkeys(("prompt_eval_count", "eval_count", "done"), True)
    marks = ("prompt_eval_count", "eval_count")
    sides = ("prompt_eval_count", "eval_count")

    def usage(self, answer: Fields) -> Fields | None:
        known = answer.get("prompt_eval_count") is not None or answer.get("eval_count") is not None
        return answer if known and answer.get("done") is not False else None

    def ends(self, answer: Fields) -> bool:
        """The last line is `done`."""
        return answer.get("done") is True

    def normal(self, counts: Counts) -> Usage:
        prompt, completion = counts.first("prompt_eval_count"), counts.first("eval_count")
        return Usage("", prompt, completion, prompt + completion)
