"""How often the store is asked to count a tenant."""

import asyncio
from collections import Counter

import pytest

from ai_gateway import counting
from ai_gateway.applying import Work
from ai_gateway.counting import StoredUsers
from ai_gateway.vector_store.memory import MemoryVectorStore
from ai_gateway.vector_store.port import StoreRefused
from builders import make_context, make_policy, make_upsert
from meshkit.events.envelope import EventType, UserData, UserEvent
from meshkit.events.log import USER_EVENTS, Record
from meshkit.events.memory_log import MemoryEventLog
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.static import StaticTenantSource
from meshkit.usage.accounts import Accounts
from waiting import SetClock, eventually

LARGE, SMALL = make_context("large"), make_context("small")


class SlowStore(MemoryVectorStore):
    """Counting a large tenant takes a tenth of a second of the clock."""

    def __init__(self, clock: SetClock) -> None:
        super().__init__()
        self.clock = clock
        self.counts: Counter[str] = Counter()

    async def count(self, tenant: TenantContext) -> int:
        """Count, and take the time."""
        self.counts[tenant.tenant_id] += 1
        if tenant == LARGE:
            self.clock.now += 0.1
        return await super().count(tenant)


class RefusingStore(MemoryVectorStore):
    """Finds every count wrong, until it does not any more."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses = True
        self.asked = 0

    async def count(self, tenant: TenantContext) -> int:
        """Refuse, or count."""
        self.asked += 1
        if self.refuses:
            raise StoreRefused("400: exact search disabled")
        return await super().count(tenant)


async def test_store_that_refuses_counts_is_said_and_asked_more_rarely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counting, "COUNT_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(counting, "_BACKOFF_MOST_SECONDS", 0.16)
    log, store = MemoryEventLog(), RefusingStore()
    accounts = Accounts(log, "one")
    tenants = StaticTenantSource(make_policy("small"))
    await store.apply([make_upsert(SMALL)])
    count = StoredUsers(log, store, accounts.topic, tenants)
    async with accounts.running(), count.counting():
        await eventually(lambda: count.problem == "400: exact search disabled")
        await eventually(lambda: store.asked >= 6)
        assert (await _seconds_between_two(store)) > 0.1
        store.refuses = False
        await eventually(lambda: count.problem is None)
        known = accounts.topic.counters.stored(SMALL.tenant_uid)
        # Whoever could not be counted is counted now.
        assert known is not None
        assert known.users == 1


async def _seconds_between_two(store: RefusingStore) -> float:
    moments = []
    for _ in range(2):
        before = store.asked
        await eventually(lambda before=before: store.asked > before)  # type: ignore[misc]
        moments.append(asyncio.get_running_loop().time())
    return moments[1] - moments[0]


def stored(tenant: TenantContext, offset: int) -> Work:
    data = UserData(tenant.tenant_id, "u", "u@example.com", "U")
    event = UserEvent("e", EventType.CREATED, tenant, "u", "", data)
    return Work(Record(USER_EVENTS, 0, offset, b"k", b"v", (), 0), event)


async def test_the_larger_a_tenant_is_the_more_rarely_it_is_counted() -> None:
    clock, log = SetClock(), MemoryEventLog()
    store = SlowStore(clock)
    accounts = Accounts(log, "one")
    tenants = StaticTenantSource(make_policy("large"), make_policy("small"))
    count = StoredUsers(log, store, accounts.topic, tenants, clock=clock)
    async with accounts.running():
        await accounts.topic.loaded()
        for offset in range(100):
            count.stored([stored(LARGE, offset), stored(SMALL, offset)])
            await count._count_some()
            clock.now += 0.25
        # A hundred rounds of a quarter of a second: a tenth of a second in each twenty.
        assert store.counts == {"large": 2, "small": 100}
        # What is put off is not forgotten.
        clock.now += 20.0
        await count._count_some()
        assert store.counts["large"] == 3
        known = accounts.topic.counters.stored(LARGE.tenant_uid)
        assert known is not None
        assert known.through == {0: 99}
