"""Kafka's messages and errors in the words of the port."""

from collections.abc import Sequence
from typing import Any, cast

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, Message

from meshkit.errors import LogUnavailable
from meshkit.events.log import Record


def to_record(topic: str, message: Message) -> Record:
    """Return a message as a record of `topic`, the name without prefix."""
    given: Any = message
    kind, timestamp_ms = given.timestamp()
    return Record(
        topic,
        given.partition(),
        given.offset(),
        given.key() or b"",
        given.value(),
        _headers(given.headers()),
        timestamp_ms if kind != TIMESTAMP_NOT_AVAILABLE else 0,
    )


def _headers(given: Sequence[tuple[str, bytes | None]] | None) -> tuple[tuple[str, bytes], ...]:
    """Return the headers as they are: making each of them anew costs more than reading a record."""
    for _, value in given or ():
        if value is None:
            return tuple((name, value or b"") for name, value in given or ())
    return cast(tuple[tuple[str, bytes], ...], tuple(given or ()))


def unavailable(error: KafkaError) -> LogUnavailable:
    """Return the refusal that a broker's error amounts to."""
    if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        return LogUnavailable("the topic does not exist yet (mesh topics ensure)", retry_after=1.0)
    return LogUnavailable(f"the brokers do not answer: {error.str()}", retry_after=1.0)


__all__ = ["to_record", "unavailable"]
