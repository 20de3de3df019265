"""Apache Kafka itself (KRaft, one node) on this machine's JVM.

It keeps its log on disk, so `kill` followed by `start` is a broker's crash and its return, which
the embedded broker of `usagepipe local` cannot show.
"""

import base64
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.support.kafka_jars import jars, kafka_version
from tests.support.ports import HOST, is_answered, lasting_port
from tests.support.servers import NoServerError
from tests.support.tether import Tether
from tests.support.waiting import eventually

START_SECONDS: Final = 60
STOP_SECONDS: Final = 30
# A broker of a test lives too short to earn back what the optimising compiler costs.
JVM: Final = ("-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
# Kafka refuses a broker that returns until the session of its former life is over (9 s unless
# set); a heartbeat a second leaves room for a busy machine. A controller at rest need not write to
# its log twice a second.
SESSION_MS: Final = 4_000
PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}{more_listeners}
advertised.listeners=PLAINTEXT://{host}:{port}{more_listeners}
controller.listener.names=CONTROLLER
log.dirs={folder}/log
broker.session.timeout.ms={session_ms}
broker.heartbeat.interval.ms=1000
metadata.max.idle.interval.ms=10000
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
"""


class ApacheKafka:
    """One broker on a folder and a port, which it keeps over `kill` and `start`."""

    def __init__(
        self, folder: Path, properties: str = "", listeners: Mapping[str, int] | None = None
    ) -> None:
        """Choose ports; nothing is started. `properties` are lines of the broker's configuration
        besides ours, `listeners` the ports of listeners besides the one in plain text.

        Raises:
            NoServerError: Java or the jars cannot be had.
        """
        self._java = _java()
        self._jars = jars()
        self._folder = folder
        self._more_properties = properties
        self._listeners = dict(listeners or {})
        self.port = lasting_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._tether: Tether | None = None

    @property
    def label(self) -> str:
        """The name of the server, for the report of a run."""
        return f"Apache Kafka {kafka_version()} on this machine's JVM"

    @property
    def bootstrap(self) -> str:
        """`host:port`; also while it is down."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The id of the broker's process; 0 while it is down."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start the broker, again or for the first time; returns when it answers."""
        assert self._process is None, "started already"
        if not self._properties.exists():
            self._format()
        with self._output() as output:
            self._process = subprocess.Popen(
                self._command("kafka.Kafka", str(self._properties)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the test run, which stops it in its order
            )
        self._tether = Tether(self._process.pid)
        eventually(self._answers, START_SECONDS, lambda: f"Kafka; it said:\n{self.words()}")

    def stop(self) -> None:
        """Stop the broker in order. May be called again."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the broker as a crash would (`kill -9`)."""
        self._end(signal.SIGKILL)

    def words(self) -> str:
        """The end of the broker's output."""
        path = self._folder / "output"
        return path.read_text(errors="replace")[-2_000:] if path.exists() else ""

    @property
    def _properties(self) -> Path:
        return self._folder / "server.properties"

    def _output(self) -> IO[bytes]:
        return (self._folder / "output").open("ab")

    def _command(self, *arguments: str) -> list[str]:
        level = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return [self._java, *JVM, level, "-cp", f"{self._jars}/*", *arguments]

    def _format(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / "server.properties.new"
        draft.write_text(
            self._more_properties
            + PROPERTIES.format(
                host=HOST,
                port=self.port,
                controller_port=lasting_port(),
                more_listeners="".join(
                    f",{name}://{HOST}:{port}" for name, port in self._listeners.items()
                ),
                folder=self._folder,
                session_ms=SESSION_MS,
            )
        )
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        storage = ("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}")
        with self._output() as output:
            ended = subprocess.run(
                self._command(*storage, "-c", str(draft)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
        if ended.returncode:
            raise RuntimeError(f"Kafka's folder could not be formatted:\n{self.words()}")
        draft.rename(self._properties)  # there once the folder is formatted

    def _answers(self) -> bool:
        assert self._process is not None
        if (status := self._process.poll()) is not None:
            raise RuntimeError(f"Kafka ended with status {status}; it said:\n{self.words()}")
        return is_answered(self.port) and kafka_answers(self.bootstrap, 2)

    def _end(self, number: signal.Signals) -> None:
        if (process := self._process) is None:
            return
        self._process = None
        if self._tether:
            self._tether.cut()
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def kafka_answers(bootstrap: str, seconds: float) -> bool:
    """Whether a broker answers there within `seconds`."""
    try:
        return bool(
            AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
            .list_topics(timeout=seconds)
            .brokers
        )
    except KafkaException:
        return False


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if not java:
        raise NoServerError("Docker does not answer and Java is not installed")
    return java
