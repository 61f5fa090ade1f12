"""Kafka's messages and errors in the words of the port."""

from typing import Any

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, Message

from meshkit.errors import LogUnavailable
from meshkit.events.log import Record

_HEADERLESS: tuple[tuple[str, bytes], ...] = ()


def to_record(topic: str, message: Message) -> Record:
    """Return a message as a record of `topic`, the name without prefix."""
    kind, timestamp_ms = message.timestamp()
    headers: Any = message.headers()
    return Record(
        topic,
        message.partition() or 0,
        message.offset() or 0,
        _bytes(message.key()) or b"",
        _bytes(message.value()),
        tuple((name, value or b"") for name, value in headers) if headers else _HEADERLESS,
        timestamp_ms if kind != TIMESTAMP_NOT_AVAILABLE else 0,
    )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def unavailable(error: KafkaError) -> LogUnavailable:
    """Return the refusal that a broker's error amounts to."""
    if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        return LogUnavailable("the topic does not exist yet (mesh topics ensure)", retry_after=1.0)
    return LogUnavailable(f"the brokers do not answer: {error.str()}", retry_after=1.0)


__all__ = ["to_record", "unavailable"]
