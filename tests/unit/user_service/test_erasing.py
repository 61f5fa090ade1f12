"""Ending a tenant's keys: each of them once, nobody else's, whatever the log looks like."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import pytest

from builders import make_context
from meshkit.errors import LogUnavailable
from meshkit.events.envelope import EventType, UserData, UserEvent, to_record
from meshkit.events.log import USER_EVENTS, NewRecord, Position, Record
from meshkit.events.memory_log import MemoryEventLog
from meshkit.events.reading import from_record
from meshkit.tenancy.identity import TenantContext
from user_service.erasing import KeyCount, KeyEraser

A, B = make_context("tenant-a"), make_context("tenant-b")
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def user(tenant: TenantContext, user_id: str) -> NewRecord:
    data = UserData(tenant.tenant_id, user_id, f"{user_id}@example.com", "Alice")
    return to_record(UserEvent("e", EventType.CREATED, tenant, user_id, "", data))


def records(log: MemoryEventLog) -> list[Record]:
    return [record for partition in log.partitions(USER_EVENTS) for record in partition]


def newest(log: MemoryEventLog) -> dict[bytes, bytes | None]:
    return {record.key: record.value for record in records(log)}


@pytest.fixture
def log() -> MemoryEventLog:
    return MemoryEventLog()


@pytest.fixture
def eraser(log: MemoryEventLog) -> KeyEraser:
    return KeyEraser(log, lambda: NOW)


async def test_every_living_key_gets_a_tombstone(log: MemoryEventLog, eraser: KeyEraser) -> None:
    await log.publish_many(USER_EVENTS, [user(A, f"u{n}") for n in range(1200)])
    await log.publish_many(USER_EVENTS, [user(A, f"u{n}") for n in range(100)])
    assert await eraser.count(A) == KeyCount(1200, 0, 1200)
    assert await eraser.tombstone(A) == KeyCount(1200, 1200, 0)
    assert set(newest(log).values()) == {None}


async def test_second_call_writes_nothing(log: MemoryEventLog, eraser: KeyEraser) -> None:
    await log.publish_many(USER_EVENTS, [user(A, f"u{n}") for n in range(50)])
    await eraser.tombstone(A)
    before = len(records(log))
    assert await eraser.tombstone(A) == KeyCount(50, 0, 0)
    assert len(records(log)) == before


async def test_counting_writes_nothing(log: MemoryEventLog, eraser: KeyEraser) -> None:
    await log.publish_many(USER_EVENTS, [user(A, "u1"), user(B, "u1")])
    assert await eraser.count(A) == KeyCount(1, 0, 1)
    assert len(records(log)) == 2


async def test_key_that_came_back_after_its_tombstone_is_alive(
    log: MemoryEventLog, eraser: KeyEraser
) -> None:
    gone = to_record(UserEvent("e", EventType.DELETED, A, "u1", "", None))
    await log.publish_many(USER_EVENTS, [user(A, "u1"), gone])
    assert (await eraser.count(A)).remaining == 0
    await log.publish(USER_EVENTS, user(A, "u1"))
    assert await eraser.tombstone(A) == KeyCount(1, 1, 0)


async def test_tombstone_is_what_a_deletion_publishes(
    log: MemoryEventLog, eraser: KeyEraser
) -> None:
    await log.publish(USER_EVENTS, user(A, "u1"))
    await eraser.tombstone(A)
    event = from_record(records(log)[-1], lambda _: None)
    assert (event.type, event.tenant, event.user_id) == (EventType.DELETED, A, "u1")
    assert (event.time, event.data) == ("2026-01-02T00:00:00.000Z", None)


async def test_only_the_very_prefix_is_the_tenants(log: MemoryEventLog, eraser: KeyEraser) -> None:
    others = [
        user(make_context("tenant-a", "uid-of-tenant-a1"), "u1"),
        user(make_context("tenant-a", "uid-of-tenant"), "a/u1"),
        user(make_context("tenant-a", "second-life"), "u1"),
        user(B, "uid-of-tenant-a/u1"),
        NewRecord(b"uid-of-tenant-a", b"{}"),
        NewRecord(b"/uid-of-tenant-a/u1", b"{}"),
        NewRecord(b"", b"{}"),
    ]
    await log.publish_many(USER_EVENTS, [*others, user(A, "u1")])
    assert await eraser.tombstone(A) == KeyCount(1, 1, 0)
    values = newest(log)
    assert all(values[record.key] == record.value for record in others)


@pytest.mark.parametrize("rest", [b"", b"\xff\xfe", b"a/b", "ü".encode()])
async def test_odd_key_is_ended_under_the_same_bytes(
    log: MemoryEventLog, eraser: KeyEraser, rest: bytes
) -> None:
    await log.publish(USER_EVENTS, NewRecord(b"uid-of-tenant-a/" + rest, b"{}"))
    assert await eraser.tombstone(A) == KeyCount(1, 1, 0)
    assert await eraser.count(A) == KeyCount(1, 0, 0)


async def test_key_in_several_partitions_is_one_key_and_ended_in_each(
    log: MemoryEventLog, eraser: KeyEraser
) -> None:
    for partition in (0, 3, 7):
        record = msgspec.structs.replace(user(A, "u1"), partition=partition)
        await log.publish(USER_EVENTS, record)
    await log.publish(USER_EVENTS, user(B, "u1"))
    assert await eraser.count(A) == KeyCount(1, 0, 1)
    assert await eraser.tombstone(A) == KeyCount(1, 1, 0)
    assert await eraser.count(A) == KeyCount(1, 0, 0)
    for partition in (0, 3, 7):
        ended = [
            r
            for r in log.partitions(USER_EVENTS)[partition]
            if r.key.startswith(b"uid-of-tenant-a/")
        ]
        assert [r.value is None for r in ended] == [False, True]


async def test_empty_log_has_no_keys(eraser: KeyEraser) -> None:
    assert await eraser.tombstone(A) == KeyCount(0, 0, 0)


class SlowLog(MemoryEventLog):
    """A log that publishes tombstones only when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.go = asyncio.Event()

    async def publish_many(self, topic: str, records: Sequence[NewRecord]) -> Sequence[Position]:
        self.asked += 1
        await self.go.wait()
        return await super().publish_many(topic, records)


async def test_impatient_caller_joins_the_scan_that_runs() -> None:
    log = SlowLog()
    log.go.set()
    await log.publish(USER_EVENTS, user(A, "u1"))
    log.go.clear()
    log.asked = 0
    eraser = KeyEraser(log)
    impatient = asyncio.ensure_future(eraser.tombstone(A))
    async with asyncio.timeout(5):
        while not log.asked:
            await asyncio.sleep(0)
        impatient.cancel()
        again = asyncio.ensure_future(eraser.tombstone(A))
        await asyncio.sleep(0)
        log.go.set()
        assert await again == KeyCount(1, 1, 0)
    assert impatient.cancelled()
    assert log.asked == 1


async def test_log_that_is_away_is_said_and_the_next_call_starts_anew(
    log: MemoryEventLog, eraser: KeyEraser
) -> None:
    await log.publish(USER_EVENTS, user(A, "u1"))
    await log.close()
    with pytest.raises(LogUnavailable):
        await eraser.tombstone(A)
    log.reopen()
    assert await eraser.tombstone(A) == KeyCount(1, 1, 0)
