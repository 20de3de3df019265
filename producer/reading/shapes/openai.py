"""OpenAI and compatible APIs: the input includes cached tokens, the output includes reasoning.

Chat, completions, embeddings, images, audio, the Responses and Realtime events; Azure, Cerebras,
DeepSeek, Groq, Hugging Face, Kimi, LiteLLM, Mistral, OpenRouter, vLLM, Voyage, xAI and many more.
"""

from typing import ClassVar, Final

from usagepipe.producer.reading.shapes.anthropic import without_other_models
from usagepipe.producer.reading.shapes.counts import Counts
from usagepipe.producer.reading.shapes.openai_units import (
    BILLED,
    CALLS_PATHS,
    IMAGE_TOOL,
    IMAGES,
    OUTPUT_DETAILS,
    PROMPT_DETAILS,
    with_tool_calls,
)
from usagepipe.producer.reading.shapes.shape import Fields, Paths, Shape, fields_at, id_at, items_of
from usagepipe.producer.reading.shapes.units import Tree, regional_runs, units_in
from usagepipe.producer.reading.usage import Usage

TOKEN_CLASSES: Final = ("prompt_tokens", "input_tokens", "completion_tokens", "output_tokens")
NAMES: Final = (*TOKEN_CLASSES, "total_tokens")
# Of a response. The Realtime API uses `done` for all of them.
LAST_EVENTS: Final = tuple(
    f"response.{word}" for word in ("completed", "incomplete", "failed", "cancelled", "done")
)

# Answers without output (embeddings, ranks, scores): a total alone is input there. An answer with
# text may have a total alone too, but then the input is unknown. So the answer must show its kind.
INPUT_ONLY_OBJECTS: Final = ("list", "rerank")
LISTS: Final = ("results", "data", "rankings")
SCORES: Final = frozenset({"relevance_score", "score", "logit"})
VECTORS: Final = ("embeddings", "embedding")
INPUT_ONLY_PATHS: Final[Paths] = {
    "object": True,
    **{name: dict.fromkeys(SCORES, True) for name in LISTS},
    **{name: {} for name in VECTORS},  # only whether they are there
}


class Responses(Shape):
    """The events of the Responses and Realtime APIs. The usage is in their `response`."""

    places = frozenset(("response",))
    places_of_id = frozenset(("response",))
    paths: ClassVar[Paths] = {
        "type": True,
        "response": {**dict.fromkeys(("id", "usage", "service_tier"), True), **CALLS_PATHS},
    }
    marks = ("usage", "response.created")
    sides = ("input_tokens", "output_tokens")
    billed: ClassVar[Tree] = BILLED

    def usage(self, answer: Fields) -> Fields | None:
        kind = answer.get("type")
        if isinstance(kind, str) and kind.startswith("response."):
            usage = fields_at(answer, "response", "usage")
            return None if usage is None else with_tool_calls(usage, answer["response"])
        return None

    def tier(self, answer: Fields, usage: Fields) -> object:
        return (fields_at(answer, "response") or {}).get("service_tier")

    def part(self, answer: Fields) -> str | None:
        """A realtime session has many responses, and a gateway's stream may have several. Without
        ids they cannot be distinguished and count as one."""
        if not self.ends(answer):
            return None
        return id_at(fields_at(answer, "response") or {}, "id") or ""

    def is_next(self, earlier: Usage, later: Usage, ended: bool) -> bool:
        """Each response has one last event, so another id is another response."""
        return True

    def begins(self, answer: Fields) -> bool:
        return answer.get("type") == "response.created"

    def ends(self, answer: Fields) -> bool:
        """The event that reports how the response ended, well or not."""
        return answer.get("type") in LAST_EVENTS

    def normal(self, counts: Counts) -> Usage:
        return _with_other_models(subset(counts), counts.usage)


class OpenAI(Shape):
    """A `usage` at the top, else in Groq's `x_groq`, else in a choice (Kimi).

    A chat's stream ends with `[DONE]`, which is not JSON: the framing handles it.
    """

    places = frozenset(("usage", "choices", "x_groq", "usage_info"))
    places_of_id = frozenset(("choices",))
    paths: ClassVar[Paths] = {
        **dict.fromkeys(("type", "object", "usage", "service_tier"), True),
        **dict.fromkeys(("usage_info", "document_annotation"), True),
        **CALLS_PATHS,
        "x_groq": {"usage": True},
        "choices": {"usage": True, "finish_reason": True},
        **INPUT_ONLY_PATHS,
    }
    marks = ("usage", "usage_info")
    sides = ("prompt_tokens", "completion_tokens")
    billed: ClassVar[Tree] = BILLED

    def usage(self, answer: Fields) -> Fields | None:
        usage = fields_at(answer, "usage")
        if usage is not None and (usage.get("prompt_tokens") or usage.get("input_tokens")):
            return with_tool_calls(usage, answer) if "output" in answer else usage
        if usage is None or not any(map(usage.get, NAMES)):
            usage = _elsewhere(answer) or usage
        if usage is not None and _is_total_alone(usage) and _has_no_output(answer):
            return {**usage, "prompt_tokens": usage["total_tokens"]}
        return usage

    def units(self, usage: Fields) -> dict[str, int]:
        """With LiteLLM's note of where Claude ran."""
        return units_in(usage, self.billed) | regional_runs(usage)

    def tier(self, answer: Fields, usage: Fields) -> object:
        """OpenAI's and others' is beside the usage, that of some gateways in it."""
        return answer.get("service_tier") or usage.get("service_tier")

    def part(self, answer: Fields) -> str | None:
        """Each chunk of a chat has the chat's id."""
        return id_at(answer, "id") if is_chat(answer) else None

    def ends(self, answer: Fields) -> bool:
        """Media use typed events: `image_generation.completed`, `speech.audio.done`."""
        kind = answer.get("type")
        return isinstance(kind, str) and kind.endswith((".completed", ".done"))

    def closes(self, answer: Fields) -> bool:
        """Usage is final when no choice is open. Not every server sends `[DONE]` after it, and
        servers that send usage with each chunk (vLLM, Perplexity) do so while a choice is open."""
        if not answer.get("choices"):
            return answer.get("choices") == [] or ("choices" not in answer and _is_chunk(answer))
        choices = items_of(answer, "choices")
        return any(choice.get("finish_reason") is not None for choice in choices)

    def normal(self, counts: Counts) -> Usage:
        return _with_other_models(subset(counts), counts.usage)


def _with_other_models(usage: Usage, fields: Fields) -> Usage:
    """`usage` with the calls of other models as parts: the image tool's, Claude's advisors'."""
    if "iterations" in fields:
        return without_other_models(usage, fields)
    images = fields_at(fields, IMAGES) if IMAGES in fields else None
    if images is None:
        return usage
    counts, model = Counts(images), images.get("model")  # an answer may have our name, too
    part = subset(counts)
    return usage._replace(
        parts=(
            part._replace(
                model=model if isinstance(model, str) else IMAGE_TOOL,
                units=units_in(images, BILLED),
                usage_quality="complete" if counts.sound and part.adds_up else "inconsistent",
            ),
        )
    )


def is_chat(answer: Fields) -> bool:
    """Whether an answer is a completion, or a chunk of one."""
    return "choices" in answer or _is_chunk(answer)


def _is_chunk(answer: Fields) -> bool:
    return answer.get("object") == "chat.completion.chunk"


def _elsewhere(answer: Fields) -> Fields | None:
    if "x_groq" in answer and (usage := fields_at(answer, "x_groq", "usage")):
        return usage
    if "usage_info" in answer and (pages := fields_at(answer, "usage_info")):
        # Mistral's reading of documents costs more for pages with annotations.
        annotated = pages.get("pages_processed") if answer.get("document_annotation") else None
        return {**pages, "annotated_pages": annotated}
    if "choices" not in answer:
        return None
    of_choices = (fields_at(choice, "usage") for choice in items_of(answer, "choices"))
    return next((usage for usage in of_choices if usage), None)


def _is_total_alone(usage: Fields) -> bool:
    """Whether a usage object has a total and no other count."""
    return not any(map(usage.get, TOKEN_CLASSES)) and bool(usage.get("total_tokens"))


def _has_no_output(answer: Fields) -> bool:
    """Whether an answer shows that it consists of ranks or vectors."""
    if answer.get("object") in INPUT_ONLY_OBJECTS:
        return True
    if any(isinstance(answer.get(name), (list, dict)) for name in VECTORS):
        return True
    return any(not SCORES.isdisjoint(item) for name in LISTS for item in items_of(answer, name)[:1])


def subset(counts: Counts) -> Usage:
    """The normal form if details are parts of their totals."""
    prompt = counts.first("prompt_tokens", "input_tokens")
    completion = counts.first("completion_tokens", "output_tokens")
    given_total = counts.first("total_tokens")
    beside = counts.first("reasoning_tokens") if "reasoning_tokens" in counts.usage else 0
    reasoning = counts.detail(OUTPUT_DETAILS, "reasoning_tokens") or beside
    # xAI counts reasoning outside the output, in the total only. That must fit exactly: any other
    # total is a contradiction and stays one.
    if reasoning and given_total == prompt + completion + reasoning:
        completion += reasoning
    elif beside > completion and given_total in (0, prompt + completion):
        # More than the output: Perplexity's research counts and charges it separately.
        completion += beside
        given_total = prompt + completion
    if "citation_tokens" in counts.usage and (citations := counts.first("citation_tokens")):
        # Perplexity's research counts and charges what it cites separately too.
        completion += citations
        given_total += citations if given_total else 0
    # Mistral counts what its connectors (web search, …) add to the prompt separately.
    connectors = counts.first("connector_tokens") if "connector_tokens" in counts.usage else 0
    if connectors and given_total == prompt + completion + connectors:
        prompt += connectors
    total = given_total or prompt + completion
    written = counts.detail(PROMPT_DETAILS, "cache_write_tokens", "cache_creation_tokens")
    written = written or counts.first("cache_creation_input_tokens")
    return Usage("", prompt, completion, total, _cached(counts), written, reasoning)


def _cached(counts: Counts) -> int:
    """Cache reads: in the details, or beside the totals under the provider's own name."""
    return counts.detail(PROMPT_DETAILS, "cached_tokens") or counts.first(
        "cached_tokens",  # Kimi, Hugging Face
        "num_cached_tokens",  # Mistral
        "prompt_cache_hit_tokens",  # DeepSeek
        "cache_read_input_tokens",  # LiteLLM
    )
