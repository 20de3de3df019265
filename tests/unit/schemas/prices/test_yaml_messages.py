"""Every mistake in a price file is found in one reading, with its line and what to write."""

from textwrap import dedent

import pytest

from usagepipe.schemas.errors import PriceFileError
from usagepipe.schemas.prices import builtin_book, read_yaml

MODEL = "models:\n  - model: m-1\n"
PRICES = MODEL + "    prices:\n      output_mtok: 1\n"
TIERED = MODEL + "    prices:\n      input_mtok:\n"
VARIANT = PRICES + "    variants:\n"
DISCOUNT = "discounts:\n  - customer: acme\n"


def problems(text: str) -> list[tuple[int, str]]:
    """All problems of a file."""
    with pytest.raises(PriceFileError) as caught:
        read_yaml(text, builtin_book())
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        # The file.
        ("", 1, "the file is empty"),
        ("# nothing\n", 1, "the file is empty"),
        (
            "- a\n",
            1,
            "a price file must be a mapping, with fields such as base, providers, models",
        ),
        ("# ü\nmodels:\n\t- model: a\n", 3, "a tab cannot begin here: indent with spaces"),
        ("models: [\n", 2, "this is no YAML: did not find expected node content"),
        ("a: b: c\n", 1, "this is no YAML: mapping values are not allowed in this context"),
        (
            "model: []\n",
            1,
            "a price file has no field 'model': did you mean models?",
        ),
        ("base: none\nbase: none\n", 2, "base is already given in line 1"),
        ("base: mine\n", 1, "base is 'mine': write built-in or none"),
        ("base: []\n", 1, "base must be one value"),
        ("models: x\n", 1, "models must be a list: start each item with '- '"),
        ("discounts: {}\n", 1, "discounts must be a list: start each item with '- '"),
        ("modus: x\n", 1, "has no field 'modus': did you mean models?"),
        ("hat: x\n", 1, "has no field 'hat': it may have base, providers, models, discounts"),
        # Providers.
        ("providers: []\n", 1, "providers must be a mapping, such as my-gateway: openai"),
        ("providers: {a: }\n", 1, "the provider of a is empty"),
        ("providers: {a: opanai}\n", 1, "the book has no provider opanai"),
        ("providers: {a: openai, A: azure}\n", 1, "the provider a is named twice"),
        ("providers: {a: b, b: openai}\n", 1, "the book has no provider b"),
        ("providers: {OpenAI: azure}\n", 1, "the book already has a provider openai"),
        # A model.
        ("models:\n  - x\n", 2, "a model must be a mapping, with fields such as model, provider"),
        ("models:\n  - provider: p\n    same_as: gpt-5\n", 2, "the model has no name: add model"),
        (MODEL, 2, "a model needs prices or same_as, and not both"),
        (PRICES + "    same_as: gpt-5\n", 2, "a model needs prices or same_as, and not both"),
        (MODEL + "    price: 1\n    same_as: gpt-5\n", 3, "a model has no field 'price'"),
        ("models:\n  - model:\n    same_as: gpt-5\n", 2, "model is empty"),
        ("models:\n  - model: []\n    same_as: gpt-5\n", 2, "model is empty"),
        ("models:\n  - model: ~\n    same_as: gpt-5\n", 2, "model is empty"),
        (
            "models:\n  - model: a*b\n    same_as: gpt-5\n",
            2,
            "a*b: * stands for the rest of a name",
        ),
        (f"models:\n  - model: {'m' * 257}\n", 2, "model is longer than 256 characters"),
        (MODEL + "    provider: [a, b]\n    same_as: gpt-5\n", 3, "provider must be one value"),
        # Rates.
        (MODEL + "    prices: 1\n", 3, "prices must be a mapping, with fields such as from"),
        (MODEL + "    prices: []\n", 3, "prices is empty"),
        (MODEL + "    prices: {}\n", 3, "prices has no rate, such as input_mtok"),
        (MODEL + "    prices: {from: 2026-01-01}\n", 3, "prices has no rate, such as input_mtok"),
        (PRICES + "      input: 1\n", 5, "prices has no field 'input': did you mean input_mtok?"),
        (PRICES + "      output_mtok: 2\n", 5, "output_mtok is already given in line 4"),
        (PRICES + "      input_mtok: -0.5\n", 5, "input_mtok is -0.5: a rate is 0 or more"),
        (
            PRICES + "      input_mtok: 1000000\n",
            5,
            "below 1,000,000 US dollars for 1,000,000 units",
        ),
        (PRICES + "      audio_hours: 1e9\n", 5, "below 1,000,000 US dollars for 3,600 units"),
        (
            PRICES + "      input_mtok: 1e-19\n",
            5,
            "input_mtok is 1E-19: a rate has at most 18 decimals",
        ),
        (
            PRICES + "      input_mtok: .nan\n",
            5,
            "input_mtok is '.nan': write a number, such as 0.25",
        ),
        (PRICES + "      input_mtok: 1,5\n", 5, "input_mtok is '1,5': write a number"),
        (PRICES + "      input_mtok: $2\n", 5, "input_mtok is '$2': write a number"),
        (PRICES + "      input_mtok: 1e999\n", 5, "input_mtok is '1e999': write a number"),
        (PRICES + "      input_mtok:\n", 5, "input_mtok is empty"),
        (
            PRICES + "      per_request: 1000\n",
            5,
            "per_request is 1000: it must be below 1,000 US d",
        ),
        (
            PRICES + "      per_request: 1\n      requests_kcount: 1000\n",
            5,
            "per_request and requests_kcount are the same rate",
        ),
        (
            PRICES + "      input_mtok: 1\n      input_audio_mtok: 2\n      cache_read_mtok: 3\n",
            4,
            "cache_read_mtok and input_audio_mtok overlap: add cache_audio_read_mtok",
        ),
        # Tiers.
        (TIERED + "        base: 1\n", 5, "input_mtok needs base and tiers, or is one number"),
        (TIERED + "        base: 1\n        tiers: 2\n", 6, "tiers of input_mtok must be a list"),
        (
            TIERED + "        base: 1\n        tiers: [{start: 5}]\n",
            6,
            "a tier of input_mtok needs start, in prompt tokens, and price",
        ),
        (
            TIERED + "        base: 1\n        tiers: [{start: 2e5, price: 1}]\n",
            6,
            "start of a tier of input_mtok is '2e5': write a number of tokens, as 200000",
        ),
        (
            TIERED + "        base: 1\n        tiers: [{start: 5, price: -1}]\n",
            6,
            "price of a tier of input_mtok is -1: a rate is 0 or more",
        ),
        (
            TIERED
            + "        base: 1\n        tiers: [{start: 5, price: 1}, {start: 5, price: 2}]\n",
            5,
            "two tiers of input_mtok start at the same size of prompt",
        ),
        # Dates and hours.
        (
            PRICES + "      from: 2026-02-30\n",
            5,
            "from is '2026-02-30': write a day of the calendar",
        ),
        (PRICES + "      from: 1 May\n", 5, "from is '1 May': write a day of the calendar"),
        (PRICES + "      start_time: 16:30\n", 5, "start_time and end_time need each other"),
        (
            PRICES + "      start_time: 24:00\n      end_time: 25:00\n",
            5,
            "start_time is '24:00': write a time of day in UTC, as 16:30",
        ),
        (
            PRICES + "      start_time: 16:30\n      end_time: 16:30:00\n",
            6,
            "end_time is start_time: no hour is between",
        ),
        (
            MODEL + "    prices:\n      - {input_mtok: 1}\n      - {input_mtok: 2}\n",
            5,
            "two prices count at every date",
        ),
        (
            MODEL + "    prices:\n      - {from: 2026-01-01, input_mtok: 1}\n"
            "      - {from: 2026-01-01, input_mtok: 2}\n",
            5,
            "two prices count from 2026-01-01 on",
        ),
        # Variants.
        (MODEL + "    same_as: gpt-5\n    variants: []\n", 4, "variants need prices, the rates of"),
        (
            VARIANT + "      - prices: {input_mtok: 1}\n",
            6,
            "the variant counts for no request: add",
        ),
        (VARIANT + "      - service_tier: flex\n", 6, "the variant has no prices"),
        (
            VARIANT + "      - {batch: false, prices: {input_mtok: 1}}\n",
            6,
            "batch must be true, or",
        ),
        (
            VARIANT + "      - {service_tier: , prices: {input_mtok: 1}}\n",
            6,
            "service_tier is empty",
        ),
        (
            VARIANT + "      - {batch: true, prices: {input_mtok: 1}}\n" * 2,
            7,
            "another variant counts for the same requests",
        ),
        # Entries against each other.
        (
            PRICES + "  - {model: M-1, same_as: gpt-5}\n",
            5,
            "m-1: two entries match the same model of every provider; the other is in line 2",
        ),
        (
            "models:\n  - {model: m*, same_as: gpt-5, provider: P}\n"
            "  - {model: m-1*, same_as: gpt-5, provider: p}\n",
            3,
            "m-1* and m*: two entries match the same model of the provider p; the other is in",
        ),
        (
            MODEL + "    same_as: openai/gpt-none\n",
            3,
            "same_as: the book has no price for openai/gpt-none",
        ),
        (
            "models:\n  - {model: a, same_as: b}\n  - {model: b, same_as: a}\n",
            2,
            "same_as leads back to itself or too far: a -> b -> a -> b -> …",
        ),
        # Discounts.
        ("discounts:\n  - negotiated: 0.9\n", 2, "the discount is for nobody: add provider, cust"),
        (DISCOUNT, 2, "the discount has no negotiated, such as 0.92"),
        (DISCOUNT + "    negotiated: 8\n", 3, "negotiated is 8: it is the part of the list price"),
        (DISCOUNT + "    negotiated: 0\n", 3, "negotiated is 0: it is the part of the list price"),
        (DISCOUNT + "    negotiated: -0.9\n", 3, "negotiated is -0.9: it is the part of the list"),
        (
            DISCOUNT + "    negotiated: 1e-19\n",
            3,
            "negotiated is 1E-19: it has at most 18 decimals",
        ),
        (DISCOUNT + "    negotiated: 8%\n", 3, "negotiated is '8%': write a number"),
        (DISCOUNT + "    rate: 0.9\n", 3, "a discount has no field 'rate'"),
        (DISCOUNT + "    negotiated: 0.9\n    from: May\n", 4, "from is 'May': write a day"),
        (
            "discounts:\n  - {provider: opanai, negotiated: 0.9}\n",
            2,
            "the book has no provider opanai",
        ),
        (
            "discounts:\n  - {provider: vertex_ai, negotiated: 0.9}\n",
            2,
            "the book has no provider vertex_ai: it is google there",
        ),
        (
            "discounts:\n" + "  - {customer: acme, negotiated: 0.9}\n" * 2,
            3,
            "the discount of line 2 is for the same and begins then",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, line: int, message: str) -> None:
    """The file has this one mistake, or others that follow from it."""
    found = problems(text)

    assert [each for each in found if each[0] == line and message in each[1]], found


def test_all_mistakes_are_found_at_once() -> None:
    """In the order of the file, wherever they are."""
    text = dedent("""\
        base: nothing
        modles: []
        models:
          - model: [a, b]
            prices: {input_mtok: -1, output_mtok: x}
          - model: c
            provider: acme
            prices: {input_mtok: 1, gold_mtok: 1}
          - model: a
            same_as: none-such
        discounts:
          - provider: acme
            negotiated: 92
        """)

    assert [
        (1, "base is 'nothing': write built-in or none"),
        (2, "a price file has no field 'modles': did you mean models?"),
        (5, "input_mtok is -1: a rate is 0 or more"),
        (5, "output_mtok is 'x': write a number, such as 0.25 or 1e-6"),
        (8, "prices has no field 'gold_mtok': it may have from, start_time, end_time, per_request, "
         "input_mtok, output_mtok, cache_read_mtok, …"),
        (9, "a: two entries match the same model of every provider; the other is in line 4"),
        (10, "same_as: the book has no price for none-such"),
        (13, "negotiated is 92: it is the part of the list price that you pay, above 0 and at most "
         "1 (0.92 for a discount of 8 %)"),
    ] == problems(text)  # fmt: skip


def test_every_overlap_of_stars_is_found() -> None:
    """Also with a name between them, and only for the same provider."""
    names = ("m-2*", "k*", "m*", "m-1*", "n*")
    text = "models:\n" + "".join(f"  - {{model: {name}, same_as: gpt-5}}\n" for name in names)
    text += "  - {model: m-3*, provider: acme, same_as: gpt-5}\n"

    assert [(4, "m* and m-2*"), (5, "m-1* and m*")] == [
        (line, message.partition(":")[0]) for line, message in problems(text)
    ]


def test_the_error_shows_every_line() -> None:
    """As a command prints it."""
    with pytest.raises(PriceFileError) as caught:
        read_yaml("base: x\nmodels: y\n", builtin_book())

    assert (
        "line 1: base is 'x': write built-in or none\n"
        "line 2: models must be a list: start each item with '- '"
    ) == str(caught.value)
    assert 2 == caught.value.exit_status


def test_yaml_that_expands_is_not_expanded() -> None:
    """Aliases of aliases: what no field asks for is not read."""
    levels = "".join(f"  l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 30))
    found = problems(f"bomb:\n  l0: &l0 [x]\n{levels}base: none\n")

    assert [1] == [line for line, _ in found]


def test_endless_nesting_is_refused() -> None:
    """It would end the process: the C library has no limit of its own."""
    assert [(1, "this is nested too deeply")] == problems("models: " + "[" * 200_000)


def test_long_values_are_cut_in_messages() -> None:
    """A message stays readable."""
    ((_, message),) = problems(PRICES + f"      input_mtok: {'9' * 5000}x\n")

    assert len(message) < 150
