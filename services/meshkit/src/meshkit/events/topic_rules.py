"""What a topic has to be like in Kafka, and what it means where one is not. Pure.

A topic that differs is not always wrong. Publishing is refused where an accepted event would be
lost or put into the wrong order: a clean-up by time or size, or none that knows keys; a record's
time that its sender chooses, because the time at which the log took it orders the events of a user
in different partitions; records that are too large for the topic. The rest is only said.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from meshkit.events.compaction import DELETE_RETENTION_MS
from meshkit.events.kafka_config import RECORD_BYTES_MOST
from meshkit.events.log import TopicSpec

ENSURE = "mesh topics ensure"
"""The command that makes the topics and repairs them."""

_FOR_EVER = "-1"
_MIN_COPIES = 3


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """A topic as it was found. `config` is None where the user may not read it; `brokers` is how
    many the cluster has, 0 where that is not known."""

    partitions: int
    replicas: int
    brokers: int = 0
    config: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing about a topic that differs.

    `refuses`: publishing to it would lose events. `setting` can be repaired by setting it to
    `wanted`; `forgets` says that this drops records that are there, all but the newest of a key.
    `way_out` is for those that cannot be repaired here.
    """

    text: str
    refuses: bool = False
    setting: str = ""
    wanted: str = ""
    forgets: bool = False
    way_out: str = ""


def topic_config(topic: TopicSpec) -> dict[str, str]:
    """Return the settings that a topic has to have in Kafka."""
    return {
        "cleanup.policy": "compact" if topic.compact else "delete",
        "retention.ms": _FOR_EVER,
        "retention.bytes": _FOR_EVER,
        "delete.retention.ms": str(DELETE_RETENTION_MS),
        "max.message.bytes": str(RECORD_BYTES_MOST),
        # A record's time is when the log took it, whatever the clock of the one who sent it.
        "message.timestamp.type": "LogAppendTime",
    }


def differences(topic: TopicSpec, found: FoundTopic) -> list[Difference]:
    """Return how a topic that is there differs from what it has to be."""
    result = list(_layout_differences(topic, found))
    if found.config is None:
        text = "has settings that this user may not read (DescribeConfigs): they are not checked"
        result.append(Difference(text, way_out="allow the user DescribeConfigs on the topic"))
        return result
    result += _config_differences(topic, found.config)
    result += _safety_differences(found, found.config)
    return result


def missing(name: str) -> str:
    """Return what is said of a topic that is not there."""
    return f"the topic {name} does not exist ({ENSURE})"


def refusal(name: str, differing: list[Difference]) -> str | None:
    """Return why nothing may be published to a topic, None where it may."""
    texts = [one.text for one in differing if one.refuses]
    return f"the topic {name} {'; '.join(texts)} ({ENSURE})" if texts else None


def _layout_differences(topic: TopicSpec, found: FoundTopic) -> Iterator[Difference]:
    if found.partitions != topic.partitions:
        text = f"has {found.partitions} partitions, not {topic.partitions}"
        if topic.partitions == 1:
            way_out = "nothing has to be done: only partition 0 is written to"
        elif found.partitions > topic.partitions:
            way_out = "nothing has to be done: all of them are used"
        else:
            way_out = (
                "it works, on fewer indexers; add the others with the broker's own tool, also while"
                f" the mesh runs: kafka-topics.sh --alter --partitions {topic.partitions}, or rpk"
                " topic add-partitions"
            )
        yield Difference(text, way_out=way_out)
    if found.replicas < min(_MIN_COPIES, found.brokers):
        yield Difference(
            f"has {found.replicas} replicas on {found.brokers} brokers: events are lost with them",
            way_out="add replicas with the broker's own tool (kafka-reassign-partitions.sh)",
        )


def _config_differences(topic: TopicSpec, config: Mapping[str, str]) -> Iterator[Difference]:
    # Brokers that do not know a setting do not list it.
    wanted = topic_config(topic)
    policies = {policy.strip() for policy in config.get("cleanup.policy", "").split(",")}
    deletes = "delete" in policies
    for name, value in wanted.items():
        if name not in config or _is_met(name, config[name], value):
            continue
        refuses = forgets = False
        if topic.compact:
            forgets = name == "cleanup.policy" and "compact" not in policies
            refuses = (
                forgets
                or (name.startswith("retention.") and deletes)
                or name in ("max.message.bytes", "message.timestamp.type")
            )
        text = f"has {name} {config[name]}, not {value}"
        yield Difference(text, refuses, name, value, forgets)


def _is_met(name: str, found: str, wanted: str) -> bool:
    if name in ("max.message.bytes", "delete.retention.ms"):
        return int(found) >= int(wanted)
    return found == wanted


def _safety_differences(found: FoundTopic, config: Mapping[str, str]) -> Iterator[Difference]:
    in_sync = config.get("min.insync.replicas")
    if in_sync == "1" and found.replicas >= _MIN_COPIES:
        yield Difference(
            f"has min.insync.replicas 1 and {found.replicas} replicas: an acknowledged event may be"
            " on one broker only",
            way_out="set min.insync.replicas to 2 with the broker's own tool (kafka-configs.sh)",
        )
    if config.get("unclean.leader.election.enable") == "true" and found.replicas > 1:
        yield Difference(
            "has unclean.leader.election.enable true: a broker that is behind may take over, and"
            " acknowledged events are lost",
            way_out="set it to false with the broker's own tool (kafka-configs.sh)",
        )


__all__ = [
    "ENSURE",
    "Difference",
    "FoundTopic",
    "differences",
    "missing",
    "refusal",
    "topic_config",
]
