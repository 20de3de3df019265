"""Checks of single settings. An error names the variable, its value, and what to write."""

import re
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import AfterValidator, SecretStr
from pydantic.fields import FieldInfo
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


def setting_problem(variable: str, field: FieldInfo | None, error: ErrorDetails) -> str:
    """A sentence about a value that the model refuses; it never shows a secret's value."""
    if field is None:
        return f"{variable} is not a setting."
    if error["type"] == "value_error":  # raised by a check of ours, as the end of a sentence
        return f"{variable} {error['msg'].removeprefix('Value error, ')}."
    is_secret = field.annotation is SecretStr
    value = "has a wrong value" if is_secret else f"is {_shown(error['input'])}"
    return f"{variable} {value}: write {_wanted(field)}."


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}…"


def _wanted(field: FieldInfo) -> str:
    kind = field.annotation
    if kind is bool:
        return "on or off"
    if get_origin(kind) is Literal:
        *words, last = filter(None, get_args(kind))
        return f"{', '.join(words)} or {last}"
    if kind in {int, float}:
        return f"{'a whole number' if kind is int else 'a number'} {_range(field)}"
    least, most = _limit(field, "min_length"), _limit(field, "max_length")
    return f"{least} to {most} characters" if most else "a text that is not empty"


def _range(field: FieldInfo) -> str:
    least, above, most = (_limit(field, name) for name in ("ge", "gt", "le"))
    start = f"above {above}" if least is None else f"from {least}"
    return f"{start} to {most}"


def _limit(field: FieldInfo, name: str) -> Any:
    return next((getattr(each, name) for each in field.metadata if hasattr(each, name)), None)
