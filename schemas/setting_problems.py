"""What is wrong with one setting, as a sentence: its variable, its value, and what to write."""

from typing import Any, Final, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

MAX_VALUE_CHARS: Final = 80  # of a value that is shown


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
