"""A price book: an immutable document with the hash of its contents as its version."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from pydantic import ValidationError

from usagepipe.schemas.errors import DamagedBookError, UnreadableBookError
from usagepipe.schemas.prices.document import Document
from usagepipe.schemas.prices.integrity import problems_of

VERSION_CHARS: Final = 16


class PriceBook:
    """Prices of models. Books with the same version have the same prices."""

    __slots__ = ("_text", "document", "version")

    def __init__(self, document: Document, text: str | None = None) -> None:
        """`text` is what a stored book was read from: it keeps its version, also if a later
        usagepipe would write the same document otherwise.
        """
        self.document = document
        self._text = _canonical(document) if text is None else text
        self.version = _version_of(self._text)

    @classmethod
    def from_json(cls, text: str | bytes, version: str | None = None) -> "PriceBook":
        """The book that `to_json` wrote, of `version` if one is given.

        Raises:
            DamagedBookError: the text is not a book, or not the book of `version`.
            UnreadableBookError: it is that of `version`, but uses what is unknown here.
        """
        if version is None:
            return cls(_document(text, partial(DamagedBookError, "price book")))
        name = f"price book {version}"
        if (found := _version_of(text)) != version:
            raise DamagedBookError(name, f"its contents have the version {found}")
        document = _document(text, partial(UnreadableBookError, name))
        return cls(document, text if isinstance(text, str) else text.decode())

    def to_json(self) -> str:
        """The canonical document: equal books have equal texts."""
        return self._text

    def __repr__(self) -> str:
        return f"PriceBook({self.version})"


def _version_of(text: str | bytes) -> str:
    contents = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    return hashlib.sha256(contents).hexdigest()[:VERSION_CHARS]


def _document(text: str | bytes, wrong: Callable[[str], DamagedBookError]) -> Document:
    try:
        document = Document.model_validate_json(text)
    except ValidationError as error:
        raise wrong(_first_problem(error)) from None
    for problem in problems_of(document):
        raise wrong(problem)
    return document


def _canonical(document: Document) -> str:
    fields: dict[str, Any] = document.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
