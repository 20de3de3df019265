"""Reads YAML as nodes, which have line numbers, and keeps every scalar as text.

YAML would make a float of 0.1 and a base-60 number of 16:30, and take the last of two equal keys.
"""

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from usagepipe.schemas.errors import MissingExtraError, PriceFileError

if TYPE_CHECKING:
    import yaml

_NULLS: Final = ("", "~", "null", "Null", "NULL")
MAX_DEPTH: Final = 50  # a price file needs 9
_CLOSE: Final = 0.65  # input is close to input_mtok
_QUOTED_CHARS: Final = 60  # of a wrong value, in a message


class Problems:
    """Collects the problems of a file, so that one reading shows all of them."""

    def __init__(self) -> None:
        self._found: set[tuple[int, str]] = set()

    def add(self, node: "yaml.Node", message: str) -> None:
        """One more, at the line where `node` starts."""
        self._found.add((node.start_mark.line + 1, message))

    def raise_any(self) -> None:
        """Raises:
        PriceFileError: there are problems; they are in the order of the file.
        """
        if self._found:
            raise PriceFileError(sorted(self._found))


Field = tuple["yaml.Node", "yaml.Node"]  # key and value


def root_of(text: str) -> "yaml.Node | None":
    """The first node of the document, None if it is empty.

    Raises:
        PriceFileError: the text is not YAML.
        MissingExtraError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise MissingExtraError("prices", "PyYAML") from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast
    try:
        _check_depth(yaml.parse(text, loader))
        return yaml.compose(text, loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        is_tab = mark is not None and text[mark.index : mark.index + 1] == "\t"
        reason = "a tab cannot begin here: indent with spaces" if is_tab else error.problem
        raise PriceFileError([(line, f"this is no YAML: {reason}")]) from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        reason = str(error).partition("\n")[0]
        raise PriceFileError([(1, f"this is no YAML: {reason}")]) from None


def _check_depth(events: Iterable["yaml.Event"]) -> None:
    """Nested lists without end would overflow the stack of the C library that makes nodes."""
    depth = 0
    for event in events:
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise PriceFileError([(line, "this is nested too deeply")])


def kind_of(node: "yaml.Node") -> str:
    """scalar, sequence or mapping."""
    return str(getattr(node, "id", ""))


def fields_of(
    node: "yaml.Node", what: str, known: Collection[str], problems: Problems
) -> dict[str, Field] | None:
    """The fields of a mapping, by name, without those that are not known or come twice."""
    if kind_of(node) != "mapping":
        problems.add(node, f"{what} must be a mapping, with fields such as {_some(known)}")
        return None
    found: dict[str, Field] = {}
    for key, value in node.value:
        name = key.value if kind_of(key) == "scalar" else ""
        if name not in known:
            problems.add(key, f"{what} has no field {quoted(name)}: {_cure(name, known)}")
        elif name in found:
            line = found[name][0].start_mark.line + 1
            problems.add(key, f"{name} is already given in line {line}")
        else:
            found[name] = (key, value)
    return found


def items_of(node: "yaml.Node", what: str, problems: Problems) -> list["yaml.Node"]:
    """The items of a list."""
    if kind_of(node) == "sequence":
        return list(node.value)
    problems.add(node, f"{what} must be a list: start each item with '- '")
    return []


def text_of(node: "yaml.Node", what: str, problems: Problems) -> str | None:
    """The text of a scalar, or None if it has none."""
    if kind_of(node) != "scalar":
        problems.add(node, f"{what} must be one value")
        return None
    text: str = node.value.strip()
    if not text or (text in _NULLS and not getattr(node, "style", None)):  # without quotes
        problems.add(node, f"{what} is empty")
        return None
    return text


def one_or_more(node: "yaml.Node", what: str, problems: Problems) -> list["yaml.Node"]:
    """The items of a list, or the node itself if it is none."""
    if kind_of(node) != "sequence":
        return [node]
    if not node.value:
        problems.add(node, f"{what} is empty")
    return list(node.value)


def quoted(text: str) -> str:
    """`text` for a message."""
    return repr(text if len(text) <= _QUOTED_CHARS else f"{text[:_QUOTED_CHARS]}…")


def _cure(name: str, known: Collection[str]) -> str:
    close = get_close_matches(name, known, 1, _CLOSE)
    return f"did you mean {close[0]}?" if close else f"it may have {_some(known)}"


def _some(known: Collection[str]) -> str:
    names = list(known)
    return ", ".join(names if len(names) < 8 else [*names[:7], "…"])
