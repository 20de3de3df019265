"""Which model an answer or an event of a stream names."""

from typing import Final

from usagepipe.producer.shapes.iterations import model_of_fallback
from usagepipe.producer.shapes.shape import Fields, fields_at

MODEL_NAMES: Final = (
    "model",
    "modelVersion",
    "agent",
)  # an interaction is with a model or an agent
# The answer itself, else the object in it.
PLACES_OF_MODEL: Final = (None, "response", "message", "session", "interaction")


def model_named(answer: Fields) -> str:
    """The model that an answer names at one of the usual places, or ""."""
    for place in PLACES_OF_MODEL:
        fields = answer if place is None else answer.get(place)
        if isinstance(fields, dict):
            for name in MODEL_NAMES:
                model = fields.get(name)
                if isinstance(model, str) and model:
                    return model
    return _routed(answer) if "trace" in answer else ""


def _routed(answer: Fields) -> str:
    """The model that Bedrock's prompt router has chosen: a name, or an ARN that ends with it."""
    model = (fields_at(answer, "trace", "promptRouter") or {}).get("invokedModelId")
    return model.rpartition("/")[2] if isinstance(model, str) else ""


def model_taking_over(answer: Fields) -> str:
    """The model that goes on where another declined (Claude's server-side fallback), or "".

    The start of a stream has named the other one by then.
    """
    usage = answer.get("usage")
    if isinstance(usage, dict) and "iterations" in usage:
        return model_of_fallback(usage)
    block = answer.get("content_block")
    if not isinstance(block, dict) or block.get("type") != "fallback":
        return ""
    model = (fields_at(block, "to") or {}).get("model")
    return model if isinstance(model, str) else ""
