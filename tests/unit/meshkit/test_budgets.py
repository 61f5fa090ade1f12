"""Reserving of a budget ahead of its need."""

import asyncio

from builders import make_context, make_quota
from meshkit.events.log import NewRecord, Position
from meshkit.events.memory_log import MemoryEventLog
from meshkit.usage.accounts import Accounts

A = make_context("tenant-a")


class CountingLog(MemoryEventLog):
    """Counts what is published one by one, as reservations are."""

    def __init__(self) -> None:
        super().__init__()
        self.published = 0

    async def publish(self, topic: str, record: NewRecord) -> Position:
        """Publish, and count."""
        self.published += 1
        return await super().publish(topic, record)


async def test_requests_of_one_moment_have_one_reservation_made_ahead() -> None:
    log = CountingLog()
    accounts = Accounts(log, "one")
    quota = make_quota("eventsPerDay", 1_000_000)
    async with accounts.running():
        await accounts.topic.loaded()
        assert await accounts.budgets.take(A, quota, 1) == 1
        held = accounts.budgets._shares[A.tenant_uid, "eventsPerDay"].tokens
        before = log.published
        # None of these waits, so what is reserved ahead comes after all of them.
        for _ in range(held):
            assert await accounts.budgets.take(A, quota, 1) == 1
        for _ in range(10):
            await asyncio.sleep(0)
        assert log.published == before + 1
