"""From the event log to the vector store, in batches.

The promise: every event is applied at least once, in the order of its user's events, and applying
it again changes nothing (the store's revision guard). So nothing here needs to be exact about
when it is interrupted: offsets are committed only after the store has made what came before them
durable, and a restart reads again from there.

Away is not wrong: while the store or the embedder does not answer, the indexer waits and loses
nothing. An event that can never be understood goes to the dead-letter topic, alone.
"""

import asyncio
from collections.abc import Sequence

import structlog

from ai_gateway.dead_letters import dead_letter
from ai_gateway.embedding.port import EmbedderUnavailable
from ai_gateway.embedding.text import user_text
from ai_gateway.embedding.vectorizer import Vectorizer
from ai_gateway.progress import IndexProgress
from ai_gateway.vector_store.port import Change, Delete, StoreUnavailable, Upsert, User, VectorStore
from meshkit.clock import Clock, WallClock, monotonic, utc_now
from meshkit.errors import LogUnavailable
from meshkit.events.envelope import BadEvent, UserEvent
from meshkit.events.log import USER_EVENTS, Consumer, EventLog, Record
from meshkit.events.reading import ResolveTenant, from_record
from meshkit.telemetry import metrics

log = structlog.get_logger()

GROUP = "ai-gateway-indexer"
# Large enough to share the cost of a call, small enough that nobody waits long behind one: a batch
# is a few milliseconds of the event loop and of the engine.
BATCH_MOST = 64
# Making the store durable holds it up, by some 7 ms and 6 µs a point: so it is done in a quiet
# moment, and under steady traffic this often, before it becomes long. What is not committed is read
# again after a crash.
COMMIT_EVERY_SECONDS = 1.0
_POLL_SECONDS = 0.5
_BACKOFF_LEAST, _BACKOFF_MOST = 0.05, 5.0


class Indexer:
    """Keeps the store what the log says. One task runs `run`; cancelling it is a clean stop."""

    def __init__(
        self,
        event_log: EventLog,
        store: VectorStore,
        vectorizer: Vectorizer,
        progress: IndexProgress,
        resolve_tenant: ResolveTenant,
        *,
        clock: Clock = monotonic,
        wall_clock: WallClock = utc_now,
    ) -> None:
        self._log = event_log
        self._store = store
        self._vectorizer = vectorizer
        self._progress = progress
        self._resolve_tenant = resolve_tenant
        self._clock = clock
        self._wall_clock = wall_clock
        self._uncommitted: dict[int, int] = {}
        self._commit_due = 0.0

    async def run(self) -> None:
        """Index until cancelled; returns where the collection was replaced by an empty one.

        The consumer group is the collection's: a new collection reads the log from its start.
        """
        collection_id = self._store.collection_id
        group = f"{GROUP}.{collection_id}"
        consumer = self._log.consumer(USER_EVENTS, group)
        try:
            lag = await self._log.lag(USER_EVENTS, group)
            self._progress.restart(lag.committed)
            log.info("indexing_starts", collection=collection_id, records_waiting=lag.records)
            while self._store.collection_id == collection_id:
                await self._step(consumer, collection_id)
        finally:
            await self._commit(consumer, collection_id)
            await consumer.close()

    async def _step(self, consumer: Consumer, collection_id: str) -> None:
        try:
            records = await consumer.consume(BATCH_MOST, _POLL_SECONDS)
        except LogUnavailable as error:
            log.warning("log_unavailable", reason=error.detail)
            await asyncio.sleep(_BACKOFF_MOST)
            return
        if records:
            await self._index(records)
        if not records or self._clock() >= self._commit_due:
            await self._commit(consumer, collection_id)

    async def _index(self, records: Sequence[Record]) -> None:
        events = [
            (record, event) for record in records if (event := await self._read(record)) is not None
        ]
        if events:
            await self._apply_until_done(events)
        now = self._wall_clock().timestamp()
        for record in records:
            self._uncommitted[record.partition] = record.offset + 1
            metrics.FRESHNESS.observe(max(0.0, now - record.timestamp_ms / 1000))
        for partition in {record.partition for record in records}:
            self._progress.advance(partition, self._uncommitted[partition])

    async def _read(self, record: Record) -> UserEvent | None:
        try:
            return from_record(record, self._resolve_tenant)
        except BadEvent as error:
            await self._dead_letter(record, str(error), attempts=1)
            return None

    async def _apply_until_done(self, events: Sequence[tuple[Record, UserEvent]]) -> None:
        backoff = _BACKOFF_LEAST
        while True:
            try:
                await self._apply(events)
            except (StoreUnavailable, EmbedderUnavailable) as error:
                metrics.INDEXER_RETRIES.inc()
                log.warning("indexing_waits", reason=str(error), retry_in_seconds=backoff)
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _BACKOFF_MOST)
            else:
                return

    async def _apply(self, events: Sequence[tuple[Record, UserEvent]]) -> None:
        """Apply events; one that cannot be applied is found by halving and set aside."""
        try:
            await self._store.apply(await self._changes(events))
        except (StoreUnavailable, EmbedderUnavailable):
            raise
        except Exception as error:
            if len(events) > 1:
                middle = len(events) // 2
                await self._apply(events[:middle])
                await self._apply(events[middle:])
                return
            log.exception("event_not_applicable", event_id=events[0][1].event_id)
            await self._dead_letter(events[0][0], f"cannot be applied: {error}", attempts=2)
            return
        metrics.EVENTS_INDEXED.inc(len(events))

    async def _changes(self, events: Sequence[tuple[Record, UserEvent]]) -> list[Change]:
        texts = [
            user_text(event.data.name, event.data.email, event.data.attributes)
            for _, event in events
            if event.data is not None
        ]
        dense, lexical = await self._vectorizer.documents(texts) if texts else ((), ())
        changes: list[Change] = []
        vectors = zip(dense, lexical, strict=True)
        for record, event in events:
            if event.data is None:
                changes.append(Delete(event.tenant, event.user_id, record.offset))
                continue
            data = event.data
            user = User(data.user_id, data.email, data.name, data.attributes)
            changes.append(Upsert(event.tenant, user, record.offset, *next(vectors)))
        return changes

    async def _dead_letter(self, record: Record, reason: str, attempts: int) -> None:
        log.error(
            "event_dead_lettered",
            reason=reason,
            partition=record.partition,
            offset=record.offset,
        )
        metrics.EVENTS_DEAD_LETTERED.inc()
        await dead_letter(self._log, record, reason, attempts)

    async def _commit(self, consumer: Consumer, collection_id: str) -> None:
        """Commit what the store has made durable. Left undone, it is only read again."""
        self._commit_due = self._clock() + COMMIT_EVERY_SECONDS
        if not self._uncommitted:
            return
        offsets, self._uncommitted = self._uncommitted, {}
        try:
            await self._store.flush()
            if self._store.collection_id == collection_id:
                await consumer.commit(offsets)
        except (StoreUnavailable, LogUnavailable) as error:
            log.warning("commit_postponed", reason=str(error))
            self._uncommitted = {**offsets, **self._uncommitted}
