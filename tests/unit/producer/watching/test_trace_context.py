"""The header `traceparent` in the form of W3C Trace Context, and in every other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usagepipe.producer.watching.trace_context import trace_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
IDS = {"trace_id": TRACE, "span_id": SPAN}
DIGITS = "0123456789abcdef"


def hexadecimal(digits: int) -> st.SearchStrategy[str]:
    return st.text(DIGITS, min_size=digits, max_size=digits)


trace_ids = hexadecimal(32).filter(lambda text: text != "0" * 32)
span_ids = hexadecimal(16).filter(lambda text: text != "0" * 16)
versions = hexadecimal(2).filter(lambda text: text != "ff")
later_versions = versions.filter(lambda text: text != "00")


@given(versions, trace_ids, span_ids, hexadecimal(2))
def test_valid_header_has_its_ids(version: str, trace: str, span: str, flags: str) -> None:
    """Version, trace id, parent id and flags: the two ids in the middle, as they were sent."""
    found = trace_of(f"{version}-{trace}-{span}-{flags}")

    assert {"trace_id": trace, "span_id": span} == found


@given(later_versions, trace_ids, span_ids, st.text())
def test_later_version_may_say_more(version: str, trace: str, span: str, more: str) -> None:
    """Fields that a later version of the standard appends after a dash are ignored."""
    found = trace_of(f"{version}-{trace}-{span}-01-{more}")

    assert {"trace_id": trace, "span_id": span} == found


@given(st.text() | st.from_regex(r"[0-9a-fA-F]{2}-[0-9a-f]{30,34}-[0-9a-f]{14,18}-.*"))
def test_whatever_is_sent_only_ids_come_out(header: str) -> None:
    """No text of a stranger gets through: there are two ids of the standard's form, or none."""
    found = trace_of(header)

    sizes = [len(value) for value in found.values()]
    assert sizes in ([], [32, 16])
    assert set() == set("".join(found.values())) - set(DIGITS)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "-",
        TRACE,
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0x",
        f"00-{TRACE}-{SPAN}-01-",  # version 00 has nothing after its flags
        f"00-{TRACE}-{SPAN}-01-what-the-future-may-bring",
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01",  # sent twice
        f"01-{TRACE}-{SPAN}-01.more",  # a later version, but no dash before what is new
        f"01-{TRACE}-{SPAN}-011",
        f"01-{TRACE}-{SPAN}",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",  # a digit, of another script
        f"00-{TRACE}-{SPAN}-01\n",
        "00-" * 100_000,
    ],
)
def test_invalid_header_has_no_ids(header: str) -> None:
    """Ids of all zeros, capitals, other lengths, the version that the standard forbids."""
    assert {} == trace_of(header)


def test_blanks_around_a_header_are_none_of_it() -> None:
    """HTTP allows them around any value."""
    assert IDS == trace_of(f" \t00-{TRACE}-{SPAN}-00 ")
