"""Where OpenAI and compatible APIs report what they bill by beside plain tokens.

The names of all of them are read together: none has two meanings.
"""

from typing import Final

from usagepipe.producer.reading.shapes.shape import Fields, Paths, fields_at, items_of
from usagepipe.producer.reading.shapes.units import CLAUDE_TOOLS, Tree

PROMPT_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
OUTPUT_DETAILS: Final = (
    "completion_tokens_details",
    "output_tokens_details",
    "output_token_details",
)
# Not names that providers use.
CALLS: Final = "calls of tools"
IMAGES: Final = "usage of the image model"
IMAGE_TOOL: Final = "image_generation"
CALLS_PATHS: Final[Paths] = {
    "output": {"type": True, "action": {"type": True}},
    "tool_usage": {"web_search": True, "image_gen": True},
    "tools": {"type": True, "model": True},
}

_INPUT: Final[Tree] = {
    "audio_tokens": "input_audio_tokens",
    "image_tokens": "input_image_tokens",
    "video_tokens": "input_video_tokens",
    "cached_tokens_details": {
        "audio_tokens": "cache_audio_read_tokens",
        "image_tokens": "cache_image_read_tokens",
        "video_tokens": "cache_video_read_tokens",
    },
    # LiteLLM's, of Claude
    "cache_creation_token_details": {"ephemeral_1h_input_tokens": "cache_write_1h_tokens"},
    "web_search_requests": "web_searches",
}
_OUTPUT: Final[Tree] = {
    "audio_tokens": "output_audio_tokens",
    "image_tokens": "output_image_tokens",
    "video_tokens": "output_video_tokens",
}
_CHARGED: Final[Tree] = {
    "web_search_call": "web_searches",
    "file_search_call": "storage_searches",
    "code_interpreter_call": "code_executions",
}

BILLED: Final[Tree] = {
    **dict.fromkeys(PROMPT_DETAILS, _INPUT),
    **dict.fromkeys(OUTPUT_DETAILS, _OUTPUT),
    "seconds": "input_audio_seconds",  # a transcription that has no tokens
    "prompt_audio_seconds": "input_audio_seconds",  # Mistral
    "pages_processed": "input_document_pages",  # Mistral
    "annotated_pages": "input_annotated_document_pages",
    "billable_audio_seconds": "audio_seconds",  # xAI
    "input_text_messages": "input_text_messages",  # xAI
    "num_sources_used": "search_sources",  # xAI
    "num_search_queries": "web_searches",  # Perplexity
    "citation_tokens": "output_citation_tokens",  # Perplexity
    "image_pixels": "input_pixels",  # Voyage
    "video_pixels": "input_pixels",
    "server_tool_use": CLAUDE_TOOLS,  # LiteLLM
    "server_tool_use_details": CLAUDE_TOOLS,  # OpenRouter
    "server_side_tool_usage_details": {  # xAI
        "web_search_calls": "web_searches",
        "x_search_calls": "social_searches",
        "code_interpreter_calls": "code_executions",
        "file_search_calls": "storage_searches",
        "document_search_calls": "storage_searches",
    },
    "tool_calls_details": {"search_web": {"invocation": "web_searches"}},  # Perplexity
    "connectors": {  # Mistral
        "web_search": "web_searches",
        "web_search_premium": "web_searches",
        "code_interpreter": "code_executions",
        "image_generation": "image_generations",
    },
    CALLS: _CHARGED,
}


def with_tool_calls(usage: Fields, answer: Fields) -> Fields:
    """`usage` with the number of calls of each tool, which a response has in its output, and with
    the usage of its image model, which is not in the usage of its own model."""
    calls: dict[str, int] = {}
    for item in items_of(answer, "output"):
        kind = item.get("type")
        if isinstance(kind, str) and kind in _CHARGED and _is_charged(item):
            calls[kind] = calls.get(kind, 0) + 1
    searches = fields_at(answer, "tool_usage", "web_search")
    if searches is not None and type(searches.get("num_requests")) is int:
        calls["web_search_call"] = searches["num_requests"]
    if calls:
        usage = {**usage, CALLS: calls}
    images = fields_at(answer, "tool_usage", "image_gen")
    return {**usage, IMAGES: {**images, "model": _image_model(answer)}} if images else usage


def _image_model(answer: Fields) -> str:
    """The model of the image tool. If it is not named, the tool's own name: it has no price, but
    its tokens count."""
    models = (t.get("model") for t in items_of(answer, "tools") if t.get("type") == IMAGE_TOOL)
    return next((model for model in models if isinstance(model, str) and model), IMAGE_TOOL)


def _is_charged(call: Fields) -> bool:
    """Whether a call is not one that opens a page of a search, or looks into it."""
    action = fields_at(call, "action")
    return action is None or action.get("type") in (None, "search")
