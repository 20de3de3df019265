"""The identity of a topic. A name does not identify it: a new topic can have an old name."""

from typing import NamedTuple


class TopicIdentity(NamedTuple):
    """The ids of a topic and its cluster. A topic created again under its name has another one."""

    cluster: str
    topic_id: str
