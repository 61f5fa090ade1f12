"""Waiting until a client's own write is searchable.

The store itself is asked for the revision of the user that was written, so it does not matter which
process indexes, in which order, or whether it has been replaced meanwhile. All who wait share one
question at a time: a thousand of them cost the store as much as one.
"""

import asyncio
from dataclasses import dataclass

from ai_gateway.vector_store.port import StoreUnavailable, UserKey, VectorStore
from meshkit.clock import monotonic
from meshkit.events.log import Position
from meshkit.events.position import Written
from meshkit.tenancy.identity import TenantContext

# Indexing takes some milliseconds; asking much more often than that would slow it down.
_ASK_EVERY_SECONDS = 0.003
_ASK_SELDOM_SECONDS = 0.025
# A pause is this share of what was waited already: an answer is late by a tenth, no more.
_PAUSE_SHARE = 0.1
# Who has just written waits about as long as others did; to ask at once would be in vain, and in
# the way of the write. An answer for who comes later is not late by more than this share of that.
_FIRST_SHARE = 0.5
_USUAL_WEIGHT = 0.1
_ASKED_AT_ONCE = 256


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    user: UserKey
    position: Position
    done: asyncio.Future[None]


class WrittenWaiter:
    """Those who wait for writes, and the one task that asks for all of them."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store
        self._waiters: set[_Waiter] = set()
        self._asking: asyncio.Task[None] | None = None
        self._usual_seconds = 0.0

    async def wait_for(self, tenant: TenantContext, written: Written, timeout: float) -> bool:
        """Wait at most `timeout` seconds for a write; return whether it is searchable."""
        started = monotonic()
        future = asyncio.get_running_loop().create_future()
        waiter = _Waiter(UserKey(tenant, written.user_id), written.position, future)
        self._waiters.add(waiter)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="written-waiter")
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        self._usual_seconds += (monotonic() - started - self._usual_seconds) * _USUAL_WEIGHT
        return True

    async def _ask(self) -> None:
        pause = min(_ASK_SELDOM_SECONDS, self._usual_seconds * _FIRST_SHARE)
        since = monotonic()
        while self._waiters:
            await asyncio.sleep(pause)
            try:
                settled = await self._settle()
            except StoreUnavailable:
                settled = False
            if settled:
                since = monotonic()
            waited = (monotonic() - since) * _PAUSE_SHARE
            pause = min(_ASK_SELDOM_SECONDS, max(_ASK_EVERY_SECONDS, waited))

    async def _settle(self) -> bool:
        """Ask for everybody once; return whether anybody is done."""
        waiters = list(self._waiters)
        settled = False
        for start in range(0, len(waiters), _ASKED_AT_ONCE):
            asked = waiters[start : start + _ASKED_AT_ONCE]
            revisions = await self._store.revisions([waiter.user for waiter in asked])
            for waiter, revision in zip(asked, revisions, strict=True):
                if revision is None or waiter.position.is_after(revision):
                    continue
                if not waiter.done.done():
                    waiter.done.set_result(None)
                    self._waiters.discard(waiter)
                    settled = True
        return settled
