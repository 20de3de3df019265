"""What a request says beside its statement."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from urllib3.filepost import encode_multipart_formdata

from usagepipe.local.clickhouse.exceptions import http_status
from usagepipe.local.clickhouse.requests import Account, read_call, read_form
from usagepipe.schemas.errors import ClickHouseError


def request(query: str = "", method: str = "POST", **headers: str) -> Request:
    return Request(
        {
            "type": "http",
            "method": method,
            "path": "/",
            "query_string": query.encode(),
            "headers": [
                (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
            ],
        }
    )


def test_url_is_settings_but_for_the_names_of_the_interface() -> None:
    """Every parameter that the interface does not handle itself reaches the engine."""
    call = read_call(
        request(
            "query=SELECT+1&database=d&insert_deduplication_token=a%27b%26c&max_threads=2"
            "&param_who=x%0Ay&session_id=s&wait_end_of_query=1&query_id=q"
        ),
        {},
    )

    assert {"insert_deduplication_token": "a'b&c", "max_threads": "2"} == call.scope.settings
    assert {"who": "x\ny"} == call.scope.parameters
    assert "d" == call.scope.database
    assert ("SELECT 1", True) == (call.query, call.whole)


def test_get_only_reads() -> None:
    """A link that somebody is made to follow changes no data."""
    assert read_call(request(method="GET"), {}).scope.read_only
    assert not read_call(request(method="POST"), {}).scope.read_only


def test_answer_is_packed_only_on_request() -> None:
    """As on a server, `enable_http_compression` decides, not the header alone."""
    asked = read_call(request("enable_http_compression=1", accept_encoding="gzip"), {})
    not_asked = read_call(request(accept_encoding="gzip"), {})

    assert ("gzip", "") == (asked.answer_coding, not_asked.answer_coding)


def test_own_block_compression_is_refused() -> None:
    """Without it the data would be taken for what they are not."""
    with pytest.raises(ClickHouseError) as caught:
        read_call(request("decompress=1"), {})

    assert 48 == caught.value.code


@given(
    st.dictionaries(
        st.from_regex(r"param_\w{1,9}", fullmatch=True).filter(str.isascii),
        st.text(st.characters(exclude_categories=["Cs"])),
        min_size=1,
    )
)
def test_form_keeps_every_character(fields: dict[str, str]) -> None:
    """Line ends, NUL, quotes and emoji come out of a multipart form as they went in."""
    body, content_type = encode_multipart_formdata(fields)

    assert fields == read_form(content_type, body)


def test_tables_sent_along_are_refused() -> None:
    """An external table would be left out silently."""
    body, content_type = encode_multipart_formdata({"t": ("t.tsv", b"1\n")})

    with pytest.raises(ClickHouseError) as caught:
        read_form(content_type, body)

    assert 48 == caught.value.code


BASIC = "Basic " + b64encode(b"me:secret").decode()


@pytest.mark.parametrize(
    "own",
    [
        request(authorization=BASIC),
        request(x_clickhouse_user="me", x_clickhouse_key="secret"),
        request("user=me&password=secret"),
    ],
)
def test_account_is_known_by_its_password(own: Request) -> None:
    """The three ways in which clients send it."""
    Account("me", "secret").check(own)


@pytest.mark.parametrize(
    "foreign",
    [
        request(),
        request("user=me&password=wrong"),
        request("user=me"),
        request(authorization="Basic not base64"),
        request(authorization="Basic " + b64encode(b"me").decode()),
    ],
)
def test_others_are_refused(foreign: Request) -> None:
    """Anybody else gets ClickHouse's AUTHENTICATION_FAILED; no password is in the text."""
    with pytest.raises(ClickHouseError) as caught:
        Account("me", "secret").check(foreign)

    assert (516, 403) == (caught.value.code, http_status(caught.value))
    assert "secret" not in caught.value.text


def test_default_account_has_no_password() -> None:
    """As a fresh ClickHouse."""
    Account().check(request())
    Account().check(request(authorization="Basic " + b64encode(b"default:").decode()))
