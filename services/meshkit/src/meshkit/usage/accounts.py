"""What a process keeps of its tenants' usage: budgets, stocks, and the telling of others.

    async with accounts.running(): ...      follows mesh.usage, and publishes what has changed

A change is published a quarter of a second later, with all others of that time; a reservation, on
which a request waits, at once.
"""

import asyncio
from collections.abc import AsyncIterator, Container, Mapping
from contextlib import asynccontextmanager, suppress

import structlog

from meshkit.clock import Clock, WallClock, monotonic, utc_now
from meshkit.errors import LogUnavailable
from meshkit.events.log import EventLog, NewRecord
from meshkit.telemetry import metrics
from meshkit.usage.budgets import Budgets
from meshkit.usage.records import usage_record
from meshkit.usage.stocks import Stocks
from meshkit.usage.topic import UsageTopic
from meshkit.usage.windows import BUDGETS, STORED_USERS

log = structlog.get_logger()

PUBLISH_EVERY_SECONDS = 0.25
_LAST_SECONDS = 2.0


class Accounts:
    """The usage of all tenants, as this replica knows it and adds to it."""

    def __init__(
        self,
        event_log: EventLog,
        replica: str,
        fenced: Container[str] = (),
        *,
        clock: Clock = monotonic,
        wall_clock: WallClock = utc_now,
    ) -> None:
        self.topic = UsageTopic(event_log, replica)
        self.clock = clock
        self.wall_clock = wall_clock
        self.budgets = Budgets(self.topic, fenced, clock=clock, wall_clock=wall_clock)
        self.stocks = Stocks(self.topic, fenced)

    def used(self, tenant_uid: str) -> Mapping[str, int]:
        """Return how much of each quota a tenant has used, as all replicas have told so far."""
        used = {quota: self.budgets.used(tenant_uid, quota) for quota in BUDGETS}
        used[STORED_USERS] = self.stocks.stored(tenant_uid)
        return used

    async def left_of(self, tenant_uid: str) -> int:
        """Return how many keys there are of a tenant. Raises LogUnavailable."""
        await self.topic.catch_up()
        return len(self.topic.counters.keys_of(tenant_uid))

    async def forget(self, tenant_uid: str) -> None:
        """End every key of a tenant. Raises LogUnavailable."""
        await self.topic.catch_up()
        keys = self.topic.counters.keys_of(tenant_uid)
        await self.topic.publish([usage_record(key, None) for key in keys])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep accounts for as long as the block lasts, then give back what was not needed."""
        async with self.topic.following():
            publishing = asyncio.create_task(self._keep_publishing(), name="usage")
            try:
                yield
            finally:
                publishing.cancel()
                await asyncio.gather(publishing, return_exceptions=True)
                self.budgets.give_back()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_SECONDS):
                        await self._publish()

    async def _keep_publishing(self) -> None:
        while True:
            await asyncio.sleep(PUBLISH_EVERY_SECONDS)
            await self._publish()

    async def _publish(self) -> None:
        records: list[NewRecord] = [*self.budgets.changes(), *self.stocks.changes()]
        try:
            await self.topic.publish(records)
        except LogUnavailable as error:
            self.budgets.unpublished()
            self.stocks.unpublished()
            log.warning("usage_not_published", reason=error.detail)
        else:
            metrics.USAGE_RECORDS.inc(len(records))


__all__ = ["PUBLISH_EVERY_SECONDS", "Accounts"]
