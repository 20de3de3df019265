"""Usage read the slow and plain way: whole bodies, and the family by the host.

It shares no code with the reader and decides by other means, so that a mistake has to be made
twice to go unseen.
"""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlparse

from tests.support.recorded import RecordedAnswer

# prompt, completion, total, cached, cache written, reasoning, cost
Numbers = tuple[int, int, int, int, int, int, Decimal | None]


def numbers_of(answer: RecordedAnswer) -> Numbers | None:
    """The usage of a recorded answer; None where it has none."""
    if answer.status >= 300 or re.search(r"count-?tokens|input_tokens$", answer.url, re.IGNORECASE):
        return None
    found = None
    for document in _documents(answer.body):
        found = _of_document(urlparse(answer.url).netloc, document) or found
    return found


def units_of(answer: RecordedAnswer) -> dict[str, int]:
    """What the recorded answer bills beside tokens: the latest document that reports it counts."""
    found: dict[str, int] = {}
    for document in _documents(answer.body):
        found |= dict(_units(document))
    return {unit: count for unit, count in found.items() if count}


def _units(document: dict[str, Any]) -> Iterator[tuple[str, int]]:
    if "usageMetadata" in document:
        return _google_units(document, document["usageMetadata"])
    wrapped = document.get("response") or document.get("message") or document
    usage = wrapped.get("usage") or document.get("usage") or {}
    tools = usage.get("server_tool_use") or usage.get("server_tool_use_details") or {}
    lasting = (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens", 0)
    output = wrapped.get("output")
    calls = [item for item in output if "_call" in item["type"]] if isinstance(output, list) else []
    searches = [c for c in calls if c["type"] == "web_search_call" and _searches(c)]
    if "billed_units" in usage:
        return _unbilled(usage.get("tokens", {}), usage["billed_units"])
    return iter(
        [
            ("web_searches", tools.get("web_search_requests", 0) or len(searches)),
            ("cache_write_1h_tokens", lasting),
            ("code_executions", sum(c["type"] == "code_interpreter_call" for c in calls)),
        ]
        if usage
        else []
    )


def _unbilled(tokens: dict[str, int], billed: dict[str, int]) -> Iterator[tuple[str, int]]:
    for name in ("input_tokens", "output_tokens"):
        if name in tokens:
            yield name.replace("_", "_unbilled_"), tokens[name] - billed[name]


def _searches(call: dict[str, Any]) -> bool:
    return call["action"]["type"] == "search"  # type: ignore[no-any-return]


def _google_units(document: dict[str, Any], usage: dict[str, Any]) -> Iterator[tuple[str, int]]:
    lists = {"prompt": "input_{}_tokens", "cache": "cache_{}_read_tokens"}
    for side, unit in (lists | {"candidates": "output_{}_tokens"}).items():
        details = usage.get(f"{side}TokensDetails", [])
        for kind, kinds in {
            "image": ("IMAGE", "DOCUMENT"),
            "audio": "AUDIO",
            "video": "VIDEO",
        }.items():
            counts = (d.get("tokenCount", 0) for d in details if d["modality"] in kinds)
            yield unit.format(kind), sum(counts)
    yield "input_tool_tokens", usage.get("toolUsePromptTokenCount", 0)
    grounds = (c.get("groundingMetadata", {}) for c in document.get("candidates", []))
    if queries := sum(len(ground.get("webSearchQueries", [])) for ground in grounds):
        yield "web_searches", 1 if "gemini-2" in document["modelVersion"] else queries


def _documents(body: str) -> list[dict[str, Any]]:
    if body.startswith("{"):
        return [json.loads(body, parse_float=Decimal)]
    lines = (line.removeprefix("data:").strip() for line in body.replace("\r", "").split("\n"))
    return [json.loads(line, parse_float=Decimal) for line in lines if line.startswith("{")]


def _of_document(host: str, document: dict[str, Any]) -> Numbers | None:
    if "usageMetadata" in document:
        return _google(document["usageMetadata"])
    if "inputTextTokenCount" in document:
        tokens = document["inputTextTokenCount"]
        return tokens, 0, tokens, 0, 0, 0, None
    if host == "api.cohere.com":
        usage = document.get("usage") or document["meta"]
        return _cohere(usage)
    wrapped = document.get("response") or document.get("message")
    usage = document.get("usage") or (wrapped.get("usage") if isinstance(wrapped, dict) else None)
    if usage is None:
        return None
    if host == "api.anthropic.com":
        return _anthropic(usage)
    if host.startswith("bedrock-runtime."):
        return _bedrock(usage)
    return _openai(usage)


def _google(usage: dict[str, int]) -> Numbers:
    prompt = usage["promptTokenCount"] + usage.get("toolUsePromptTokenCount", 0)
    thoughts = usage.get("thoughtsTokenCount", 0)
    output = usage.get("candidatesTokenCount", 0) + thoughts
    total = usage.get("totalTokenCount", prompt + output)
    return prompt, output, total, usage.get("cachedContentTokenCount", 0), 0, thoughts, None


def _cohere(usage: dict[str, Any]) -> Numbers:
    tokens = usage.get("tokens", usage["billed_units"])
    read, wrote = tokens["input_tokens"], tokens.get("output_tokens", 0)
    return read, wrote, read + wrote, usage.get("cached_tokens", 0), 0, 0, None


def _anthropic(usage: dict[str, Any]) -> Numbers:
    cached = usage["cache_read_input_tokens"]
    written = usage["cache_creation_input_tokens"]
    prompt, output = usage["input_tokens"] + cached + written, usage["output_tokens"]
    thinking = usage.get("output_tokens_details", {}).get("thinking_tokens", 0)
    return prompt, output, prompt + output, cached, written, thinking, None


def _bedrock(usage: dict[str, Any]) -> Numbers:
    cached = usage.get("cacheReadInputTokens", 0)
    written = usage.get("cacheWriteInputTokens", 0)
    prompt = usage["inputTokens"] + cached + written
    return prompt, usage["outputTokens"], usage["totalTokens"], cached, written, 0, None


def _openai(usage: dict[str, Any]) -> Numbers:
    read = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    wrote = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
    prompt = usage.get("prompt_tokens", usage.get("input_tokens", usage["total_tokens"]))
    output = usage.get("completion_tokens", usage.get("output_tokens", 0))
    cached = (
        read.get("cached_tokens") or usage.get("cached_tokens") or usage.get("num_cached_tokens")
    )
    cost = usage.get("cost")
    if usage.get("is_byok"):  # beside what the provider charged to the customer's own key
        cost = Decimal(usage["cost"]) + Decimal(usage["cost_details"]["upstream_inference_cost"])
    return (
        prompt,
        output,
        usage["total_tokens"],
        cached or 0,
        read.get("cache_write_tokens", 0),
        wrote.get("reasoning_tokens", 0),
        None if cost is None else Decimal(cost),
    )
