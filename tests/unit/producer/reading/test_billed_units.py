"""What providers bill by beside the tokens of the normal form: units and service tiers."""

import json
from typing import Any

import pytest
from genai_prices.data_units import unit_data
from hypothesis import given, settings
from hypothesis import strategies as st

from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.shapes import SHAPES
from usagepipe.producer.reading.shapes.units import Items, Tree
from usagepipe.producer.reading.usage import Usage
from usagepipe.schemas.event import MAX_TOKENS, MAX_UNITS

LARGE, SHORT = (
    256 * 1024,
    16,
)  # bytes: no answer here is over the first bound, all are over the other
CHAT = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
RESPONSE = {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}
CLAUDE = {"input_tokens": 20, "cache_creation_input_tokens": 80, "output_tokens": 50}
SEARCH = {"type": "web_search_call", "action": {"type": "search"}}
OPEN_PAGE = {"type": "web_search_call", "action": {"type": "open_page"}}
Json = dict[str, Any]


def read(body: bytes, content_type: str = "application/json", limit: int = LARGE) -> Usage:
    reader = AnswerReader(content_type, "", limit)
    reader.feed(body)
    usage = reader.read()
    assert isinstance(usage, Usage), usage
    return usage


def chat(usage: Json, **beside: Any) -> Json:
    return {"object": "chat.completion", "choices": [], "usage": CHAT | usage, **beside}


def response(usage: Json, *output: Json, **beside: Any) -> Json:
    return {"object": "response", "usage": RESPONSE | usage, "output": list(output), **beside}


def claude(**usage: Any) -> Json:
    return {"type": "message", "model": "claude", "usage": CLAUDE | usage}


def gemini(*grounds: Json, model: str = "gemini-3-flash", **usage: Any) -> Json:
    counts = {"promptTokenCount": 100, "candidatesTokenCount": 50, "totalTokenCount": 150}
    candidates = [{"groundingMetadata": ground} for ground in grounds]
    return {"modelVersion": model, "candidates": candidates, "usageMetadata": counts | usage}


def modalities(**counts: int) -> list[Json]:
    return [{"modality": name.upper(), "tokenCount": count} for name, count in counts.items()]


# Name: (an answer, its units)
ANSWERS: dict[str, tuple[Json, dict[str, int]]] = {
    "OpenAI's audio": (
        chat(
            {
                "prompt_tokens_details": {"audio_tokens": 60, "cached_tokens": 0},
                "completion_tokens_details": {"audio_tokens": 40, "reasoning_tokens": 0},
            }
        ),
        {"input_audio_tokens": 60, "output_audio_tokens": 40},
    ),
    "zeros and nulls": (
        chat({"prompt_tokens_details": {"audio_tokens": 0}, "completion_tokens_details": None}),
        {},
    ),
    "Realtime, cached audio": (
        {
            "type": "response.done",
            "response": {
                "usage": RESPONSE
                | {
                    "input_token_details": {
                        "text_tokens": 30,
                        "audio_tokens": 60,
                        "image_tokens": 10,
                        "cached_tokens": 50,
                        "cached_tokens_details": {"text_tokens": 20, "audio_tokens": 30},
                    },
                    "output_token_details": {"text_tokens": 10, "audio_tokens": 40},
                }
            },
        },
        {
            "input_audio_tokens": 60,
            "input_image_tokens": 10,
            "cache_audio_read_tokens": 30,
            "output_audio_tokens": 40,
        },
    ),
    "OpenAI's images": (
        {
            "data": [{"b64_json": "aWY="}],
            "usage": RESPONSE
            | {
                "input_tokens_details": {"text_tokens": 40, "image_tokens": 60},
                "output_tokens_details": {"text_tokens": 10, "image_tokens": 40},
            },
        },
        {"input_image_tokens": 60, "output_image_tokens": 40},
    ),
    "a transcription by tokens": (
        {
            "text": "a",
            "usage": {"type": "tokens", "input_token_details": {"audio_tokens": 90}, **RESPONSE},
        },
        {"input_audio_tokens": 90},
    ),
    "a transcription by time": (
        {"text": "a", "usage": {"type": "duration", "seconds": 9.2}},
        {"input_audio_seconds": 10},
    ),
    "OpenAI's searches": (
        response({}, SEARCH, OPEN_PAGE, SEARCH, {"type": "file_search_call"}, {"type": "message"}),
        {"web_searches": 2, "storage_searches": 1},
    ),
    "OpenAI's searches, without its own count": (
        response({}, SEARCH, SEARCH, tool_usage={"web_search": {"num_requests": None}}),
        {"web_searches": 2},
    ),
    "OpenAI's own count of searches": (
        response({}, SEARCH, tool_usage={"web_search": {"num_requests": 3}}),
        {"web_searches": 3},
    ),
    "OpenAI's code interpreter": (
        response({}, {"type": "code_interpreter_call"}),
        {"code_executions": 1},
    ),
    "Claude's cache": (
        claude(
            cache_creation={"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 30},
            server_tool_use={"web_search_requests": 2, "web_fetch_requests": 5},
        ),
        {"cache_write_1h_tokens": 30, "web_searches": 2},
    ),
    "Claude's code": (
        claude(server_tool_use={"code_execution_requests": 1}),
        {"code_executions": 1},
    ),
    "Claude's compaction": (
        claude(
            cache_creation={"ephemeral_1h_input_tokens": 30},
            iterations=[
                {"type": "message", **CLAUDE},
                {
                    "type": "compaction",
                    "cache_creation_input_tokens": 9,
                    "cache_creation": {"ephemeral_1h_input_tokens": 7},
                },
            ],
        ),
        {"cache_write_1h_tokens": 37},
    ),
    "Gemini's modalities": (
        gemini(
            promptTokensDetails=modalities(text=10, audio=20, image=30, document=5, video=35),
            cacheTokensDetails=modalities(text=4, audio=6, video=7),
            candidatesTokensDetails=modalities(text=10, image=40),
        ),
        {
            "input_audio_tokens": 20,
            "input_image_tokens": 35,
            "input_video_tokens": 35,
            "cache_audio_read_tokens": 6,
            "cache_video_read_tokens": 7,
            "output_image_tokens": 40,
        },
    ),
    "Gemini's tools": (
        gemini(
            promptTokensDetails=modalities(text=90, audio=10),
            toolUsePromptTokenCount=30,
            toolUsePromptTokensDetails=modalities(text=20, audio=10),
        ),
        {"input_audio_tokens": 20, "input_tool_tokens": 30, "input_audio_tool_tokens": 10},
    ),
    "Gemini's searches": (
        gemini({"webSearchQueries": ["a", "b"]}, {"webSearchQueries": ["c"]}),
        {"web_searches": 3},
    ),
    "Gemini 2's searches": (
        gemini({"webSearchQueries": ["a", "b"]}, model="gemini-2.5-pro"),
        {"web_searches": 1},
    ),
    "an interaction": (
        {
            "usage": {
                "total_input_tokens": 100,
                "input_tokens_by_modality": [{"modality": "audio", "tokens": 60}],
                "cached_tokens_by_modality": [{"modality": "audio", "tokens": 8}],
                "total_output_tokens": 50,
                "output_tokens_by_modality": [{"modality": "image", "tokens": 40}],
                "grounding_tool_count": [{"type": "google_search", "count": 2}],
            }
        },
        {
            "input_audio_tokens": 60,
            "cache_audio_read_tokens": 8,
            "output_image_tokens": 40,
            "web_searches": 2,
        },
    ),
    "Bedrock's cache": (
        {
            "usage": {
                "inputTokens": 20,
                "outputTokens": 50,
                "cacheWriteInputTokens": 80,
                "cacheDetails": [
                    {"ttl": "1h", "inputTokens": 30},
                    {"ttl": "5m", "inputTokens": 50},
                ],
            }
        },
        {"cache_write_1h_tokens": 30},
    ),
    "OpenRouter": (
        chat({"server_tool_use_details": {"web_search_requests": 1}, "cost": 0.01}),
        {"web_searches": 1},
    ),
    "Perplexity": (
        chat({"num_search_queries": 18, "citation_tokens": 200}),
        {"web_searches": 18, "output_citation_tokens": 200},
    ),
    "Cohere's ranks": ({"meta": {"billed_units": {"search_units": 2}}}, {"rerank_searches": 2}),
    "Cohere's images": ({"meta": {"billed_units": {"images": 3}}}, {"input_images": 3}),
    "what Cohere does not bill": (
        {
            "usage": {
                "billed_units": {"input_tokens": 2406, "output_tokens": 2},
                "tokens": {"input_tokens": 2935, "output_tokens": 4},
                "cached_tokens": 2928,
            }
        },
        {"input_unbilled_tokens": 529, "output_unbilled_tokens": 2},
    ),
    "Cohere's ranks with tokens": (
        {"meta": {"billed_units": {"search_units": 1}, "tokens": {"input_tokens": 90}}},
        {"rerank_searches": 1},
    ),
    "Cohere bills more than it counts": (
        {
            "usage": {
                "billed_units": {"input_tokens": 9, "output_tokens": -1},
                "tokens": {"input_tokens": 4, "output_tokens": 4},
            }
        },
        {},
    ),
    "Claude in one region": (claude(inference_geo="us"), {"regional_runs": 1}),
    "Claude in a region to come": (claude(inference_geo="eu"), {"regional_runs": 1}),
    "Claude anywhere": (claude(inference_geo="global"), {}),
    "an older Claude": (claude(inference_geo="not_available"), {}),
    "Claude in one region, by LiteLLM": (chat({"inference_geo": "us"}), {"regional_runs": 1}),
    "Gemini's maps": (
        gemini({"groundingChunks": [{"maps": {"uri": "u"}}, {"maps": {"uri": "v"}}]}),
        {"map_searches": 1},
    ),
    "Gemini's maps and searches": (
        gemini({"webSearchQueries": ["a", "b"], "groundingChunks": [{"web": {}}, {"maps": {}}]}),
        {"web_searches": 2, "map_searches": 1},
    ),
    "Gemini's files": (gemini({"groundingChunks": [{"retrievedContext": {}}]}), {}),
    "an interaction with maps": (
        {
            "usage": {
                "total_input_tokens": 100,
                "total_output_tokens": 50,
                "grounding_tool_count": [{"type": "google_maps", "count": 1}],
            }
        },
        {"map_searches": 1},
    ),
    "Cohere's images by tokens": (
        {"meta": {"billed_units": {"images": 3, "image_tokens": 90}}},
        {"input_image_tokens": 90},
    ),
    "xAI": (
        response(
            {
                "num_sources_used": 4,
                "server_side_tool_usage_details": {
                    "web_search_calls": 2,
                    "x_search_calls": 3,
                    "file_search_calls": 1,
                    "document_search_calls": 1,
                    "mcp_calls": 9,
                },
            },
            SEARCH,
            SEARCH,
        ),
        {"search_sources": 4, "web_searches": 2, "social_searches": 3, "storage_searches": 2},
    ),
    "Mistral's connectors": (
        {
            "type": "conversation.response.done",
            "usage": CHAT | {"connector_tokens": 7, "connectors": {"web_search": 2}},
        },
        {"web_searches": 2},
    ),
    "Mistral's audio": (chat({"prompt_audio_seconds": 7}), {"input_audio_seconds": 7}),
    "Mistral's documents": (
        {"pages": [], "usage_info": {"pages_processed": 3, "doc_size_bytes": 9}},
        {"input_document_pages": 3},
    ),
    "Mistral's annotated documents": (
        {"usage_info": {"pages_processed": 3}, "document_annotation": "{}"},
        {"input_document_pages": 3, "input_annotated_document_pages": 3},
    ),
    "Voyage": (
        {"object": "list", "usage": {"total_tokens": 9, "image_pixels": 50, "video_pixels": 7}},
        {"input_pixels": 57},
    ),
    "LiteLLM": (
        chat(
            {
                "prompt_tokens_details": {
                    "cache_creation_tokens": 40,
                    "cache_creation_token_details": {"ephemeral_1h_input_tokens": 30},
                },
                "server_tool_use": {"web_search_requests": 1},
            }
        ),
        {"cache_write_1h_tokens": 30, "web_searches": 1},
    ),
    "DeepSeek": (chat({"prompt_cache_hit_tokens": 90, "prompt_cache_miss_tokens": 10}), {}),
}
# Name: (an answer, its tier)
TIERS: dict[str, tuple[Json, str]] = {
    "OpenAI": (chat({}, service_tier="priority"), "priority"),
    "Responses": (response({}, service_tier="flex"), "flex"),
    "Groq": (chat({}, service_tier="on_demand"), "on_demand"),
    "Claude": (claude(service_tier="batch"), "batch"),
    "Claude's fast mode": (claude(service_tier="standard", speed="fast"), "fast"),
    "Gemini": (gemini(serviceTier="priority"), "priority"),
    "Vertex": (gemini(trafficType="ON_DEMAND_FLEX"), "flex"),
    "Bedrock": (
        {"usage": {"inputTokens": 1, "outputTokens": 1}, "serviceTier": {"type": "flex"}},
        "flex",
    ),
    "an interaction": ({"usage": {"total_input_tokens": 1}, "service_tier": "flex"}, "flex"),
    "null": (chat({}, service_tier=None), ""),
    "not text": (chat({}, service_tier={"a": 1}), ""),
    "none": (chat({}), ""),
}


def stream(*events: Json) -> bytes:
    return b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events)


def cut_anywhere(body: bytes) -> list[Usage | str]:
    """What is read of a stream in two chunks, for each place of the cut, and of single bytes."""
    splits = [(body[:at], body[at:]) for at in range(len(body))]
    found: list[Usage | str] = []
    for pieces in [*splits, tuple(body[at : at + 1] for at in range(len(body)))]:
        reader = AnswerReader("text/event-stream", "", LARGE)
        for piece in pieces:
            reader.feed(piece)
        found.append(reader.read())
    return found


@pytest.mark.parametrize("limit", [LARGE, SHORT])
@pytest.mark.parametrize(("answer", "units"), ANSWERS.values(), ids=ANSWERS)
def test_units_are_read(answer: Json, units: dict[str, int], limit: int) -> None:
    """Each provider's counts get the names of units, parsed or projected."""
    assert units == read(json.dumps(answer).encode(), limit=limit).units


@pytest.mark.parametrize("limit", [LARGE, SHORT])
@pytest.mark.parametrize(("answer", "tier"), TIERS.values(), ids=TIERS)
def test_tier_is_read(answer: Json, tier: str, limit: int) -> None:
    """The tier that the answer reports, or none."""
    assert tier == read(json.dumps(answer).encode(), limit=limit).service_tier


@pytest.mark.parametrize("seconds", [9.2, 10, 10.0])
def test_seconds_without_tokens_are_complete_usage(seconds: float) -> None:
    """A transcription by time has a price, so it is not missing. Begun seconds are whole ones."""
    usage = read(json.dumps({"usage": {"type": "duration", "seconds": seconds}}).encode())

    assert Usage("", 0, 0, 0, units={"input_audio_seconds": 10}) == usage


def test_cited_tokens_are_output() -> None:
    """Perplexity counts what its research cites beside the completion, and bills it."""
    usage = read(json.dumps(chat({"citation_tokens": 200})).encode())

    assert (100, 250, 350) == usage[1:4]


def test_stream_of_claude_keeps_what_its_start_counted() -> None:
    """The start has the cache and the tier, the delta the searches. Zeros replace nothing."""
    start = CLAUDE | {
        "cache_creation": {"ephemeral_1h_input_tokens": 30},
        "service_tier": "priority",
    }
    zeros = {"input_tokens": 0, "cache_creation_input_tokens": 0, "output_tokens": 50}
    body = stream(
        {"type": "message_start", "message": {"id": "m", "model": "claude", "usage": start}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": zeros
            | {
                "cache_creation": {"ephemeral_1h_input_tokens": 0},
                "server_tool_use": {"web_search_requests": 1},
            },
        },
        {"type": "message_stop"},
    )
    units = {"cache_write_1h_tokens": 30, "web_searches": 1}
    expected = Usage(
        "claude", 100, 50, 150, cache_write_tokens=80, units=units, service_tier="priority"
    )

    found = cut_anywhere(body)

    assert [expected] * len(found) == found


def test_stream_of_a_response_has_the_units_of_its_end() -> None:
    """The start names the tier that was asked for, the end the one that was used."""
    body = stream(
        {"type": "response.created", "response": {"id": "r", "service_tier": "auto"}},
        {
            "type": "response.completed",
            "response": {"id": "r", "service_tier": "flex"} | response({}, SEARCH),
        },
    )
    expected = Usage("", 100, 50, 150, units={"web_searches": 1}, service_tier="flex")

    found = cut_anywhere(body)

    assert [expected] * len(found) == found


def test_stream_of_gemini_keeps_its_searches() -> None:
    """The event with the searches need not be the last one."""
    body = stream(gemini({"webSearchQueries": ["a", "b"]}), gemini(serviceTier="flex"))
    expected = Usage("gemini-3-flash", 100, 50, 150, units={"web_searches": 2}, service_tier="flex")

    found = [usage for usage in cut_anywhere(body) if isinstance(usage, Usage)]

    assert [expected.units] * len(found) == [usage.units for usage in found]
    assert {"flex"} == {usage.service_tier for usage in found}


def test_stream_of_gemini_keeps_its_maps() -> None:
    """A search of the web in a later event does not replace them."""
    maps: Json = {"groundingChunks": [{"maps": {}}]}
    web: Json = {"webSearchQueries": ["a"]}

    usage = read(stream(gemini(maps), gemini(web), gemini()), "text/event-stream")

    assert {"map_searches": 1, "web_searches": 1} == usage.units


def test_advisor_of_a_regional_message_is_regional_too() -> None:
    """Both parts cost more than the list says, by Claude's answer and by LiteLLM's."""
    runs = [
        {"type": "message", "input_tokens": 20, "output_tokens": 50},
        {"type": "advisor_message", "model": "wise", "input_tokens": 7, "output_tokens": 3},
    ]
    counts = {"prompt_tokens": 20, "completion_tokens": 50, "total_tokens": 70}
    for answer in (
        claude(inference_geo="us", iterations=runs),
        chat(counts | {"inference_geo": "us", "iterations": runs}),
    ):
        usage = read(json.dumps(answer).encode())

        assert [("wise", 7, 3)] == [part[:3] for part in usage.parts]
        assert [{"regional_runs": 1}] * 2 == [usage.units, usage.parts[0].units]


def test_units_of_several_completions_add_up() -> None:
    """Each response of a realtime session counts. The tier is that of the last one."""
    audio = {"input_token_details": {"audio_tokens": 60}}
    first = {"id": "a", "usage": RESPONSE | audio, "service_tier": "flex"}
    second = {"id": "b", "usage": RESPONSE | audio, "output": [SEARCH]}
    body = stream(
        {"type": "response.done", "response": first},
        {"type": "response.done", "response": second},
    )

    usage = read(body, "text/event-stream")

    assert {"input_audio_tokens": 120, "web_searches": 1} == usage.units
    assert "flex" == usage.service_tier


def test_one_sided_usage_takes_the_units_of_the_side_that_it_lacks() -> None:
    """A later event may have the output alone: the input and its units are those seen before."""
    first = gemini(promptTokensDetails=modalities(audio=60))
    last = {"usageMetadata": {"candidatesTokenCount": 50}, "modelVersion": "gemini-3-flash"}

    usage = read(stream(first, last), "text/event-stream")

    assert ((100, 50), {"input_audio_tokens": 60}) == (usage[1:3], usage.units)


@pytest.mark.parametrize(
    "transcribed",
    [{"type": "duration", "seconds": 9}, RESPONSE | {"input_token_details": {"audio_tokens": 90}}],
)
def test_units_of_a_transcription_are_not_those_of_the_session(transcribed: Json) -> None:
    """Another model transcribes what is said in a realtime session."""
    kind = "conversation.item.input_audio_transcription.completed"
    body = stream(
        {"type": "response.done", "response": {"id": "r", "usage": RESPONSE}},
        {"type": kind, "usage": transcribed},
    )

    assert {} == read(body, "text/event-stream").units


@pytest.mark.parametrize("bad", [-1, 1.5e300, MAX_TOKENS + 1, "7", True, [], {}, {"audio": 1}])
def test_invalid_counts_are_left_out(bad: object) -> None:
    """An odd detail costs no token: the rest is recorded."""
    usage = read(json.dumps(chat({"prompt_tokens_details": {"audio_tokens": bad}})).encode())

    assert Usage("", 100, 50, 150) == usage


def names_in(tree: Tree) -> set[str]:
    """All units that a shape may find."""
    names: set[str] = set()
    for wanted in tree.values():
        if isinstance(wanted, str):
            names.add(wanted)
        else:
            names |= set(wanted.units.values()) if isinstance(wanted, Items) else names_in(wanted)
    return names


def test_no_answer_has_more_units_than_an_event_allows() -> None:
    """Names come from our lists only, never from an answer, so their number is bounded."""
    assert MAX_UNITS >= max(len(names_in(shape.billed)) for shape in SHAPES)


def test_units_have_the_names_of_the_price_book() -> None:
    """A book prices a unit by its name. A few are not there: their events have no price."""
    names = set().union(*(names_in(shape.billed) for shape in SHAPES))

    unknown = {"search_sources", "image_generations", "input_images", "classifications"}
    unknown |= {"map_searches"}
    assert unknown == names - set(unit_data)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**13) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["audio_tokens", "modality", "tokenCount", "ttl", "inputTokens", "type", "action"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_details_are_survived(data: st.DataObject) -> None:
    """Whatever is in the place of a detail: no error, and counts within the contract."""
    answer = json.loads(json.dumps(data.draw(st.sampled_from(list(ANSWERS.values())))[0]))
    usage = answer.get("usage") or answer.get("usageMetadata") or answer.get("meta") or answer
    name = data.draw(st.sampled_from(sorted(usage)))
    usage[name] = data.draw(values)
    answer["output"] = data.draw(values)
    answer["service_tier"] = data.draw(values)
    reader = AnswerReader("application/json", "", data.draw(st.sampled_from([LARGE, SHORT])))

    reader.feed(json.dumps(answer).encode())

    found = reader.read()
    if isinstance(found, Usage):
        assert all(type(count) is int and 0 < count <= MAX_TOKENS for count in found.units.values())
        assert isinstance(found.service_tier, str)
