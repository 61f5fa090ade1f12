"""Budgets over several replicas that share nothing but the log, whatever that is made of."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from builders import make_context, make_quota
from meshkit.events.kafka_config import KafkaConnection
from meshkit.events.kafka_log import KafkaEventLog
from meshkit.events.kafka_topics import ensure_topics
from meshkit.events.log import TOPICS, USAGE, EventLog, NewRecord
from meshkit.events.memory_log import MemoryEventLog
from meshkit.events.sqlite_log import SqliteEventLog
from meshkit.tenancy.policy import ResolvedQuota
from meshkit.usage.accounts import Accounts
from waiting import SetClock

pytestmark = pytest.mark.timeout(60)

A, B = make_context("tenant-a"), make_context("tenant-b")
BUDGET, TOKENS = "eventsPerDay", "llmTokensPerDay"

Open = Callable[[], AbstractAsyncContextManager[EventLog]]


class SetWallClock:
    """A clock of days that stands until it is set."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 25, 23, 59, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(params=["memory", "sqlite", "kafka"])
async def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens one and the same log, for one replica after the other."""
    memory = MemoryEventLog()
    connection = KafkaConnection("nowhere:1")
    if request.param == "kafka":
        servers = request.getfixturevalue("kafka_servers")
        connection = KafkaConnection(servers, prefix=f"{uuid4().hex}.")
        await ensure_topics(connection, TOPICS)

    @asynccontextmanager
    async def opened() -> AsyncIterator[EventLog]:
        if request.param == "memory":
            yield memory
            return
        log: EventLog
        if request.param == "sqlite":
            log = await SqliteEventLog.open(tmp_path / "events.db")
        else:
            log = KafkaEventLog(connection)
        try:
            yield log
        finally:
            await log.close()

    return opened


class Replicas:
    """Some replicas, each with a log of its own over the same data."""

    def __init__(self, open_log: Open, stack: AsyncExitStack) -> None:
        self._open_log = open_log
        self._stack = stack
        self.clock = SetClock()
        self.wall_clock = SetWallClock()

    async def start(self, *names: str) -> list[Accounts]:
        """Start replicas; return them once they know what there is."""
        return [await self._start(name) for name in names]

    async def _start(self, name: str) -> Accounts:
        log = await self._stack.enter_async_context(self._open_log())
        accounts = Accounts(log, name, clock=self.clock, wall_clock=self.wall_clock)
        await self._stack.enter_async_context(accounts.running())
        async with asyncio.timeout(20):
            while not accounts.topic.is_loaded:
                await asyncio.sleep(0.01)
        return accounts


@pytest.fixture
async def replicas(open_log: Open) -> AsyncIterator[Replicas]:
    async with AsyncExitStack() as stack:
        yield Replicas(open_log, stack)


async def take_all(accounts: Accounts, quota: ResolvedQuota, cost: int = 1) -> int:
    """Take until nothing is left; return how much that was."""
    total = 0
    while taken := await accounts.budgets.take(A, quota, cost):
        total += taken
    return total


async def known_everywhere(*all_of_them: Accounts) -> None:
    """Return once everybody knows what everybody has published."""
    for accounts in all_of_them:
        await accounts.topic.catch_up()


async def test_replicas_that_race_for_a_budget_take_exactly_the_limit(replicas: Replicas) -> None:
    r1, r2, r3 = await replicas.start("r1", "r2", "r3")
    quota = make_quota(BUDGET, 500)
    workers = [take_all(one, quota) for one in (r1, r2, r3) for _ in range(8)]
    taken = sum(await asyncio.gather(*workers))
    assert taken <= 500
    # What one held ready and did not need comes back, and others may have it.
    replicas.clock.now += 5
    async with asyncio.timeout(20):
        while taken < 500:
            taken += await take_all(r2, quota)
            await asyncio.sleep(0.05)
    for one in (r1, r2, r3):
        assert await one.budgets.take(A, quota, 1) == 0
    await known_everywhere(r1, r2, r3)


async def test_last_of_a_budget_goes_to_one_of_those_who_ask_at_once(replicas: Replicas) -> None:
    some = await replicas.start("r1", "r2", "r3")
    quota = make_quota(BUDGET, 1)
    taken = await asyncio.gather(*(one.budgets.take(A, quota, 1) for one in some))
    assert sum(taken) == 1


async def test_tokens_reserved_before_calls_and_settled_after_never_overshoot(
    replicas: Replicas,
) -> None:
    r1, r2 = await replicas.start("r1", "r2")
    quota = make_quota(TOKENS, 20_000)
    estimate, used = 1_000, 137
    answered = 0

    async def calls(accounts: Accounts) -> None:
        """Call a model until no estimate fits any more, as a gateway in front of it does."""
        nonlocal answered
        while (reserved := await accounts.budgets.take(A, quota, estimate)) == estimate:
            await asyncio.sleep(0.001)
            accounts.budgets.refund(A, quota, estimate - used)
            answered += 1
        accounts.budgets.refund(A, quota, reserved)

    await asyncio.gather(*(calls(one) for one in (r1, r2) for _ in range(4)))
    replicas.clock.now += 5
    async with asyncio.timeout(20):
        while [one.used(A.tenant_uid)[TOKENS] for one in (r1, r2)] != [answered * used] * 2:
            await asyncio.sleep(0.02)
    # Less than the limit by an estimate at most for each call that may have been under way.
    assert 20_000 - 8 * estimate < answered * used <= 20_000
    assert r1.used(A.tenant_uid)[BUDGET] == 0


async def test_all_replicas_tell_the_same_usage(replicas: Replicas) -> None:
    r1, r2 = await replicas.start("r1", "r2")
    quota = make_quota(BUDGET, 1000)
    for _ in range(30):
        await r1.budgets.take(A, quota, 1)
        await r2.budgets.take(A, quota, 1)
    async with asyncio.timeout(10):
        while [one.used(A.tenant_uid)[BUDGET] for one in (r1, r2)] != [60, 60]:
            await asyncio.sleep(0.02)
    assert r1.used(B.tenant_uid) == {BUDGET: 0, "llmTokensPerDay": 0, "storedUsers": 0}


async def test_replica_that_comes_later_knows_what_was_used(replicas: Replicas) -> None:
    (r1,) = await replicas.start("r1")
    quota = make_quota(BUDGET, 100)
    assert await take_all(r1, quota) == 100
    (r2,) = await replicas.start("r2")
    assert await r2.budgets.take(A, quota, 1) == 0


async def test_killed_replica_costs_no_more_than_it_held_and_never_adds_any(
    replicas: Replicas,
) -> None:
    quota = make_quota(BUDGET, 300)
    (r1,) = await replicas.start("r1")
    for _ in range(50):
        await r1.budgets.take(A, quota, 1)
    await r1.topic.catch_up()
    # A second process of its name, which knows nothing but the log: the first one was killed.
    (again,) = await replicas.start("r1")
    rest = await take_all(again, quota)
    assert 300 - 50 - 3 <= rest <= 300 - 50


async def test_budget_begins_anew_at_midnight_in_utc(replicas: Replicas) -> None:
    r1, r2 = await replicas.start("r1", "r2")
    quota = make_quota(BUDGET, 20)
    assert await take_all(r1, quota) == 20
    replicas.wall_clock.now += timedelta(seconds=29)
    assert await r1.budgets.take(A, quota, 1) == 0
    replicas.wall_clock.now += timedelta(seconds=1)
    assert await r1.budgets.take(A, quota, 1) == 1
    assert await take_all(r2, quota) + await take_all(r1, quota) >= 18
    assert r1.used(A.tenant_uid)[BUDGET] <= 20


async def test_windows_gone_by_leave_the_topic(replicas: Replicas) -> None:
    r1, r2 = await replicas.start("r1", "r2")
    quota = make_quota(BUDGET, 20)
    await r1.budgets.take(A, quota, 1)
    await r2.topic.catch_up()
    assert r2.topic.counters.keys_of(A.tenant_uid)
    replicas.wall_clock.now += timedelta(days=2)
    async with asyncio.timeout(10):
        while r2.topic.counters.keys_of(A.tenant_uid):
            await asyncio.sleep(0.02)


async def test_nobody_can_write_a_counter_that_breaks_the_counting(replicas: Replicas) -> None:
    (r1,) = await replicas.start("r1")
    day = "2026-11-25"
    junk = [
        NewRecord(b"", b"x"),
        NewRecord(b"uid-of-tenant-a", b"{}"),
        NewRecord(f"{A.tenant_uid}/{BUDGET}/{day}/r9".encode(), b"not json"),
        NewRecord(f"{A.tenant_uid}/{BUDGET}/{day}/r9".encode(), b'{"reserved":"many"}'),
        NewRecord(b"\xff\xfe/\xff/\xff/\xff", b"{}"),
    ]
    await r1.topic.publish(junk)
    await r1.topic.catch_up()
    assert await take_all(r1, make_quota(BUDGET, 20)) == 20


async def test_counters_that_were_forgotten_are_gone_for_everybody(replicas: Replicas) -> None:
    r1, r2 = await replicas.start("r1", "r2")
    quota = make_quota(BUDGET, 100)
    await r1.budgets.take(A, quota, 1)
    await r1.budgets.take(B, quota, 1)
    replicas.clock.now += 5
    await known_everywhere(r1, r2)
    await r2.forget(A.tenant_uid)
    assert await r2.left_of(A.tenant_uid) == 0
    assert await r2.left_of(B.tenant_uid) == 1


def test_usage_has_one_partition_so_that_all_read_one_order() -> None:
    assert [topic.partitions for topic in TOPICS if topic.name == USAGE] == [1]
