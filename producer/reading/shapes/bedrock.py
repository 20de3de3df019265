"""Amazon Bedrock: Converse, one format for all models, and the models' formats in InvokeModel.

Anthropic's models keep their own format in InvokeModel. Models whose answers have no tokens
(Cohere's and Nova's embeddings) are counted in headers only: they have no usage here.
"""

from typing import Any, ClassVar, Final

from usagepipe.producer.reading.shapes.counts import Counts
from usagepipe.producer.reading.shapes.shape import Fields, Paths, Shape, fields_at, items_of
from usagepipe.producer.reading.shapes.units import Items, Tree
from usagepipe.producer.reading.usage import Usage

METRICS: Final = "amazon-bedrock-invocationMetrics"
READ_NAMES: Final = ("cacheReadInputTokens", "cacheReadInputTokenCount")
WRITE_NAMES: Final = ("cacheWriteInputTokens", "cacheWriteInputTokenCount")


class Converse(Shape):
    """`inputTokens` excludes cache reads and writes; the total includes them."""

    places = frozenset(("usage", "metadata"))
    paths: ClassVar[Paths] = {"usage": True, "metadata": {"usage": True}, "serviceTier": True}
    marks = ("usage",)
    sides = ("inputTokens", "outputTokens")
    billed: ClassVar[Tree] = {
        "cacheDetails": Items("ttl", "inputTokens", {"1h": "cache_write_1h_tokens"})
    }

    def usage(self, answer: Fields) -> Fields | None:
        usage = fields_at(answer, "usage")
        if usage is None and answer.keys() <= {"metadata", METRICS}:
            usage = fields_at(answer, "metadata", "usage")  # the last event of a Nova stream
        named = usage is not None and ("inputTokens" in usage or "outputTokens" in usage)
        return usage if named else None

    def tier(self, answer: Fields, usage: Fields) -> object:
        return (fields_at(answer, "serviceTier") or {}).get("type")

    def ends(self, answer: Fields) -> bool:
        """The `metadata` event follows `messageStop` and is the last one."""
        return self.usage(answer) is not None

    def normal(self, counts: Counts) -> Usage:
        fresh, completion = counts.first("inputTokens"), counts.first("outputTokens")
        cached, written = counts.first(*READ_NAMES), counts.first(*WRITE_NAMES)
        total = counts.first("totalTokens")
        # A total without them shows that the input includes them.
        inside = total == fresh + completion and cached + written <= fresh
        prompt = fresh if inside else fresh + cached + written
        return Usage("", prompt, completion, total or prompt + completion, cached, written)


class InvokeModel(Shape):
    """Titan's and Llama's counts are at the top. Each stream ends with Bedrock's metrics."""

    places = frozenset((METRICS, "inputTextTokenCount", "prompt_token_count"))
    paths: ClassVar[Paths] = {
        METRICS: True,
        **dict.fromkeys(("prompt_token_count", "generation_token_count"), True),
        **dict.fromkeys(("inputTextTokenCount", "totalOutputTextTokenCount"), True),
        "results": {"tokenCount": True},
    }
    marks = ("inputTokenCount", "outputTokenCount", "inputTextTokenCount", "prompt_token_count")
    sides = ("inputTokenCount", "outputTokenCount")

    def usage(self, answer: Fields) -> Fields | None:
        metrics = fields_at(answer, METRICS)
        if metrics is not None:
            return metrics
        if answer.get("inputTextTokenCount") is not None:
            return _titan(answer)
        return answer if answer.get("prompt_token_count") is not None else None

    def ends(self, answer: Fields) -> bool:
        return METRICS in answer

    def normal(self, counts: Counts) -> Usage:
        cached, written = counts.first(*READ_NAMES), counts.first(*WRITE_NAMES)
        fresh = counts.first("inputTokenCount", "inputTextTokenCount", "prompt_token_count")
        completion = counts.first("outputTokenCount", "generation_token_count")
        prompt = fresh + cached + written
        return Usage("", prompt, completion, prompt + completion, cached, written)


def _titan(answer: Fields) -> dict[str, Any]:
    """Titan's counts under the names of the metrics. Text has results, embeddings do not."""
    output = answer.get("totalOutputTextTokenCount")
    if output is None:
        counts = (result.get("tokenCount") for result in items_of(answer, "results"))
        output = sum(count for count in counts if type(count) is int)
    return {"inputTokenCount": answer["inputTextTokenCount"], "outputTokenCount": output}
