"""The topics in Kafka: looked at, made where they are missing, repaired where that is safe.

Looking never makes a topic: no request here names one in a way that a broker with
`auto.create.topics.enable` would take for a wish (`allow.auto.create.topics` is false for all of
our clients, see `kafka_config`).

Repaired is what keeps more than before. Setting `cleanup.policy` to `compact` on a topic that has
records drops all but the newest of each key, and is only done where it was asked for: the topic may
be somebody else's. The number of partitions is never changed.
"""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from meshkit.clock import monotonic
from meshkit.errors import LogUnavailable
from meshkit.events.kafka_calls import called
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.log import TOPICS, TopicSpec
from meshkit.events.topic_rules import Difference, FoundTopic, differences, topic_config

_CALL_SECONDS = 5.0
_KNOWN_SECONDS = 5.0
_ASK_AGAIN_SECONDS = 0.05
_BROKER_DEFAULT = -1
_NOT_ALLOWED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)


@dataclass(frozen=True, slots=True)
class TopicState:
    """What was found: `created` now, or there already; what was `repaired`, each as one sentence;
    and how it still differs (`remaining`)."""

    name: str
    created: bool
    remaining: tuple[Difference, ...] = ()
    repaired: tuple[str, ...] = ()

    @property
    def differs(self) -> tuple[str, ...]:
        """Each difference as one sentence."""
        return tuple(difference.text for difference in self.remaining)

    @property
    def refuses(self) -> bool:
        """Whether publishing to the topic would lose events, and is refused."""
        return any(difference.refuses for difference in self.remaining)


async def ensure_topics(
    connection: KafkaConnection,
    topics: Iterable[TopicSpec] = TOPICS,
    *,
    replication: int = _BROKER_DEFAULT,
    fix: bool = False,
) -> list[TopicState]:
    """Make the topics that are missing, with so many replicas, and repair the others.

    With `fix`, also where that drops records: all but the newest of each key. Raises
    LogUnavailable where the brokers do not answer or refuse.
    """
    causes: list[KafkaError] = []
    admin = AdminClient(connection.settings() | {"error_cb": causes.append})
    try:
        return await called(
            lambda: _ensure(connection, admin, tuple(topics), replication, fix), "kafka-topics"
        )
    except KafkaException as error:
        # That nobody answers is the outcome; a certificate or a password may be the cause.
        admin.poll(0)
        telling = [cause for cause in causes if cause.code() != KafkaError._ALL_BROKERS_DOWN]
        cause = (telling or [error.args[0]])[-1]
        detail = f"{connection.bootstrap_servers}: {cause.str()}"
        raise LogUnavailable(detail, retry_after=1.0) from None


def look_at(admin: AdminClient, names: Iterable[str]) -> dict[str, FoundTopic | None]:
    """Return the topics as they are in Kafka now, None for one that is not there.

    Waits for the brokers; raises KafkaException.
    """
    described = admin.describe_topics(TopicCollection(list(names)), request_timeout=_CALL_SECONDS)
    there = {}
    found: dict[str, FoundTopic | None] = {}
    for name, answer in described.items():
        try:
            there[name] = answer.result().partitions
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
            found[name] = None
    if there:
        brokers = len(admin.describe_cluster(request_timeout=_CALL_SECONDS).result().nodes)
        configs = _configs(admin, there)
        for name, partitions in there.items():
            replicas = min((len(one.replicas) for one in partitions), default=0)
            found[name] = FoundTopic(len(partitions), replicas, brokers, configs[name])
    return found


def _ensure(
    connection: KafkaConnection,
    admin: AdminClient,
    topics: tuple[TopicSpec, ...],
    replication: int,
    fix: bool,
) -> list[TopicState]:
    wanted = {connection.prefix + topic.name: topic for topic in topics}
    created = _create(admin, wanted, replication)
    repaired = {}
    found = look_at(admin, [name for name in wanted if name not in created])
    for name, one in found.items():
        if one is not None:
            repaired[name] = _repair(admin, name, differences(wanted[name], one), one, fix)
    states = []
    for name in wanted:
        if name in created:
            states.append(TopicState(name, created=True))
            continue
        done, remaining = repaired.get(name, ((), (Difference("is gone again", refuses=True),)))
        states.append(TopicState(name, False, remaining, done))
    return states


def _create(admin: AdminClient, wanted: Mapping[str, TopicSpec], replication: int) -> set[str]:
    """Make what is missing; return the names."""
    there = admin.list_topics(timeout=_CALL_SECONDS).topics
    new = [
        NewTopic(name, topic.partitions, replication, config=topic_config(topic))
        for name, topic in wanted.items()
        if name not in there
    ]
    created = set()
    answers = admin.create_topics(new, request_timeout=_CALL_SECONDS) if new else {}
    for name, answer in answers.items():
        try:
            answer.result()
            created.add(name)
        except KafkaException as error:
            # Another one has made it since: it is compared like any that was there.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    _wait_until_known(admin, created)
    return created


def _wait_until_known(admin: AdminClient, names: set[str]) -> None:
    """The controller has made them; the broker that is asked next hears of it a moment later."""
    give_up_at = monotonic() + _KNOWN_SECONDS
    while names - admin.list_topics(timeout=_CALL_SECONDS).topics.keys():
        if monotonic() > give_up_at:
            return
        time.sleep(_ASK_AGAIN_SECONDS)


def _repair(
    admin: AdminClient, name: str, differing: list[Difference], found: FoundTopic, fix: bool
) -> tuple[tuple[str, ...], tuple[Difference, ...]]:
    """Return what was repaired and what remains."""
    if any(one.forgets for one in differing) and not fix:
        fix = _is_empty(admin, name, found.partitions)
    chosen = [one for one in differing if one.setting and (fix or not one.forgets)]
    remaining = [
        _with_way_out(
            one,
            "mesh topics ensure --fix sets it: then only the newest record of each"
            " key stays, so do it where the topic is the mesh's alone",
        )
        if one.forgets and one not in chosen
        else one
        for one in differing
        if one not in chosen
    ]
    if not chosen:
        return (), tuple(remaining)
    entries = [
        ConfigEntry(one.setting, one.wanted, incremental_operation=AlterConfigOpType.SET)
        for one in chosen
    ]
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
    [answer] = admin.incremental_alter_configs([resource], request_timeout=_CALL_SECONDS).values()
    try:
        answer.result()
    except KafkaException as error:
        cause: KafkaError = error.args[0]
        if cause.retriable() or cause.code() < 0:
            raise
        way_out = f"the brokers refuse to change it ({cause.str()})"
        if cause.code() in _NOT_ALLOWED:
            way_out = "this user may not change it: allow it AlterConfigs on the topic"
        return (), tuple([*remaining, *(_with_way_out(one, way_out) for one in chosen)])
    return tuple(f"{one.text}: set to {one.wanted}" for one in chosen), tuple(remaining)


def _with_way_out(one: Difference, way_out: str) -> Difference:
    return Difference(one.text, one.refuses, one.setting, one.wanted, one.forgets, way_out)


def _is_empty(admin: AdminClient, name: str, partitions: int) -> bool:
    places = [TopicPartition(name, number) for number in range(partitions)]
    ends = [
        admin.list_offsets(dict.fromkeys(places, which), request_timeout=_CALL_SECONDS)
        for which in (OffsetSpec.earliest(), OffsetSpec.latest())
    ]
    first, last = ({p.partition: a.result().offset for p, a in one.items()} for one in ends)
    return first == last


def _configs(admin: AdminClient, names: Iterable[str]) -> dict[str, Mapping[str, str] | None]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    answers = admin.describe_configs(resources, request_timeout=_CALL_SECONDS)
    return {resource.name: _config(answer) for resource, answer in answers.items()}


def _config(answer: Future[Any]) -> Mapping[str, str] | None:
    try:
        return {name: str(entry.value) for name, entry in answer.result().items()}
    except KafkaException as error:
        if error.args[0].code() in _NOT_ALLOWED:
            return None
        raise


__all__ = ["TopicState", "ensure_topics", "look_at"]
