"""Every setting of usagepipe in one model, for programs that run all parts, such as the demo."""

from usagepipe.schemas.settings.producer import ProducerSettings
from usagepipe.schemas.settings.storage import MigrationSettings
from usagepipe.schemas.settings.worker import WorkerSettings


class Settings(ProducerSettings, WorkerSettings, MigrationSettings):
    """All settings. A process that runs one part loads that part's model instead."""
