"""The topic of the usage events, which every process that uses Kafka shares."""

from pydantic import Field

from usagepipe.schemas.settings.base import ProcessSettings
from usagepipe.schemas.settings.checks import TopicName
from usagepipe.schemas.settings.kafka import KafkaSettings
from usagepipe.schemas.topics import EVENTS_TOPIC, dead_letter_topic


class TopicSettings(KafkaSettings, ProcessSettings):
    """Kafka, and the topic of the usage events."""

    topic: TopicName = Field(default=EVENTS_TOPIC, description="Topic of the usage events.")

    @property
    def dead_letter_topic(self) -> str:
        return dead_letter_topic(self.topic)
