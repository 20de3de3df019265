"""A book is its contents: equal contents have one version, and damage is refused."""

import hashlib
import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.price_usage import book, entry, used
from usagepipe.schemas.errors import DamagedBookError, UnreadableBookError
from usagepipe.schemas.prices import PriceBook, Pricer, builtin_book
from usagepipe.schemas.prices.usage import NORMAL_UNITS

RATES = {"input_tokens": "5", "output_tokens": "15"}


def document(**changes: Any) -> dict[str, Any]:
    """The JSON of a small book, with other fields of its entry."""
    fields: dict[str, Any] = json.loads(book(entry(rates=RATES)).to_json())
    fields["providers"][0]["models"][0] |= changes
    return fields


def test_equal_contents_have_one_version() -> None:
    """How a rate is written does not count; what it is does."""
    first = book(entry(rates={"input_tokens": "5", "output_tokens": "15"}))
    again = book(entry(rates={"output_tokens": "15.0", "input_tokens": "5.000"}))
    another = book(entry(rates={"output_tokens": "15.000000000001", "input_tokens": "5"}))

    assert (first.version, first.to_json()) == (again.version, again.to_json())
    assert first.version != another.version
    assert 16 == len(first.version)


def test_the_version_of_a_book_never_changes() -> None:
    """Rows and announcements name it: the same prices must have the same version for ever."""
    units: dict[str, Any] = {
        name: {"per": 1, "rate_name": name, "dimensions": {}} for name in NORMAL_UNITS
    }
    fields = {
        "format": 1,
        "units": units,
        "providers": [{"id": "é", "models": [
            {"id": "m", "match": {"any_of": [{"equals": "m"}, {"regex": "^m-"}]}, "periods": [
                {"rates": {"requests": "0.50", "input_tokens": {"base": "1.0", "tiers": [
                    {"above": 9, "rate": "0.000000000000000001"}]}}},
                {"since": "2026-01-01", "daily": ["16:30", "00:30:00"], "rates": {}},
            ]},
        ]}],
        "discounts": [{"customer": "c", "negotiated": "1.00"}],
    }  # fmt: skip

    assert "ca8eb7e522029d8b" == PriceBook.from_json(json.dumps(fields)).version


def test_a_stored_book_is_read_as_it_was() -> None:
    """Text and bytes, with the version that was stored beside it."""
    stored = book(entry(rates=RATES))

    for text in (stored.to_json(), stored.to_json().encode()):
        read = PriceBook.from_json(text, stored.version)
        assert (stored.document, stored.version) == (read.document, read.version)
        assert Pricer(stored).price(used(7, 3)) == Pricer(read).price(used(7, 3))


def test_a_book_does_not_change() -> None:
    """Its prices may be in announcements and rows."""
    with pytest.raises(ValueError, match="frozen"):
        book(entry(rates=RATES)).document.format = 1


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (document(match={}), "must have exactly one condition"),
        (document(match={"equals": "a", "contains": "b"}), "must have exactly one condition"),
        (document(match={"regex": "("}), "is no regular expression"),
        (document(match={"like": "a"}), "Extra inputs are not permitted"),
        (document(periods=[]), "acme/m-1: it has no prices"),
        (document(periods=[{"rates": {"input_tokens": 5}}]), "must be text with a number"),
        (document(periods=[{"rates": {"input_tokens": "-5"}}]), "must be text with a number"),
        (document(periods=[{"rates": {"input_tokens": "NaN"}}]), "must be text with a number"),
        (document(periods=[{"rates": {"input_tokens": "1000000"}}]), "less than 1000000"),
        (document(periods=[{"rates": {"gold": "5"}}]), "acme/m-1: unknown unit gold"),
        (document(periods=[{"since": "2026-02-30", "rates": {}}]), "since"),
        (document(periods=[{"daily": ["16:30", "25:00"], "rates": {}}]), "daily"),
        (document(same_as={"provider": "acme", "model": "m-2"}), "acme/m-2, which has none"),
        (document(same_as={"provider": "acme", "model": "m-1"}), "acme/m-1, which has none"),
        (document(minimums={"gold": 1}), "unknown unit gold"),
        (document() | {"format": 2}, "format"),
        (document() | {"units": {}}, "it has no unit input_tokens"),
        (document() | {"providers": document()["providers"] * 2}, "the provider 'acme' twice"),
        (document() | {"providers": [{"id": "a", "same_as": "b"}]}, "it has no provider 'b'"),
        (document() | {"discounts": [{"negotiated": "0"}]}, "greater than 0"),
        ({}, "format: Field required"),
        ([], "should be an object"),
    ],
)
def test_a_damaged_book_is_refused(fields: object, named: str) -> None:
    """The message says what is wrong, and what to do."""
    with pytest.raises(DamagedBookError) as caught:
        PriceBook.from_json(json.dumps(fields))

    assert named in caught.value.detail
    assert "usagepipe prices apply" in str(caught.value)


TIERS = [{"above": 9, "rate": "1"}, {"above": 9, "rate": "2"}]


def test_tiers_must_ascend() -> None:
    """Two tiers for one prompt have no meaning."""
    rates = {"input_tokens": {"base": "3", "tiers": TIERS}}

    with pytest.raises(DamagedBookError, match="tiers of input_tokens are not in ascending order"):
        PriceBook.from_json(json.dumps(document(periods=[{"rates": rates}])))


@pytest.mark.parametrize("text", ["", "{", '{"format":1', "\x00", b"\xff\xfe", "null", "1"])
def test_what_is_no_document_is_refused(text: str | bytes) -> None:
    """A cut text, or none at all."""
    with pytest.raises(DamagedBookError):
        PriceBook.from_json(text)


def test_another_version_is_refused() -> None:
    """One changed digit makes a readable book, with other prices: its version shows it."""
    stored = book(entry(rates=RATES))
    damaged = stored.to_json().replace('"5"', '"6"')

    with pytest.raises(DamagedBookError, match=f"price book {stored.version} is damaged"):
        PriceBook.from_json(damaged, stored.version)


def stored_text(**fields: Any) -> tuple[str, str]:
    """A text that usagepipe would not write like this, and its version."""
    text = json.dumps(document() | fields, indent=1)
    return text, hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_stored_book_keeps_its_version() -> None:
    """Also if a later usagepipe writes the same document otherwise: rows name this version."""
    text, version = stored_text()

    read = PriceBook.from_json(text.encode(), version)

    assert (version, text) == (read.version, read.to_json())
    assert version == Pricer(read).version


def test_a_book_of_a_newer_usagepipe_is_not_called_damaged() -> None:
    """Its contents have its version. Applying it again would not help; an update does."""
    text, version = stored_text(regions=[])

    with pytest.raises(UnreadableBookError, match="A newer version stored it"):
        PriceBook.from_json(text, version)


def test_only_the_built_in_book_imports_genai_prices() -> None:
    """Its data and its HTTP client cost half a second and 20 MB, and YAML is for files alone."""
    program = """
import sys
from usagepipe.schemas.prices import PriceBook, Pricer, builtin_book
from usagepipe.schemas.prices.usage import NORMAL_UNITS
before = {"genai_prices", "yaml", "httpx2"} & set(sys.modules)
builtin_book()
print(sorted(before), "genai_prices.data" in sys.modules)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "[] True\n" == ended.stdout


def test_the_built_in_book_is_made_once() -> None:
    """It is the same object, since a book does not change."""
    assert builtin_book() is builtin_book()
