"""The settings: one frozen model per kind of process, read once and passed down.

Every field is `USAGEPIPE_<FIELD>`; a command's option wins over its variable. A wrong setting stops
only the processes that use it.
"""

from usagepipe.schemas.settings.address import ClickHouseAddress
from usagepipe.schemas.settings.base import plain
from usagepipe.schemas.settings.checks import PREFIX
from usagepipe.schemas.settings.clickhouse import ClickHouseSettings
from usagepipe.schemas.settings.complete import Settings
from usagepipe.schemas.settings.producer import ProducerSettings
from usagepipe.schemas.settings.storage import MigrationSettings, QuerySettings, StorageSettings
from usagepipe.schemas.settings.worker import WorkerSettings

__all__ = [
    "PREFIX",
    "ClickHouseAddress",
    "ClickHouseSettings",
    "MigrationSettings",
    "ProducerSettings",
    "QuerySettings",
    "Settings",
    "StorageSettings",
    "WorkerSettings",
    "plain",
]
