"""Why ClickHouse may never take the worker's inserts: the reasons that the preflight reports.

A reason is evidence and not yet a verdict: a restart or a cut connection can cause each of them,
so `preflight` repeats the check before the worker ends.
"""

from typing import TYPE_CHECKING, Final

from usagepipe.schemas.clickhouse.client import UNKNOWN_TABLE, error_code
from usagepipe.schemas.clickhouse.codes import lacking_right
from usagepipe.schemas.errors import RightMissingError, StartRefusedError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

AT_OWN_RISK: Final = "To start without this check, at your own risk: USAGEPIPE_PREFLIGHT=off."

_ACCESS_DENIED: Final = 497
# Somebody has to change something before it can succeed.
_FOR_GOOD: Final = {
    115: "does not know a setting of the worker's inserts: it is older than 25.8",
    164: "lets its user only read",
    452: "forbids its user to change a setting of the worker's inserts",
    UNKNOWN_TABLE: "lost a table that this worker had just made, in every attempt: several servers "
    "answer at its address, and a repeated insert may reach another one. Name one server",
}


def refusal(error: Exception, client: "Client") -> StartRefusedError | None:
    """Why the worker may not start, if `error` of the preflight is a reason.

    None: try again later.
    """
    code = error_code(error)
    if code == _ACCESS_DENIED:
        return _lacking_rights(error, client)
    if code in _FOR_GOOD:
        return StartRefusedError(f"ClickHouse {_FOR_GOOD[code]} (code {code}). {AT_OWN_RISK}")
    return None


def _lacking_rights(error: Exception, client: "Client") -> StartRefusedError:
    user = client.command("SELECT currentUser()")
    return RightMissingError(
        f"The ClickHouse user {user} may not check on scratch tables what the server does: it "
        f"lacks {lacking_right(str(error)) or 'a right'}. GRANT SELECT, INSERT, CREATE TABLE, "
        f"CREATE VIEW, DROP TABLE, DROP VIEW ON {client.database}.* TO {user}. {AT_OWN_RISK}"
    )
