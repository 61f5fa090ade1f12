"""Kafka's messages and errors in the words of the port."""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar, cast

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException, Message

from meshkit.clock import monotonic
from meshkit.errors import LogUnavailable
from meshkit.events.log import Record

T = TypeVar("T")

_ASK_AGAIN_SECONDS = 0.1


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
        return LogUnavailable("the topic does not exist (mesh topics ensure)", retry_after=1.0)
    return LogUnavailable(f"the brokers do not answer: {error.str()}", retry_after=1.0)


def asked_again(call: Callable[[], T], moving: Collection[int], seconds: float) -> T:
    """Return what a call returns; it is made again for so many seconds while its error is one of
    `moving`: a leader or coordinator is about to be another one. Raises KafkaException. Blocks.
    """
    give_up_at = monotonic() + seconds
    while True:
        try:
            return call()
        except KafkaException as error:
            if error.args[0].code() not in moving or monotonic() > give_up_at:
                raise
            time.sleep(_ASK_AGAIN_SECONDS)


__all__ = ["asked_again", "to_record", "unavailable"]
