"""Applying events to the store: all of them, or the culprit found and set aside.

Away is not wrong. While the store or the embedder does not answer, the same events are tried again
for as long as it takes, and nothing is set aside. Only what is refused although everything is there
is halved until the one event that is to blame stands alone; that one goes to the dead letters.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
import structlog

from ai_gateway.dead_letters import dead_letter
from ai_gateway.embedding.port import EmbedderUnavailable
from ai_gateway.embedding.text import user_text
from ai_gateway.embedding.vectorizer import Vectorizer
from ai_gateway.traces import indexed
from ai_gateway.vector_store.port import Change, Delete, StoreUnavailable, Upsert, User, VectorStore
from meshkit.events.envelope import UserEvent
from meshkit.events.log import EventLog, Record
from meshkit.telemetry import metrics

T = TypeVar("T")

log = structlog.get_logger()

_BACKOFF_LEAST, _BACKOFF_MOST = 0.05, 5.0
_AWAY = (StoreUnavailable, EmbedderUnavailable)


class Work(msgspec.Struct, frozen=True, gc=False):
    """An event, the record it was read from, and how it is to be stored."""

    record: Record
    event: UserEvent
    change: Change | None = None


class Applier:
    """Turns events into changes of the store. `on_wait` is told why it waits, or None."""

    def __init__(
        self,
        event_log: EventLog,
        store: VectorStore,
        vectorizer: Vectorizer,
        on_wait: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._log = event_log
        self._store = store
        self._vectorizer = vectorizer
        self._on_wait = on_wait

    async def vectorize(self, work: Sequence[Work]) -> list[Work]:
        """Return the work with its changes, made in one call of the embedder.

        What the embedder refuses is set aside and left out; while it is away, this waits.
        """
        try:
            return await self.patiently(lambda: self._with_changes(work))
        except Exception as error:
            halves = await self._halves(work, error)
            return [done for half in halves for done in await self.vectorize(half)]

    async def apply(self, work: Sequence[Work]) -> None:
        """Store changes; when this returns each is searchable, or its event is set aside."""
        changes = [one.change for one in work if one.change is not None]
        try:
            await self.patiently(lambda: self._store.apply(changes))
        except Exception as error:
            for half in await self._halves(work, error):
                await self.apply(half)
            return
        metrics.EVENTS_INDEXED.inc(len(changes))
        for one in work:
            indexed(one.record, one.event)

    async def set_aside(self, record: Record, reason: str, attempts: int) -> None:
        """Put a record into the dead letters."""
        place = {"partition": record.partition, "offset": record.offset}
        log.error("event_dead_lettered", reason=reason, **place)
        metrics.EVENTS_DEAD_LETTERED.inc()
        await dead_letter(self._log, record, reason, attempts)

    async def patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what `attempt` returns, tried until everything that it needs is there."""
        backoff = _BACKOFF_LEAST
        while True:
            try:
                result = await attempt()
            except _AWAY as error:
                metrics.INDEXER_RETRIES.inc()
                self._on_wait(str(error))
                log.warning("indexing_waits", reason=str(error), retry_in_seconds=backoff)
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _BACKOFF_MOST)
            else:
                self._on_wait(None)
                return result

    async def _halves(self, work: Sequence[Work], error: Exception) -> Sequence[Sequence[Work]]:
        if len(work) > 1:
            middle = len(work) // 2
            return work[:middle], work[middle:]
        log.error("event_not_applicable", event_id=work[0].event.event_id, exc_info=error)
        await self.set_aside(work[0].record, f"cannot be applied: {error}", attempts=2)
        return ()

    async def _with_changes(self, work: Sequence[Work]) -> list[Work]:
        texts = [
            user_text(data.name, data.email, data.attributes)
            for one in work
            if (data := one.event.data) is not None
        ]
        dense, lexical = await self._vectorizer.documents(texts) if texts else ((), ())
        vectors = zip(dense, lexical, strict=True)
        done = []
        for one in work:
            event, revision = one.event, one.record.position
            change: Change = Delete(event.tenant, event.user_id, revision)
            if event.data is not None:
                data = event.data
                user = User(data.user_id, data.email, data.name, data.attributes)
                change = Upsert(event.tenant, user, revision, *next(vectors))
            done.append(Work(one.record, event, change))
        return done
