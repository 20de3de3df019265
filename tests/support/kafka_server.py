"""Finds the Kafka of a test run: one that is set, else a container, else one on the JVM."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.apache_kafka import ApacheKafka, kafka_answers
from tests.support.kafka_jars import kafka_version
from tests.support.ports import HOST, lasting_port
from tests.support.servers import Server, docker_answers
from tests.support.waiting import eventually

VARIABLE: Final = "USAGEPIPE_TEST_KAFKA"
START_SECONDS: Final = 120  # a container's image may have to be fetched first
REACH_SECONDS: Final = 10


@contextmanager
def kafka_server(folder: Path) -> Iterator[Server]:
    """A Kafka that answers, for as long as the context is open. `folder` is for its data.

    Raises:
        NoServerError: there is none, and none can be started.
        AssertionError: the one that `USAGEPIPE_TEST_KAFKA` names does not answer.
    """
    if given := os.environ.get(VARIABLE):
        reached = kafka_answers(given, REACH_SECONDS)
        assert reached, f"{VARIABLE} is {given!r} and no Kafka answers there"
        yield Server(f"Kafka at {given} ({VARIABLE})", given)
    elif docker_answers():
        with _container() as server:
            yield server
    else:
        with ApacheKafka(folder) as kafka:
            yield Server(kafka.label, kafka.bootstrap)


@contextmanager
def _container() -> Iterator[Server]:
    from testcontainers.core.container import DockerContainer

    image = f"apache/kafka:{kafka_version()}"
    port = lasting_port()  # fixed beforehand: the broker must know where it is reached
    bootstrap = f"{HOST}:{port}"
    container = DockerContainer(image).with_bind_ports(port, port)
    with container.with_envs(**_environment(port)):
        eventually(lambda: kafka_answers(bootstrap, 2), START_SECONDS, f"{image} at {bootstrap}")
        yield Server(f"{image} in a container", bootstrap)


def _environment(port: int) -> dict[str, str]:
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://localhost:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{HOST}:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    }
