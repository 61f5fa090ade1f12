"""Apache Kafka for tests: one broker (KRaft) as a process here, from Maven Central's jars.

    python tests/kafka_broker.py        fetches the jars, once (54 MB), and says where they are

Needs Java 17 and Maven; `missing()` says what is not there. Data survives `kill` and `stop`.
"""

import ctypes
import fcntl
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from cache import cache
from processes import free_ports

VERSION = "4.1.0"
START_SECONDS = 60
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>event-mesh</groupId><artifactId>kafka-for-tests</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""
_CLUSTER_ID = "ZXZlbnQtbWVzaC10ZXN0cw"


def missing() -> str | None:
    """What this machine lacks to run a broker, None where it can."""
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    return None


def jars() -> Path:
    """The folder with Kafka's jars, fetched on first use."""
    folder = cache() / f"kafka-{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock, tempfile.TemporaryDirectory() as project:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            sys.stderr.write(f"Fetching Apache Kafka {VERSION} into {folder} ...\n")
            pom = Path(project) / "pom.xml"
            pom.write_text(_POM)
            goal = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
            subprocess.run(["mvn", "-q", "-B", "-f", str(pom), *goal], check=True)
            (folder / "complete").touch()
    return folder


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class KafkaBroker:
    """One broker with its data in `folder`.

    `listener` is a further one beside the plain one, `extra` are further lines of
    server.properties, `users` get SCRAM-SHA-256 passwords.
    """

    def __init__(
        self,
        folder: Path,
        *,
        listener: str = "",
        extra: str = "",
        users: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.port, controller = free_ports(2)
        self.bootstrap_servers = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._properties = folder / "server.properties"
        plain = f"PLAINTEXT://127.0.0.1:{self.port}"
        self._users = [
            f"--add-scram=SCRAM-SHA-256=[name={name},password={password}]"
            for name, password in (users or {}).items()
        ]
        folder.mkdir(parents=True, exist_ok=True)
        self._properties.write_text(
            f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners={",".join(filter(None, (plain, listener)))},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
controller.listener.names=CONTROLLER
log.dirs={folder / "log"}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
{extra}
"""
        )
        self._java = [
            "java",
            "-Xms64m",
            "-Xmx256m",
            "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
            "-cp",
            f"{jars()}/*",
        ]

    def start(self) -> None:
        """Start it and wait until it takes requests."""
        log = self.folder / "kafka.log"
        with log.open("ab") as output:
            if not (self.folder / "log" / "meta.properties").exists():
                tool = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID]
                subprocess.run(
                    [*self._java, *tool, "-c", str(self._properties), *self._users],
                    check=True,
                    stdout=output,
                    stderr=output,
                )
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", str(self._properties)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A test run that is killed leaves no broker behind.
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"Kafka did not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP makes a broker that hangs, until SIGCONT."""
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def pid(self) -> int:
        """The process id, of the last start."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ask it to stop, and see to it."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.kill()

    def _answers(self) -> bool:
        """Whether it is registered: a Metadata request (v1, no topics) names a living broker."""
        request = bytes.fromhex("0000000e0003000100000001000000000000")
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.settimeout(2)
                connection.sendall(request)
                answer = b""
                while len(answer) < 12:
                    more = connection.recv(64)
                    if not more:
                        return False
                    answer += more
        except OSError:
            return False
        return int.from_bytes(answer[8:12], "big") > 0


if __name__ == "__main__":
    if lack := missing():
        print(f"No Kafka for tests here: {lack} (MESH_TEST_KAFKA=host:port names one that runs).")  # noqa: T201
    else:
        jars()
