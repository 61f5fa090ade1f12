"""What librdkafka is told: the promises of the log, spelled as its settings.

Every other value is librdkafka's own default, which its authors know better. The reasons for those
that are not stand beside them.
"""

import logging
from dataclasses import dataclass, field
from typing import Any

# Records are bounded far below this by the services; a dead letter is one with headers added.
RECORD_BYTES_MOST = 2 * 1024 * 1024
DELIVERY_SECONDS = 10.0
METADATA_REFRESH_MS = 5_000

_SAID_AGAIN_SECONDS = 30.0


class _Seldom(logging.Filter):
    """Lets a message pass once in a while: while a broker is away, each attempt to reach it says
    the same, forty times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        # "FAIL [client] [thread] what": the kind, and which client it is about.
        kind = " ".join(record.getMessage().split(" ", 2)[:2])
        due = record.created >= self._said.get(kind, 0.0) + _SAID_AGAIN_SECONDS
        if due:
            self._said[kind] = record.created
        return due


librdkafka_log = logging.getLogger("librdkafka")
librdkafka_log.addFilter(_Seldom())


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Where the brokers are and how to speak to them. `prefix` goes before the names of topics and
    groups, for a cluster shared with others. Empty texts are left to librdkafka's defaults."""

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = ""
    sasl_username: str = ""
    sasl_password: str = field(default="", repr=False)
    ssl_ca_location: str = ""
    prefix: str = ""

    def settings(self) -> dict[str, Any]:
        """Return the settings that every client of these brokers has."""
        given = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol,
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.sasl_username,
            "sasl.password": self.sasl_password,
            "ssl.ca.location": self.ssl_ca_location,
        }
        return {name: value for name, value in given.items() if value} | {
            "client.id": "event-mesh",
            # The default backs off to ten seconds: a broker that is back would stand unused.
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1000,
            "log.connection.close": False,
            # A broker with `auto.create.topics.enable` makes a topic that a producer or an admin
            # client asks about, with its own defaults: a week later the events are gone. Documented
            # for consumers; librdkafka 2.16 obeys it in every client.
            "allow.auto.create.topics": False,
            # Partitions that somebody adds are noticed so soon; the default is five minutes.
            "topic.metadata.refresh.interval.ms": METADATA_REFRESH_MS,
            "logger": librdkafka_log,
        }

    def producer_settings(self) -> dict[str, Any]:
        """Return the settings of a producer: acknowledged means on every in-sync replica."""
        return self.settings() | {
            "acks": "all",
            "enable.idempotence": True,
            # As the Java client does, and the embedded log (`partition`). Not `murmur2_random`: it
            # differs for records without a key only, and all of ours have one.
            "partitioner": "murmur2",
            "compression.type": "lz4",
            # Long enough to share a request with others that come now, short beside its way.
            "linger.ms": 1,
            # A client waits for the answer: after this it is told, and may send again.
            "delivery.timeout.ms": int(DELIVERY_SECONDS * 1000),
            # Bounded, so that brokers that are away fill no memory; what is over it is refused.
            "queue.buffering.max.messages": 50_000,
            "queue.buffering.max.kbytes": 65_536,
            "message.max.bytes": RECORD_BYTES_MOST,
        }

    def consumer_settings(self, group: str) -> dict[str, Any]:
        """Return the settings of a member of `group`: nothing is committed but by our hand."""
        return self.settings() | {
            "group.id": self.prefix + group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": "cooperative-sticky",
            # The least that brokers take by default: so soon another takes over from a dead member.
            "session.timeout.ms": 6_000,
            "heartbeat.interval.ms": 1_500,
            # Read ahead, within bounds; and looked at again at once when there is room.
            "queued.min.messages": 20_000,
            "queued.max.messages.kbytes": 16_384,
            "fetch.queue.backoff.ms": 10,
            "fetch.error.backoff.ms": 50,
        }


__all__ = [
    "DELIVERY_SECONDS",
    "METADATA_REFRESH_MS",
    "RECORD_BYTES_MOST",
    "KafkaConnection",
    "librdkafka_log",
]
