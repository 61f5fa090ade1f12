"""Weights come from the policies; a suspended tenant's events wait and are not lost."""

import asyncio
from contextlib import suppress

from ai_gateway.indexer import GROUP, Indexer
from ai_gateway.indexing import create_indexer, indexing
from ai_gateway.stores import create_vectorizer
from ai_gateway.vector_store.memory import MemoryVectorStore
from ai_gateway.weights import Weights
from builders import make_context, make_policy
from meshkit.events.envelope import EventType, UserData, UserEvent, to_record
from meshkit.events.log import USER_EVENTS, NewRecord
from meshkit.events.memory_log import MemoryEventLog
from meshkit.telemetry import metrics
from meshkit.tenancy.policy import Provenance, ResolvedWeight, TenantState
from meshkit.tenancy.static import StaticTenantSource
from waiting import eventually


def created(tenant_id: str, user_id: str) -> NewRecord:
    data = UserData(tenant_id, user_id, f"{user_id}@example.com", "Alice")
    tenant = make_context(tenant_id)
    return to_record(UserEvent("e", EventType.CREATED, tenant, user_id, "", data))


def test_weights_are_those_of_the_policies_in_force() -> None:
    heavy = ResolvedWeight(value=7, provenance=Provenance.OVERRIDE)
    tenants = StaticTenantSource(make_policy("tenant-a", weight=heavy), make_policy("tenant-b"))
    weights = Weights(tenants)
    assert [weights(f"uid-of-{name}") for name in ("tenant-a", "tenant-b")] == [7, 1]
    assert weights("uid-of-nobody") == 1
    tenants.put(make_policy("tenant-a", state=TenantState.SUSPENDED))
    assert weights("uid-of-tenant-a") == 0


async def test_events_of_a_suspended_tenant_wait_until_it_is_resumed() -> None:
    tenants = StaticTenantSource(
        make_policy("tenant-a", state=TenantState.SUSPENDED), make_policy("tenant-b")
    )
    log, store = MemoryEventLog(), MemoryVectorStore()
    for number in range(30):
        await log.publish(USER_EVENTS, created("tenant-a", f"a{number}"))
        await log.publish(USER_EVENTS, created("tenant-b", f"b{number}"))
    indexer = create_indexer(log, store, create_vectorizer(), tenants)
    task = asyncio.create_task(indexer.run())
    try:
        await eventually(lambda: len(store._users(make_context("tenant-b"))) == 30)
        assert store._users(make_context("tenant-a")) == []
        # Not even a restart loses them: from where they wait was noted with the commit.
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        task = asyncio.create_task(create_indexer(log, store, create_vectorizer(), tenants).run())
        tenants.put(make_policy("tenant-a"))
        await eventually(lambda: len(store._users(make_context("tenant-a"))) == 30)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_events_of_a_suspended_tenant_that_is_deleted_are_passed_over() -> None:
    """Its erasure finds nothing on its way, and nothing of it comes back afterwards."""
    tenants = StaticTenantSource(make_policy("tenant-a", state=TenantState.SUSPENDED))
    log, store, vectorizer = MemoryEventLog(), MemoryVectorStore(), create_vectorizer()
    await log.publish_many(USER_EVENTS, [created("tenant-a", f"a{n}") for n in range(30)])
    await log.publish(USER_EVENTS, created("tenant-b", "b1"))
    fenced = metrics.EVENTS_FENCED._value.get()
    indexer = create_indexer(log, store, vectorizer, tenants)
    async with indexing(lambda: indexer) as health:
        await eventually(lambda: len(store._users(make_context("tenant-b"))) == 1)
        assert not health.busy_with("uid-of-tenant-a")
        tenants.put(make_policy("tenant-a", state=TenantState.TERMINATING))
        await eventually(lambda: metrics.EVENTS_FENCED._value.get() == fenced + 30)
        await eventually(lambda: not health.busy_with("uid-of-tenant-a"))
    assert store._users(make_context("tenant-a")) == []
    assert not any(log._notes[USER_EVENTS, f"{GROUP}.memory"].values())


async def test_index_made_anew_has_what_a_suspended_tenant_has_waiting() -> None:
    log, store = MemoryEventLog(), MemoryVectorStore()
    await log.publish_many(USER_EVENTS, [created("tenant-a", f"a{n}") for n in range(30)])
    # As `mesh reindex` makes it: all tenants alike.
    async with indexing(lambda: Indexer(log, store, create_vectorizer(), lambda _: None)):
        await eventually(lambda: len(store._users(make_context("tenant-a"))) == 30)
