"""Asking how far a group has come, while the broker that knows it is not found at once."""

from collections.abc import Sequence

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition  # noqa: TID251 - its errors

from meshkit.events import kafka_log, kafka_messages
from meshkit.events.kafka_config import KafkaConnection


class Broker:
    """A client library whose first answers are errors."""

    def __init__(self, errors: Sequence[int]) -> None:
        self.errors = list(errors)

    def committed(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """Fail, or say that all is committed up to 7."""
        if self.errors:
            raise KafkaException(KafkaError(self.errors.pop(0)))
        return [TopicPartition(place.topic, place.partition, 7) for place in places]


@pytest.fixture
def asker(monkeypatch: pytest.MonkeyPatch) -> kafka_log._Asker:
    monkeypatch.setattr(kafka_messages, "_ASK_AGAIN_SECONDS", 0.0)
    return kafka_log._Asker(KafkaConnection("127.0.0.1:1"), "group")


async def test_coordinator_that_moves_is_asked_again(asker: kafka_log._Asker) -> None:
    broker = Broker([KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS])
    asker._consumer = broker  # type: ignore[assignment]
    assert await asker.committed("topic", [0, 1]) == {0: 7, 1: 7}
    assert broker.errors == []


async def test_other_errors_are_told_at_once(asker: kafka_log._Asker) -> None:
    broker = Broker([KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.NOT_COORDINATOR])
    asker._consumer = broker  # type: ignore[assignment]
    with pytest.raises(KafkaException):
        await asker.committed("topic", [0])
    assert broker.errors == [KafkaError.NOT_COORDINATOR]
