"""The identity of a topic. A name is none: a deleted topic can be created again under it."""

from typing import NamedTuple


class TopicIdentity(NamedTuple):
    """The ids of a topic and its cluster. A topic created again under its name has another one."""

    cluster: str
    topic_id: str
