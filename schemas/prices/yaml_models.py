"""The items of a price file: models and discounts, each with the line where it stands."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from usagepipe.schemas.prices.document import Discount, Period, Variant
from usagepipe.schemas.prices.units import Units
from usagepipe.schemas.prices.yaml_nodes import (
    Field,
    Problems,
    fields_of,
    items_of,
    kind_of,
    one_or_more,
)
from usagepipe.schemas.prices.yaml_rates import RateReader
from usagepipe.schemas.prices.yaml_values import day_of, id_of, name_of, share_of

if TYPE_CHECKING:
    import yaml

MODEL_FIELDS: Final = ("model", "provider", "prices", "variants", "same_as")
DISCOUNT_FIELDS: Final = ("provider", "customer", "negotiated", "from")


@dataclass(frozen=True, slots=True)
class FileModel:
    """One name of a model in the file. A name that ends in * is that of every model like it."""

    node: "yaml.Node"  # of the name
    provider: str  # "": for every provider
    name: str
    periods: tuple[Period, ...] = ()
    variants: tuple[Variant, ...] = ()
    same_as: str = ""
    same_as_node: "yaml.Node | None" = None

    @property
    def prefix(self) -> str | None:
        """What the names of its models start with; None if it is one name."""
        return self.name[:-1] if self.name.endswith("*") else None


@dataclass(frozen=True, slots=True)
class FileDiscount:
    """A discount of the file."""

    node: "yaml.Node"
    discount: Discount


@dataclass(frozen=True, slots=True)
class FileProvider:
    """Another name of a provider."""

    node: "yaml.Node"  # of the name
    name: str
    same_as: str


@dataclass(frozen=True, slots=True)
class PriceFile:
    """All items of a file."""

    providers: tuple[FileProvider, ...]
    models: tuple[FileModel, ...]
    discounts: tuple[FileDiscount, ...]


def providers_of(node: "yaml.Node", problems: Problems) -> Iterator[FileProvider]:
    """Each other name of a provider."""
    if kind_of(node) != "mapping":
        problems.add(node, "providers must be a mapping, such as my-gateway: openai")
        return
    for key, value in node.value:
        name = name_of(key, "the name of a provider", problems)
        same_as = name_of(value, f"the provider of {name}", problems)
        if name is not None and same_as is not None:
            yield FileProvider(key, name, same_as)


def models_of(node: "yaml.Node", units: Units, problems: Problems) -> Iterator[FileModel]:
    """Each name of each model."""
    rates = RateReader(units, problems)
    for item in items_of(node, "models", problems):
        fields = fields_of(item, "a model", MODEL_FIELDS, problems)
        if fields is not None:
            yield from _names_of(item, fields, rates, problems)


def _names_of(
    item: "yaml.Node", fields: dict[str, Field], rates: RateReader, problems: Problems
) -> Iterator[FileModel]:
    if "model" not in fields:
        problems.add(item, "the model has no name: add model")
    if ("prices" in fields) == ("same_as" in fields):
        problems.add(item, "a model needs prices or same_as, and not both")
    if "variants" in fields and "prices" not in fields:
        problems.add(fields["variants"][0], "variants need prices, the rates of other requests")
    provider = _optional_name("provider", fields, problems)
    same_as = _optional_name("same_as", fields, problems)
    periods = rates.periods(fields["prices"][1]) if "prices" in fields else ()
    variants = rates.variants(fields["variants"][1], periods) if "variants" in fields else ()
    for node in one_or_more(fields["model"][1], "model", problems) if "model" in fields else ():
        name = name_of(node, "model", problems)
        if name is not None and "*" in name[:-1]:
            problems.add(node, f"{name}: * stands for the rest of a name, so it can only end it")
        elif name is not None and provider is not None and same_as is not None:
            target = fields["same_as"][1] if "same_as" in fields else None
            yield FileModel(node, provider, name, periods, variants, same_as, target)


def _optional_name(name: str, fields: dict[str, Field], problems: Problems) -> str | None:
    """The name, "" if it is not given, None if it is wrong."""
    return name_of(fields[name][1], name, problems) if name in fields else ""


def discounts_of(node: "yaml.Node", problems: Problems) -> Iterator[FileDiscount]:
    """Each discount."""
    for item in items_of(node, "discounts", problems):
        fields = fields_of(item, "a discount", DISCOUNT_FIELDS, problems)
        if fields is None:
            continue
        if "provider" not in fields and "customer" not in fields:
            problems.add(item, "the discount is for nobody: add provider, customer, or both")
        if "negotiated" not in fields:
            problems.add(item, "the discount has no negotiated, such as 0.92")
            continue
        provider = _optional_name("provider", fields, problems)
        customer = (
            id_of(fields["customer"][1], "customer", problems) if "customer" in fields else ""
        )
        since = day_of(fields["from"][1], "from", problems) if "from" in fields else None
        share = share_of(fields["negotiated"][1], "negotiated", problems)
        if provider is not None and customer is not None and share is not None:
            yield FileDiscount(
                item,
                Discount(provider=provider, customer=customer, since=since, negotiated=share),
            )
