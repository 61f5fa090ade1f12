"""Making the index again from the log, while searches go on.

A second collection is filled by an indexer of its own, from the log's start; when it has caught up,
searches are switched to it in one step. The collection and how far it has come outlive an
interruption: the same command goes on where it stopped.

The log forgets a deletion after a day. Where it may still hold older records of the deleted user
(`placement`), the collection in use has kept a marker, so all markers move along.
"""

import asyncio
from collections.abc import Callable

from ai_gateway.embedding.vectorizer import Vectorizer
from ai_gateway.indexer import Indexer, consumer_group
from ai_gateway.indexing import indexing
from ai_gateway.vector_store.port import Rebuild
from meshkit.clock import Clock, monotonic
from meshkit.events.log import USER_EVENTS, EventLog
from meshkit.events.reading import ResolveTenant, ResolveUid, no_uid

_LOOK_EVERY_SECONDS = 0.5
# Whatever was published meanwhile is done within this: the rest is what an indexer always has.
_CAUGHT_UP_SECONDS = 3.0

OnProgress = Callable[[int, int], None]
"""Is told how many records are done, and of how many."""


async def reindex(
    event_log: EventLog,
    rebuild: Rebuild,
    vectorizer: Vectorizer,
    resolve_tenant: ResolveTenant,
    on_progress: OnProgress,
    *,
    resolve_uid: ResolveUid = no_uid,
    clock: Clock = monotonic,
) -> str:
    """Fill the next collection and switch to it; return what has happened.

    Raises LogUnavailable where the log cannot be looked at, StoreUnavailable where the switch
    fails; what was filled is kept.
    """

    def make_indexer() -> Indexer:
        # All tenants alike, the suspended ones too: their data is kept, so it has to move along.
        # Those being deleted too: what was stored of them before has to meet its tombstones.
        return Indexer(
            event_log, rebuild.store, vectorizer, resolve_tenant, resolve_uid=resolve_uid
        )

    group = consumer_group(rebuild.store.collection_id)
    await rebuild.copy_markers()
    async with indexing(make_indexer):
        while True:
            started = clock()
            await _reach_the_end(event_log, group, on_progress)
            if clock() - started < _CAUGHT_UP_SECONDS:
                break
        # Filling may have taken longer than the log keeps deletions.
        await rebuild.copy_markers()
        outcome = await rebuild.switch()
        # Stays in the group until those in service have joined it: nothing waits in between.
        await asyncio.sleep(rebuild.handover_seconds)
    return outcome


async def _reach_the_end(event_log: EventLog, group: str, on_progress: OnProgress) -> None:
    """Return when everything is done that is in the log now."""
    ends = await event_log.ends(USER_EVENTS)
    total = sum(end - first for first, end in ends.values())
    while True:
        committed = (await event_log.lag(USER_EVENTS, group)).committed
        left = sum(
            max(0, end - max(first, committed.get(partition, first)))
            for partition, (first, end) in ends.items()
        )
        on_progress(total - left, total)
        if left == 0:
            return
        await asyncio.sleep(_LOOK_EVERY_SECONDS)
