"""Reads the operator's price file, and makes a book of it and of the prices it builds on.

`docs/prices.md` describes the file. Its order and comments are not part of the book.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeVar

from usagepipe.schemas.errors import PriceFileError
from usagepipe.schemas.prices.book import PriceBook
from usagepipe.schemas.prices.document import FORMAT, Document
from usagepipe.schemas.prices.units import Units
from usagepipe.schemas.prices.yaml_checks import check_file
from usagepipe.schemas.prices.yaml_entries import with_file
from usagepipe.schemas.prices.yaml_models import (
    PriceFile,
    discounts_of,
    models_of,
    providers_of,
)
from usagepipe.schemas.prices.yaml_nodes import Field, Problems, fields_of, quoted, root_of, text_of

if TYPE_CHECKING:
    import yaml

FILE_FIELDS: Final = ("base", "providers", "models", "discounts")
Item = TypeVar("Item")
BUILT_IN: Final = "built-in"
NONE: Final = "none"


def read_yaml(text: str, base: PriceBook) -> PriceBook:
    """The book that the file describes, on top of `base` unless it says `base: none`.

    Raises:
        PriceFileError: the file is wrong; `problems` has the line and sentence of each problem.
        MissingExtraError: PyYAML is not installed.
    """
    root = root_of(text)
    if root is None:
        raise PriceFileError([(1, "the file is empty")])
    problems = Problems()
    fields = fields_of(root, "a price file", FILE_FIELDS, problems)
    document = _document(fields or {}, base.document, problems)
    problems.raise_any()
    return PriceBook(document)


def _document(fields: dict[str, Field], base: Document, problems: Problems) -> Document:
    units = Units(base.units)
    file = PriceFile(
        providers=_read(fields, "providers", lambda node: providers_of(node, problems)),
        models=_read(fields, "models", lambda node: models_of(node, units, problems)),
        discounts=_read(fields, "discounts", lambda node: discounts_of(node, problems)),
    )
    if "base" in fields and _is_none(fields["base"][1], problems):
        base = Document(format=FORMAT, units=base.units)
    document = with_file(base, file)
    check_file(file, base, document, problems)
    return document


def _read(
    fields: dict[str, Field], name: str, read: "Callable[[yaml.Node], Iterable[Item]]"
) -> "tuple[Item, ...]":
    return tuple(read(fields[name][1])) if name in fields else ()


def _is_none(node: "yaml.Node", problems: Problems) -> bool:
    text = text_of(node, "base", problems)
    if text not in (None, BUILT_IN, NONE):
        problems.add(node, f"base is {quoted(text or '')}: write {BUILT_IN} or {NONE}")
    return text == NONE
