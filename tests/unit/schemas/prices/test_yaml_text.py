"""Models as the text of a price file."""

from decimal import Decimal

import pytest
import yaml

from usagepipe.schemas.errors import PriceFileError
from usagepipe.schemas.prices import PriceBook, builtin_book, read_yaml
from usagepipe.schemas.prices.document import Entry, Period
from usagepipe.schemas.prices.units import Units
from usagepipe.schemas.prices.yaml_text import can_be_named, model_text, scalar

UNITS = Units(builtin_book().document.units)


def written(provider: str, entry: Entry, missing: tuple[str, ...] = ()) -> str:
    return model_text(provider, entry.id, entry.periods, entry.variants, missing, UNITS)


def is_complete(text: str) -> bool:
    return ":  #" not in text


def read(*models: str) -> PriceBook:
    return read_yaml("\n".join(["base: none", "models:", *models]), builtin_book())


def test_every_built_in_model_is_read_as_it_was_written() -> None:
    """Dates, hours, tiers and variants survive; what a file cannot say is left out."""
    entries = {(owner, e.id.lower()): e for owner, e in builtin_book().document.entries()}
    texts = {key: written(key[0], entry) for key, entry in entries.items()}
    complete = {
        key: text
        for key, text in texts.items()
        if is_complete(text) and all(period.rates for period in entries[key].periods)
    }

    found = read(*complete.values()).document

    assert len(complete) > 0.98 * len(texts)
    for owner, entry in found.entries():
        old = entries[owner, entry.id]
        assert sorted(map(repr, old.periods)) == sorted(map(repr, entry.periods)), entry.id
        assert {
            repr(each)
            for each in old.variants
            if each.rates and each.when.keys() <= {"service_tier", "processing"}
        } == set(map(repr, entry.variants)), entry.id


def test_an_empty_rate_is_a_mistake_until_it_is_filled_in() -> None:
    """The message names the rate and its line."""
    text = model_text("acme", "m-1", (), (), ("output_tokens", "input_tokens"), UNITS)

    with pytest.raises(PriceFileError) as caught:
        read(text)

    assert [(6, "input_mtok is empty"), (7, "output_mtok is empty")] == caught.value.problems
    filled = text.replace(":  #", ": 1  #")
    (entry,) = read(filled).document.providers[0].own
    assert {"input_tokens": Decimal(1), "output_tokens": Decimal(1)} == entry.periods[0].rates


def test_rates_that_overlap_come_with_the_rate_of_both() -> None:
    """Without it, the file would be refused."""
    period = Period(rates={"input_tokens": Decimal(1), "cache_read_tokens": Decimal("0.1")})

    text = model_text("", "m-1", [period], (), ("input_audio_tokens",), UNITS)

    assert "cache_audio_read_mtok:  # US dollars for 1,000,000" in text
    assert read(text.replace(":  #", ": 1  #"))


@pytest.mark.parametrize(
    "name",
    [
        "gpt-5",
        "meta/llama:70b",
        "a: b",
        "x #y",
        "123",
        "null",
        "No",
        "é\x1b\U0001f600",
        "'q\"",
        "-",
    ],
)
def test_a_name_is_read_as_it_was_written(name: str) -> None:
    """In ASCII, so that every terminal shows it and a file has it unchanged."""
    assert scalar(name).isascii()
    assert name == yaml.safe_load(scalar(name))
    found = read(model_text(name, name, (), (), ("requests",), UNITS).replace(":  #", ": 1  #"))
    assert name.lower() == found.document.providers[0].own[0].id


@pytest.mark.parametrize("name", ["", " x", "x*", "a*b"])
def test_some_names_cannot_be_in_a_price_file(name: str) -> None:
    """A star stands for other characters there, and blanks around a name do not count."""
    assert not can_be_named(name)
