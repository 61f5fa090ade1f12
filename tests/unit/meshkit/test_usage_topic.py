"""`mesh.usage` in more partitions than the one that it is to have: made by accident, or added."""

from collections.abc import AsyncIterator

import pytest

from meshkit.events.log import USAGE, TopicSpec
from meshkit.events.memory_log import MemoryEventLog
from meshkit.usage.records import Spent, UsageKey, usage_record
from meshkit.usage.topic import UsageTopic
from waiting import eventually

DAY = "2026-11-29"


@pytest.fixture
async def log() -> AsyncIterator[MemoryEventLog]:
    log = MemoryEventLog([TopicSpec(USAGE, 3)])
    yield log
    await log.close()


def key(replica: str) -> UsageKey:
    return UsageKey("uid-a", "eventsPerDay", DAY, replica)


async def put(log: MemoryEventLog, partition: int, replica: str, used: int) -> None:
    record = usage_record(key(replica), Spent(used, used))
    log_record = type(record)(record.key, record.value, record.headers, partition)
    await log.publish(USAGE, log_record)


@pytest.mark.parametrize("partition", [1, 2])
async def test_number_in_another_partition_holds_until_there_is_one_in_the_first(
    log: MemoryEventLog, partition: int
) -> None:
    await put(log, partition, "only-there", 5)
    await put(log, 0, "both", 7)
    await put(log, partition, "both", 3)
    topic = UsageTopic(log, "reader")

    def used(replica: str) -> int | None:
        spent = topic.counters.spent("uid-a", "eventsPerDay", DAY, replica)
        return None if spent is None else spent.used

    async with topic.following():
        await eventually(lambda: (used("only-there"), used("both")) == (5, 7))
        await put(log, 0, "only-there", 6)
        await eventually(lambda: used("only-there") == 6)
        await put(log, partition, "only-there", 1)
        await put(log, 0, "both", 8)
        await eventually(lambda: used("both") == 8)
        assert used("only-there") == 6
