"""ClickHouse's exceptions: a code, a text, and the HTTP status a server answers with.

chDB raises bare `RuntimeError`s with the code in their text. Clients read it from the header
`X-ClickHouse-Exception-Code` and decide by the status whether to try again, so both must be a
server's.
"""

import re
from enum import IntEnum
from typing import Final

from usagepipe.schemas.errors import ClickHouseError


class Code(IntEnum):
    """The codes of the errors that this server itself raises."""

    BAD_ARGUMENTS = 36
    NOT_IMPLEMENTED = 48
    SYNTAX_ERROR = 62
    UNKNOWN_COMPRESSION_METHOD = 89
    UNKNOWN_SETTING = 115
    QUERY_IS_TOO_LARGE = 229
    CANNOT_DECOMPRESS = 271
    UNKNOWN_STATUS_OF_INSERT = 319
    ACCESS_DENIED = 497
    AUTHENTICATION_FAILED = 516
    UNKNOWN_EXCEPTION = 1002


# The statuses of a server's own table; every other code is a 500.
_STATUS_CODES: Final[dict[int, frozenset[int]]] = {
    400: frozenset(
        {6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321}
        | {376, 427, 441, 675, 676}
    ),
    401: frozenset({194}),
    403: frozenset({192, 193, 497, 512, 516}),
    404: frozenset({46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511}),
    408: frozenset({159}),
    411: frozenset({381}),
    413: frozenset({229}),
    501: frozenset({48}),
    503: frozenset({76, 209, 439}),
}
_STATUS: Final = {code: status for status, codes in _STATUS_CODES.items() for code in codes}
_CODE: Final = re.compile(r"Code: (\d+)\. DB::Exception: ")


def refusal(code: Code, reason: str) -> ClickHouseError:
    """An error that this server itself raises, worded like ClickHouse's."""
    return ClickHouseError(code, f"Code: {code}. DB::Exception: {reason} ({code.name})")


def engine_error(error: Exception) -> ClickHouseError:
    """ClickHouse's error inside an error of chDB, without the binding's own prefix."""
    text = str(error).strip()
    if found := _CODE.search(text):
        return ClickHouseError(int(found[1]), text[found.start() :])
    return refusal(Code.UNKNOWN_EXCEPTION, text or type(error).__name__)


def http_status(error: ClickHouseError) -> int:
    """The HTTP status that a server answers with."""
    return _STATUS.get(error.code, 500)
