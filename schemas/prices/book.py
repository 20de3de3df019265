"""A price book: an immutable document with the hash of its contents as its version."""

import hashlib
import json
from typing import Any, Final

from pydantic import ValidationError

from usagepipe.schemas.errors import DamagedBookError
from usagepipe.schemas.prices.document import Document
from usagepipe.schemas.prices.integrity import problems_of

VERSION_CHARS: Final = 16


class PriceBook:
    """Prices of models. Books with the same version have the same prices."""

    __slots__ = ("_text", "document", "version")

    def __init__(self, document: Document) -> None:
        self.document = document
        self._text = _canonical(document)
        self.version = hashlib.sha256(self._text.encode()).hexdigest()[:VERSION_CHARS]

    @classmethod
    def from_json(cls, text: str | bytes, version: str | None = None) -> "PriceBook":
        """The book that `to_json` wrote, of `version` if one is given.

        Raises:
            DamagedBookError: it is no book, or another than that of `version`.
        """
        name = f"price book {version}" if version else "price book"
        try:
            document = Document.model_validate_json(text)
        except ValidationError as error:
            raise DamagedBookError(name, _first_problem(error)) from None
        for problem in problems_of(document):
            raise DamagedBookError(name, problem)
        book = cls(document)
        if version is not None and book.version != version:
            raise DamagedBookError(name, f"its contents have the version {book.version}")
        return book

    def to_json(self) -> str:
        """The canonical document: equal books have equal texts."""
        return self._text

    def __repr__(self) -> str:
        return f"PriceBook({self.version})"


def _canonical(document: Document) -> str:
    fields: dict[str, Any] = document.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
