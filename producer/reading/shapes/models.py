"""The model that an answer or an event of a stream names."""

from typing import Final

from usagepipe.producer.reading.shapes.iterations import model_of_fallback
from usagepipe.producer.reading.shapes.shape import Fields, Paths, fields_at

MODEL_NAMES: Final = ("model", "modelVersion", "agent")  # an interaction may be with an agent
INNER_PLACES: Final = ("response", "message", "session", "interaction")
PATHS: Final[Paths] = {
    **dict.fromkeys(MODEL_NAMES, True),
    **{place: dict.fromkeys(MODEL_NAMES, True) for place in INNER_PLACES},
    "trace": {"promptRouter": {"invokedModelId": True}},
    "content_block": {"type": True, "to": {"model": True}},
}


def model_named(answer: Fields) -> str:
    """The model that an answer, or an object inside it, names; or ""."""
    if model := _model_in(answer):
        return model
    for place in INNER_PLACES:
        if place in answer and (model := _model_in(fields_at(answer, place) or {})):
            return model
    return _routed(answer) if "trace" in answer else ""


def _model_in(fields: Fields) -> str:
    for name in MODEL_NAMES:
        model = fields.get(name)
        if model and isinstance(model, str):
            return model
    return ""


def _routed(answer: Fields) -> str:
    """The model chosen by Bedrock's prompt router: a name, or an ARN that ends with it."""
    model = (fields_at(answer, "trace", "promptRouter") or {}).get("invokedModelId")
    return model.rpartition("/")[2] if isinstance(model, str) else ""


def model_taking_over(answer: Fields) -> str:
    """The model that continues after another one declined (Claude's server-side fallback), or "".

    The start of the stream has already named the other model.
    """
    usage = answer.get("usage")
    if isinstance(usage, dict) and "iterations" in usage:
        return model_of_fallback(usage)
    block = answer.get("content_block")
    if not isinstance(block, dict) or block.get("type") != "fallback":
        return ""
    model = (fields_at(block, "to") or {}).get("model")
    return model if isinstance(model, str) else ""
