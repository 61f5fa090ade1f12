"""What a store acknowledges, counted by tenant where it is acknowledged: at one moment for all."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from unittest import mock

from ai_gateway.vector_store.port import Change, VectorStore
from builders import make_context


class Tally:
    """What the store has acknowledged, by tenant, from when `restart` was called."""

    def __init__(self) -> None:
        self.whole: Counter[str] = Counter()
        self.got: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def add(self, changes: Sequence[Change]) -> None:
        """Count a batch."""
        tenants = [change.tenant.tenant_id for change in changes]
        self.whole.update(tenants)
        self.got.update(tenants)
        self._changed.set()

    def restart(self) -> None:
        """Begin the window here."""
        self.got.clear()

    async def until(self, is_so: Callable[[], bool]) -> float:
        """Return the time of the first batch after which it is so."""
        while not is_so():
            self._changed.clear()
            await self._changed.wait()
        return time.perf_counter()


@asynccontextmanager
async def tallied(store: VectorStore) -> AsyncIterator[Tally]:
    """Count what is applied to a store. Raises AssertionError where other counts are stored."""
    tally, apply = Tally(), store.apply

    async def counted(changes: Sequence[Change]) -> None:
        await apply(changes)
        tally.add(changes)

    with mock.patch.object(store, "apply", counted):
        yield tally
    for tenant, count in tally.whole.items():
        assert await store.count(make_context(tenant)) == count
