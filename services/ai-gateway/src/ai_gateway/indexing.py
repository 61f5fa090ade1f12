"""The indexer as a background task that is looked after.

It runs for as long as its block lasts and starts again after an unforeseen fault, from the last
committed offsets: an indexer that died silently would be an index that silently grows old.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import structlog

from ai_gateway.indexer import Indexer

log = structlog.get_logger()

_RESTART_SECONDS = 1.0


class IndexingHealth:
    """Why the index is not being kept up, None while it is."""

    def __init__(self) -> None:
        self.problem: str | None = None

    async def check(self) -> str | None:
        """Return the problem, for `/readyz`."""
        return self.problem


@asynccontextmanager
async def indexing(make_indexer: Callable[[], Indexer]) -> AsyncIterator[IndexingHealth]:
    """Run an indexer in the background until the block ends, then let it commit."""
    health = IndexingHealth()
    task = asyncio.create_task(_run_for_ever(make_indexer, health), name="indexer")
    try:
        yield health
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _run_for_ever(make_indexer: Callable[[], Indexer], health: IndexingHealth) -> None:
    while True:
        try:
            await make_indexer().run()
        except Exception as error:
            # A loop that must survive: whatever it was, reading on from the commit is safe.
            health.problem = f"indexer restarting after {type(error).__name__}"
            log.exception("indexer_failed", restart_in_seconds=_RESTART_SECONDS)
        await asyncio.sleep(_RESTART_SECONDS)
        health.problem = None
