"""Checks of single settings. An error names the variable, its value, and what to write."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator
from pydantic_core import ErrorDetails

from usagepipe.schemas.settings.address import IDENTIFIER

PREFIX: Final = "USAGEPIPE_"
RECORD_KINDS: Final = ("failed", "cancelled", "missing")
MAX_VALUE_CHARS: Final = 80  # of a value that is shown
_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]+")
_MAX_TOPIC_CHARS: Final = 200  # Kafka's limit is 249; the dead-letter topic's name is longer


def _check_topic(value: str) -> str:
    if len(value) > _MAX_TOPIC_CHARS:
        raise ValueError(
            f"has {len(value)} characters: a topic's name has {_MAX_TOPIC_CHARS} at most"
        )
    if not _TOPIC_NAME.fullmatch(value) or value in {".", ".."}:
        raise ValueError(f"is {value!r}: a topic's name has letters, digits, dots, _ and - only")
    return value


def _check_identifier(value: str) -> str:
    if value and not IDENTIFIER.fullmatch(value):
        raise ValueError(f"is {value!r}: letters, digits and _ only, and no digit first")
    return value


def _check_kinds(value: str) -> str:
    for kind in split_list(value):
        if kind not in RECORD_KINDS:
            raise ValueError(f"names {kind!r}: write {', '.join(RECORD_KINDS)}, or some of them")
    return value


def split_list(value: str) -> tuple[str, ...]:
    """The words of a comma-separated list."""
    return tuple(word.strip() for word in value.split(",") if word.strip())


TopicName = Annotated[str, AfterValidator(_check_topic)]
Identifier = Annotated[str, AfterValidator(_check_identifier)]
RecordKinds = Annotated[str, AfterValidator(_check_kinds)]


def rule_of(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The JSON Schema of the setting `name`; an enum's is a definition of its own."""
    rule = schema["properties"].get(name, {})
    definition = rule.get("$ref", "").rpartition("/")[2]
    return {**schema.get("$defs", {}).get(definition, {}), **rule}


def setting_problem(variable: str, rule: Mapping[str, Any], error: ErrorDetails) -> str:
    """A sentence about a value that the model refuses; it never shows a secret's value.

    `rule` is the setting's JSON Schema.
    """
    if error["type"] == "extra_forbidden":
        return f"{variable} is not a setting."
    if error["type"] == "value_error":  # raised by our checks, as the end of a sentence
        return f"{variable} {error['msg'].removeprefix('Value error, ')}."
    is_secret = rule.get("format") == "password"
    value = "has a wrong value" if is_secret else f"is {_shown(error['input'])}"
    return f"{variable} {value}: write {_wanted(rule)}."


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}…"


def _wanted(rule: Mapping[str, Any]) -> str:
    match rule:
        case {"type": "boolean"}:
            return "on or off"
        case {"enum": [*words, last]}:
            return f"{', '.join(filter(None, words))} or {last}"
        case {"minLength": least, "maxLength": most}:
            return f"{least} to {most} characters"
        case {"type": "integer", "minimum": least, "maximum": most}:
            return f"a whole number from {least} to {most}"
        case {"type": "number", "minimum": least, "maximum": most}:
            return f"a number from {least} to {most}"
        case {"type": "number", "exclusiveMinimum": above, "maximum": most}:
            return f"a number above {above} to {most}"
    return "a text that is not empty"
