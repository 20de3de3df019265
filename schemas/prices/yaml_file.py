"""Reads the operator's price file, and makes a book of it and of the prices it builds on.

`docs/prices.md` describes the file. Its order and comments are not part of the book.
"""

from typing import TYPE_CHECKING, Final

from usagepipe.schemas.errors import PriceFileError
from usagepipe.schemas.prices.book import PriceBook
from usagepipe.schemas.prices.document import FORMAT, Document
from usagepipe.schemas.prices.units import Units
from usagepipe.schemas.prices.yaml_checks import check_aliases, check_discounts, check_names
from usagepipe.schemas.prices.yaml_entries import targets_of, with_models
from usagepipe.schemas.prices.yaml_models import discounts_of, models_of
from usagepipe.schemas.prices.yaml_nodes import Field, Problems, fields_of, quoted, root_of, text_of

if TYPE_CHECKING:
    import yaml

_FIELDS: Final = ("base", "models", "discounts")
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
    fields = fields_of(root, "a price file", _FIELDS, problems)
    document = _document(fields or {}, base.document, problems)
    problems.raise_any()
    return PriceBook(document)


def _document(fields: dict[str, Field], base: Document, problems: Problems) -> Document:
    units = Units(base.units)
    models = list(models_of(fields["models"][1], units, problems)) if "models" in fields else []
    discounts = (
        list(discounts_of(fields["discounts"][1], problems)) if "discounts" in fields else []
    )
    if "base" in fields and _is_none(fields["base"][1], problems):
        base = Document(format=FORMAT, units=base.units)
    check_names(models, problems)
    targets = targets_of(base, models)
    document = with_models(base, models, [each.discount for each in discounts], targets)
    check_aliases(models, targets, document, problems)
    check_discounts(discounts, document, problems)
    return document


def _is_none(node: "yaml.Node", problems: Problems) -> bool:
    text = text_of(node, "base", problems)
    if text not in (None, BUILT_IN, NONE):
        problems.add(node, f"base is {quoted(text or '')}: write {BUILT_IN} or {NONE}")
    return text == NONE
