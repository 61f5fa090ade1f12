"""The topics in Kafka: made where they are missing, compared where they are there.

A topic that differs is reported and never changed: more partitions would send a user's later
events to another partition than the earlier ones, and another clean-up policy would delete the
system of record.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from meshkit.errors import LogUnavailable
from meshkit.events.compaction import DELETE_RETENTION_MS
from meshkit.events.kafka_calls import called
from meshkit.events.kafka_config import RECORD_BYTES_MOST, KafkaConnection
from meshkit.events.log import TOPICS, TopicSpec

_CALL_SECONDS = 5.0
_BROKER_DEFAULT = -1


@dataclass(frozen=True, slots=True)
class TopicState:
    """What was found: `created` now, or there already, and then how it `differs`, each difference
    as one sentence."""

    name: str
    created: bool
    differs: tuple[str, ...] = ()


async def ensure_topics(
    connection: KafkaConnection,
    topics: Iterable[TopicSpec] = TOPICS,
    *,
    replication: int = _BROKER_DEFAULT,
) -> list[TopicState]:
    """Make the topics that are missing, with so many replicas, and compare the others.

    Raises LogUnavailable where the brokers do not answer or refuse.
    """
    causes: list[KafkaError] = []
    admin = AdminClient(connection.settings() | {"error_cb": causes.append})
    try:
        return await called(
            lambda: _ensure(connection, admin, tuple(topics), replication), "kafka-topics"
        )
    except KafkaException as error:
        # That nobody answers is the outcome; a certificate or a password may be the cause.
        admin.poll(0)
        telling = [cause for cause in causes if cause.code() != KafkaError._ALL_BROKERS_DOWN]
        cause = (telling or [error.args[0]])[-1]
        detail = f"{connection.bootstrap_servers}: {cause.str()}"
        raise LogUnavailable(detail, retry_after=1.0) from None


def topic_config(topic: TopicSpec) -> dict[str, str]:
    """Return the settings that a topic has to have in Kafka."""
    return {
        "cleanup.policy": "compact" if topic.compact else "delete",
        "retention.ms": "-1",
        "delete.retention.ms": str(DELETE_RETENTION_MS),
        "max.message.bytes": str(RECORD_BYTES_MOST),
        # A record's time is when the log took it, whatever the clock of the one who sent it.
        "message.timestamp.type": "LogAppendTime",
    }


def _ensure(
    connection: KafkaConnection,
    admin: AdminClient,
    topics: tuple[TopicSpec, ...],
    replication: int,
) -> list[TopicState]:
    wanted = {connection.prefix + topic.name: topic for topic in topics}
    there = admin.list_topics(timeout=_CALL_SECONDS).topics
    created = {name for name in wanted if name not in there}
    new = [
        NewTopic(name, wanted[name].partitions, replication, config=topic_config(wanted[name]))
        for name in wanted
        if name in created
    ]
    for name, answer in (
        admin.create_topics(new, request_timeout=_CALL_SECONDS).items() if new else ()
    ):
        try:
            answer.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            # Another one has made it since: it is compared like any that was there.
            created.discard(name)
            there = admin.list_topics(timeout=_CALL_SECONDS).topics
    found = [name for name in wanted if name not in created]
    configs = _configs(admin, found)
    return [
        TopicState(name, created=True)
        if name in created
        else TopicState(
            name, False, _differences(wanted[name], len(there[name].partitions), configs[name])
        )
        for name in wanted
    ]


def _configs(admin: AdminClient, names: list[str]) -> dict[str, Mapping[str, str]]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    answers = admin.describe_configs(resources, request_timeout=_CALL_SECONDS)
    return {
        resource.name: {name: str(entry.value) for name, entry in answer.result().items()}
        for resource, answer in answers.items()
    }


def _differences(topic: TopicSpec, partitions: int, config: Mapping[str, str]) -> tuple[str, ...]:
    differences = []
    if partitions != topic.partitions:
        differences.append(f"has {partitions} partitions, not {topic.partitions}")
    for name, wanted in topic_config(topic).items():
        # Brokers that do not know a setting do not list it.
        if name in config and config[name] != wanted:
            differences.append(f"has {name} {config[name]}, not {wanted}")
    return tuple(differences)


__all__ = ["TopicState", "ensure_topics", "topic_config"]
