"""JSON that commands print: a terminal never obeys it, and a parser reads the same values."""

import json

import pytest

from usagepipe.query.cards import json_text

OBEYED = "\x1b[2J \x7f \x9b \u202e \u2028 \u2029 \u200f \u00ad \ufeff \u00a0 \U000e0041 \ud800"


@pytest.mark.parametrize("indent", [None, 2])
def test_what_a_terminal_obeys_is_escaped(indent: int | None) -> None:
    """In values and names, also above U+FFFF; the value stays the same."""
    document = {"name": OBEYED, OBEYED: [OBEYED, 1, None]}

    text = json_text(document, indent=indent)

    assert text.replace("\n", "").isprintable()
    assert "\\u202e" in text
    assert "\\u2028" in text
    assert document == json.loads(text)


@pytest.mark.parametrize("name", ["Zoë", "Алиса", "陈伟", "سارة", "👍", 'a "b" \\'])
def test_scripts_stay_readable(name: str) -> None:
    """Only what `visible` replaces is escaped."""
    assert json.dumps(name, ensure_ascii=False) == json_text(name)
