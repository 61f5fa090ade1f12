"""What the AsyncAPI document says of each message's key, and of the partition that follows from it.

The Kafka bindings have no field for a partitioner, so it is an extension (`x-partitioner`).
"""

from typing import Any

PARTITIONER = (
    "murmur2 of the key (seed 0x9747b28c, `(hash & 0x7fffffff) % partitions`): the default of the"
    " Java client, franz-go, Redpanda Connect and Debezium; `partitioner=murmur2` in librdkafka"
)
KEY: dict[str, Any] = {
    "type": "string",
    "description": "`<tenantUid>/<userId>`: compaction keeps the newest event of each user, and all"
    " events of a user lie in one partition, in order.",
    "examples": ["0b5a4c1e-7d53-4d0a-9a57-2f1d0c1f8a11/alice-1"],
}
KEY_OF_OTHERS = KEY | {
    "description": "`<tenantUid>/<userId>`, as for the events of user-service. An event under"
    " another key, or without one, is indexed too; but compaction goes by the key."
}
KEY_OF_A_LETTER = {
    "type": "string",
    "description": "That of the record that was set aside, byte for byte. The topic has one"
    " partition, to which all records go.",
}
ONE_PARTITION = "none: always partition 0"


def key_binding(key: dict[str, Any], partitioner: str = PARTITIONER) -> dict[str, Any]:
    """Return the Kafka binding of a message with such a key."""
    return {"kafka": {"key": key, "bindingVersion": "0.5.0", "x-partitioner": partitioner}}


__all__ = ["KEY", "KEY_OF_A_LETTER", "KEY_OF_OTHERS", "ONE_PARTITION", "PARTITIONER", "key_binding"]
