"""Whether an answer reports its failure, despite a status of 200, which a stream sends first.

The same for all providers: they report it in similar ways, and gateways mix these.
"""

from typing import Final

from usagepipe.producer.reading.shapes.shape import Fields, Paths, fields_at

KIND_NAMES: Final = ("type", "event_type", "object")
# Kinds of events and answers that report a failure. An incomplete or cancelled answer has not
# failed, nor has one with a failed tool call (`response.mcp_call.failed`).
FAILED_KINDS: Final = ("error", "response.failed", "response.error", "conversation.response.error")
WITH_STATUS: Final = ("response", "interaction")
STATUS_EVENT: Final = "interaction.status_update"
PATHS: Final[Paths] = {
    **dict.fromkeys((*KIND_NAMES, "error", "status"), True),
    "choices": {"finish_reason": True},
    **{name: {"error": True, "status": True} for name in WITH_STATUS},
}


def says_it_failed(answer: Fields) -> bool:
    """Whether an answer, or an event of a stream, reports that the whole answer failed."""
    if answer.get("error") and _has_error(answer):
        return True
    for name in KIND_NAMES:
        if name in answer and answer[name] in FAILED_KINDS:
            return True
    choices = answer.get("choices")
    if choices and isinstance(choices, list):
        # OpenRouter and Mistral also report it in a choice.
        return any(isinstance(c, dict) and c.get("finish_reason") == "error" for c in choices)
    if answer.get("status") == "failed" and (
        answer.get("object") in WITH_STATUS or answer.get("event_type") == STATUS_EVENT
    ):
        return True
    return ("response" in answer and _inner_failed(answer, "response")) or (
        "interaction" in answer and _inner_failed(answer, "interaction")
    )


def _has_error(answer: Fields) -> bool:
    """An error is an object or a text. Successful answers may have an empty or null `error`."""
    error = answer.get("error")
    return bool(error) and isinstance(error, (dict, str))


def _inner_failed(answer: Fields, name: str) -> bool:
    inner = fields_at(answer, name)
    return inner is not None and (inner.get("status") == "failed" or _has_error(inner))
