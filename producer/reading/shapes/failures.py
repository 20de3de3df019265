"""Whether an answer says that it failed, though its status was 200: a stream has sent that before.

The same for all providers: their words differ little, and gateways mix them.
"""

from typing import Any, Final

from usagepipe.producer.reading.shapes.shape import Fields, Paths, fields_at

KIND_NAMES: Final = ("type", "event_type", "object")
# An event, or an answer, of these kinds. One that is incomplete or was cancelled has not failed,
# nor has one of whose tools some call failed (`response.mcp_call.failed`).
FAILED_KINDS: Final = ("error", "response.failed", "response.error", "conversation.response.error")
WITH_STATUS: Final = ("response", "interaction")
STATUS_EVENT: Final = "interaction.status_update"
PATHS: Final[Paths] = {
    **dict.fromkeys((*KIND_NAMES, "error", "status"), True),
    "choices": {"finish_reason": True},
    **{name: {"error": True, "status": True} for name in WITH_STATUS},
}


def says_it_failed(answer: Fields) -> bool:
    """Whether an answer, or an event of a stream, tells of the failure of the whole."""
    if answer.get("error") and _has_error(answer):
        return True
    for name in KIND_NAMES:
        if name in answer and answer[name] in FAILED_KINDS:
            return True
    choices = answer.get("choices")
    if choices and isinstance(choices, list):
        return _is_choice_failed(choices)
    if answer.get("status") == "failed" and (
        answer.get("object") in WITH_STATUS or answer.get("event_type") == STATUS_EVENT
    ):
        return True
    return ("response" in answer and _inner_failed(answer, "response")) or (
        "interaction" in answer and _inner_failed(answer, "interaction")
    )


def _is_choice_failed(choices: list[Any]) -> bool:
    """OpenRouter and Mistral say so in a choice too."""
    for choice in choices:
        if isinstance(choice, dict) and choice.get("finish_reason") == "error":
            return True
    return False


def _has_error(answer: Fields) -> bool:
    """An error is an object or a text; answers that went well may have null or nothing in it."""
    error = answer.get("error")
    return bool(error) and isinstance(error, (dict, str))


def _inner_failed(answer: Fields, name: str) -> bool:
    inner = fields_at(answer, name)
    return inner is not None and (inner.get("status") == "failed" or _has_error(inner))
