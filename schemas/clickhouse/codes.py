"""The meaning of ClickHouse's error codes: kind, name and reason.

A server's own text is not used: it may quote rows and queries.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class Kind(StrEnum):
    """What causes an error, and so what the worker does about it."""

    CONTENT = "content"  # a record is refused: cut the batch in half to find it
    SERVER = "server"  # the server is in trouble: retry until it recovers
    OPERATOR = "operator"  # try again; it fails until an operator changes something


class Known(NamedTuple):
    """What is known of a code."""

    kind: Kind
    name: str
    why: str


# A row is wrong, if the error names it. A batch is one block, which the server parses as a whole
# before it writes the first part: it has stored nothing of a refused batch.
_CONTENT: Final = {
    6: ("CANNOT_PARSE_TEXT", "a value is not of its column's type"),
    25: ("CANNOT_PARSE_ESCAPE_SEQUENCE", "a text has an invalid escape sequence"),
    26: ("CANNOT_PARSE_QUOTED_STRING", "a text is not closed"),
    27: ("CANNOT_PARSE_INPUT_ASSERTION_FAILED", "a value is not of its column's type"),
    38: ("CANNOT_PARSE_DATE", "a value is not a date"),
    41: ("CANNOT_PARSE_DATETIME", "a value is not a time"),
    69: ("ARGUMENT_OUT_OF_BOUND", "a decimal has too many digits"),
    70: ("CANNOT_CONVERT_TYPE", "a value does not fit its column's type"),
    72: ("CANNOT_PARSE_NUMBER", "a value is not a number of its column's type"),
    117: ("INCORRECT_DATA", "a field is unknown, occurs twice, or is null where it must not be"),
    130: ("CANNOT_READ_ARRAY_FROM_TEXT", "a value is not an array"),
    131: ("TOO_LARGE_STRING_SIZE", "a text is too long"),
    321: ("VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE", "a value is out of its column's range"),
    349: ("CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN", "a value is null where it must not be"),
    376: ("CANNOT_PARSE_UUID", "a value is not a UUID"),
    407: ("DECIMAL_OVERFLOW", "a decimal is too large"),
    441: ("CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING", "a value is not of its column's type"),
    467: ("CANNOT_PARSE_BOOL", "a value is not a boolean"),
    469: ("VIOLATED_CONSTRAINT", "a row breaks a constraint of the table"),
    563: ("CANNOT_READ_MAP_FROM_TEXT", "a value is not a map"),
    632: ("UNEXPECTED_DATA_AFTER_PARSED_VALUE", "a value continues after its end"),
    691: ("UNKNOWN_ELEMENT_OF_ENUM", "a value is not in its column's enum"),
}

# Errors that end when the server recovers.
_SERVER: Final = {
    # The rows are complete JSON, so the body was cut on its way.
    3: ("UNEXPECTED_END_OF_FILE", "the body was cut on its way"),
    32: ("ATTEMPT_TO_READ_AFTER_EOF", "the body was cut on its way"),
    33: ("CANNOT_READ_ALL_DATA", "the body was cut on its way"),
    # Busy.
    158: ("TOO_MANY_ROWS", "a limit on rows was reached"),
    159: ("TIMEOUT_EXCEEDED", "it took too long"),
    160: ("TOO_SLOW", "the query was slower than its limit"),
    202: ("TOO_MANY_SIMULTANEOUS_QUERIES", "too many queries run"),
    203: ("NO_FREE_CONNECTION", "no connection is free"),
    216: ("QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING", "the same query still runs"),
    236: ("ABORTED", "the server stops"),
    252: ("TOO_MANY_PARTS", "merges do not keep up with inserts"),
    290: ("LIMIT_EXCEEDED", "a limit of the server was reached"),
    319: ("UNKNOWN_STATUS_OF_INSERT", "the rows may or may not be stored"),
    364: ("RECEIVED_ERROR_TOO_MANY_REQUESTS", "its storage is overloaded"),
    373: ("SESSION_IS_LOCKED", "the session is in use"),
    394: ("QUERY_WAS_CANCELLED", "the query was cancelled"),
    439: ("CANNOT_SCHEDULE_TASK", "no thread is free"),
    473: ("DEADLOCK_AVOIDED", "the table is locked"),
    574: ("DISTRIBUTED_TOO_MANY_PENDING_BYTES", "too much waits for the other shards"),
    700: ("USER_SESSION_LIMIT_EXCEEDED", "the user has too many sessions"),
    733: ("TABLE_IS_BEING_RESTARTED", "the table is being restarted"),
    735: ("QUERY_WAS_CANCELLED_BY_CLIENT", "the connection was lost"),
    745: ("SERVER_OVERLOADED", "the server is overloaded"),
    749: ("TCP_CONNECTION_LIMIT_REACHED", "too many connections"),
    762: ("HTTP_CONNECTION_LIMIT_REACHED", "too many connections"),
    1019: ("QUERY_SLOT_ACQUISITION_TIMEOUT", "too many queries run"),
    # Out of memory or disk.
    173: ("CANNOT_ALLOCATE_MEMORY", "out of memory"),
    241: ("MEMORY_LIMIT_EXCEEDED", "out of memory"),
    777: ("MEMORY_RESERVATION_KILLED", "out of memory"),
    778: ("MEMORY_RESERVATION_FAILED", "out of memory"),
    1020: ("MEMORY_RESERVATION_ACQUISITION_TIMEOUT", "out of memory"),
    75: ("CANNOT_WRITE_TO_FILE_DESCRIPTOR", "the disk is full or broken"),
    76: ("CANNOT_OPEN_FILE", "the disk is broken or files are used up"),
    204: ("CANNOT_FSYNC", "the disk is full or broken"),
    243: ("NOT_ENOUGH_SPACE", "the disk is full"),
    499: ("S3_ERROR", "its storage fails"),
    # Network, and the rest of a cluster.
    198: ("DNS_ERROR", "a name is not found"),
    209: ("SOCKET_TIMEOUT", "the network is slow"),
    210: ("NETWORK_ERROR", "the network fails"),
    225: ("NO_ZOOKEEPER", "Keeper is unreachable"),
    242: ("TABLE_IS_READ_ONLY", "the replica has lost Keeper"),
    244: ("UNEXPECTED_ZOOKEEPER_ERROR", "Keeper fails"),
    254: ("NO_ACTIVE_REPLICAS", "no replica is up"),
    255: ("TOO_MANY_RETRIES_TO_FETCH_PARTS", "a replica cannot be read"),
    279: ("ALL_CONNECTION_TRIES_FAILED", "the other shards are unreachable"),
    285: ("TOO_FEW_LIVE_REPLICAS", "too few replicas are up"),
    286: ("UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE", "too few replicas are up"),
    297: ("SHARD_HAS_NO_CONNECTIONS", "a shard is unreachable"),
    369: ("ALL_REPLICAS_ARE_STALE", "the replicas lag"),
    384: ("PART_IS_TEMPORARILY_LOCKED", "a part is locked"),
    415: ("ALL_REPLICAS_LOST", "no replica is up"),
    416: ("REPLICA_STATUS_CHANGED", "a replica has just changed"),
    529: ("NOT_A_LEADER", "a replica has just changed"),
    999: ("KEEPER_EXCEPTION", "Keeper fails"),
}

# Errors that stay until an operator changes the server, the tables, or the settings.
_OPERATOR_CODES: Final = {
    8: ("THERE_IS_NO_COLUMN", "a column is missing: run usagepipe migrate"),
    10: ("NOT_FOUND_COLUMN_IN_BLOCK", "a column is missing: run usagepipe migrate"),
    16: ("NO_SUCH_COLUMN_IN_TABLE", "a column is missing: run usagepipe migrate"),
    20: ("NUMBER_OF_COLUMNS_DOESNT_MATCH", "a view and its table differ: run usagepipe migrate"),
    36: ("BAD_ARGUMENTS", "a setting or a definition is wrong"),
    43: ("ILLEGAL_TYPE_OF_ARGUMENT", "a definition is wrong"),
    44: ("ILLEGAL_COLUMN", "a column cannot be written"),
    46: ("UNKNOWN_FUNCTION", "a definition is wrong, or the server is too old"),
    47: ("UNKNOWN_IDENTIFIER", "a column is missing: run usagepipe migrate"),
    48: ("NOT_IMPLEMENTED", "the table's engine or the server does not support it"),
    53: ("TYPE_MISMATCH", "a column has another type"),
    60: ("UNKNOWN_TABLE", "a table is missing: run usagepipe migrate"),
    62: ("SYNTAX_ERROR", "a proxy changes the queries, or the server is too old"),
    73: ("UNKNOWN_FORMAT", "the server is too old"),
    81: ("UNKNOWN_DATABASE", "the database is missing: run usagepipe migrate"),
    115: ("UNKNOWN_SETTING", "the server is too old"),
    164: ("READONLY", "the user or the server is read-only"),
    192: ("UNKNOWN_USER", "the user is not known: correct USAGEPIPE_CLICKHOUSE"),
    193: ("WRONG_PASSWORD", "the password is wrong: correct USAGEPIPE_CLICKHOUSE"),
    194: ("REQUIRED_PASSWORD", "a password is missing: add it to USAGEPIPE_CLICKHOUSE"),
    195: ("IP_ADDRESS_NOT_ALLOWED", "the user may not log in from this host: allow it"),
    201: ("QUOTA_EXCEEDED", "the user's quota is used up"),
    218: ("TABLE_IS_DROPPED", "a table is missing: run usagepipe migrate"),
    229: ("QUERY_IS_TOO_LARGE", "a limit of the server is too low"),
    291: ("DATABASE_ACCESS_DENIED", "the user lacks a right on the database: GRANT it"),
    342: ("METADATA_MISMATCH", "the replicas' tables differ"),
    344: ("SUPPORT_IS_DISABLED", "the server does not support it"),
    381: ("HTTP_LENGTH_REQUIRED", "a proxy changes the requests"),
    392: ("QUERY_IS_PROHIBITED", "the server forbids it"),
    395: ("FUNCTION_THROW_IF_VALUE_IS_NON_ZERO", "a view or a default refuses the rows"),
    452: ("SETTING_CONSTRAINT_VIOLATION", "the user may not change a setting that an insert needs"),
    472: ("READONLY_SETTING", "the user may not change a setting that an insert needs"),
    497: ("ACCESS_DENIED", "the user lacks a right: GRANT it"),
    516: (
        "AUTHENTICATION_FAILED",
        "the user or the password is wrong: correct USAGEPIPE_CLICKHOUSE",
    ),
    620: ("QUERY_NOT_ALLOWED", "the server forbids it"),
    720: ("USER_EXPIRED", "the user has expired: extend VALID UNTIL, or name another user"),
    746: ("DEPENDENCIES_NOT_FOUND", "a view's table is missing: run usagepipe migrate"),
    763: ("SESSION_REFUSED", "the user may not log in"),
    764: ("DEDUPLICATION_IS_NOT_POSSIBLE", "a view's table cannot drop repeated blocks"),
    774: ("TABLE_IS_PERMANENTLY_READ_ONLY", "the table was made read-only"),
    1016: ("TABLE_SIZE_LIMIT_EXCEEDED", "the table has reached its limit"),
}

_BY_KIND: Final = {Kind.CONTENT: _CONTENT, Kind.SERVER: _SERVER, Kind.OPERATOR: _OPERATOR_CODES}
TABLE: Final[Mapping[int, Known]] = {
    code: Known(kind, name, why)
    for kind, part in _BY_KIND.items()
    for code, (name, why) in part.items()
}

# With these codes the server refuses this worker altogether. Another worker may have another user,
# password or address, so this one leaves its partitions to others.
LOCKED_OUT: Final = frozenset({81, 192, 193, 194, 195, 291, 497, 516, 720, 763})

_RIGHT: Final = re.compile(r"(?:have the grant|lacks the right) ([A-Z ]+[A-Z])(?: ON |\(|:)")


def lacking_right(text: str) -> str:
    """The right that is missing according to `text`, as `INSERT`; "" if it names none."""
    found = _RIGHT.search(text)
    return found[1] if found else ""


def reason(code: int, text: str) -> str:
    """Why a server answers `code` with the message `text`, in words; "" for an unknown code."""
    if right := lacking_right(text):
        return f"the user lacks the right {right}: GRANT it"
    return TABLE[code].why if code in TABLE else ""


def title(code: int) -> str:
    """Code and name for a message, as `code 243 NOT_ENOUGH_SPACE`."""
    return f"code {code} {TABLE[code].name}" if code in TABLE else f"code {code}"
