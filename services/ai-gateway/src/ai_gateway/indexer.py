"""From the event log to the vector store, in batches, fairly.

The promise: every event is applied at least once, in the order of its user's events, and applying
it again changes nothing (the store's revision guard). So nothing here needs to be exact about
when it is interrupted: offsets are committed only after the store has made what came before them
durable, and a restart reads again from there.

    log ── Intake ──► Backlog ──take──► vectorize ──► apply ──► committed
            (bounded, one line a tenant)   (the next batch while those before are stored)
                           └──newcomers──► vectorize ──► apply ──┘
                                           (beside a batch that is being stored)
"""

import asyncio
from collections.abc import Callable, Container, Sequence

import structlog

from ai_gateway.applying import Applier, Work
from ai_gateway.backlog import Backlog
from ai_gateway.batching import BATCH_LEAST, BatchSize, BatchSizes
from ai_gateway.committing import Commits
from ai_gateway.embedding.vectorizer import Vectorizer
from ai_gateway.fairness import WeightOf
from ai_gateway.fence import Fence
from ai_gateway.intake import Intake
from ai_gateway.partition import Item
from ai_gateway.placement import PlacementCheck
from ai_gateway.running import any_of, unless_done
from ai_gateway.vector_store.port import VectorStore
from meshkit.clock import Clock, WallClock, monotonic, utc_now
from meshkit.errors import LogUnavailable
from meshkit.events.envelope import BadEvent, UserEvent
from meshkit.events.log import USER_EVENTS, Commit, EventLog
from meshkit.events.reading import ResolveTenant, ResolveUid, from_record, no_uid
from meshkit.tasks import end
from meshkit.telemetry import metrics
from meshkit.tenancy.identity import TenantContext

log = structlog.get_logger()

GROUP = "ai-gateway-indexer"
# Events made ready in one go: enough to share the embedder's call, some 2 ms of the event loop.
_SLICE = 64
_MAX_TENANTS_READ = 10_000
_COUNT_PARTITIONS_EVERY_SECONDS = 3600.0


def consumer_group(collection_id: str) -> str:
    """Return the group of a collection: a new collection reads the log from its start."""
    return f"{GROUP}.{collection_id}"


class Indexer:
    """Keeps the store what the log says. One task runs `run`; cancelling it is a clean stop."""

    def __init__(
        self,
        event_log: EventLog,
        store: VectorStore,
        vectorizer: Vectorizer,
        resolve_tenant: ResolveTenant,
        weight_of: WeightOf = lambda _: 1,
        *,
        resolve_uid: ResolveUid = no_uid,
        fenced: Container[str] = (),
        on_stored: Callable[[Sequence[Work]], None] = lambda _: None,
        clock: Clock = monotonic,
        wall_clock: WallClock = utc_now,
    ) -> None:
        self._log = event_log
        self._store = store
        self._resolve_tenant = resolve_tenant
        self._resolve_uid = resolve_uid
        self._tenants_read: dict[str, TenantContext] = {}
        self._on_stored = on_stored
        self._clock = clock
        self._wall_clock = wall_clock
        self._backlog = Backlog(weight_of)
        self._fence = Fence(fenced)
        self._sizes = BatchSizes(clock)
        self._applier = Applier(event_log, store, vectorizer, self._on_wait)
        self._placement = PlacementCheck()
        self._markers_are_kept = False
        self._count_partitions_at: float | None = None
        self._waits_for: str | None = None
        self._intake: Intake | None = None
        self._done = Commit({})
        self._batch_ended = 0.0

    @property
    def problem(self) -> str | None:
        """Why the index is not being kept up, None while it is."""
        return self._waits_for or (self._intake.problem if self._intake is not None else None)

    def busy_with(self, tenant_uid: str) -> bool:
        """Return whether an event of this tenant is on its way to the store: once the tenant is
        `fenced` and this is False, nothing older of it can be stored any more."""
        return self._fence.busy_with(tenant_uid)

    async def run(self) -> None:
        """Index until cancelled; returns where the collection was replaced by another one."""
        collection_id = self._store.collection_id
        group = consumer_group(collection_id)
        lag = await self._log.lag(USER_EVENTS, group)
        log.info("indexing_starts", collection=collection_id, records_waiting=lag.records)
        consumer = self._log.consumer(USER_EVENTS, group, lambda: self._done)
        reader = self._log.reader(USER_EVENTS)
        commits = Commits(consumer, self._store, self._backlog, self._clock)
        self._intake = Intake(consumer, reader, self._backlog)
        reading = asyncio.create_task(self._intake.run(), name="intake")
        try:
            await self._index(self._intake, reading, commits, collection_id)
        finally:
            await end(reading)
            await commits.last()
            await consumer.close()
            await reader.close()

    async def _index(
        self,
        intake: Intake,
        reading: asyncio.Task[None],
        commits: Commits,
        collection_id: str,
    ) -> None:
        """Store a batch, or two, while the next one is embedded; newcomers go beside them. In
        which order they are stored does not matter: the store knows the newer of two revisions."""
        prepared: tuple[list[Item], list[Work], BatchSize] | None = None
        batches: list[asyncio.Task[None]] = []
        express: asyncio.Task[None] | None = None
        try:
            while self._store.collection_id == collection_id:
                if reading.done():
                    reading.result()
                intake.arrived.clear()
                size = self._sizes.current
                if prepared is None and (items := self._backlog.take(size.now)):
                    prepared = items, await self._vectorized(items), size
                if prepared is not None and len(batches) < size.at_once:
                    batch = asyncio.create_task(self._store_batch(*prepared), name="batch")
                    batches.append(batch)
                    prepared = None
                    continue
                if batches and express is None and (late := self._late()):
                    express = asyncio.create_task(self._store_late(late), name="express")
                await any_of(intake.arrived, *batches, express)
                batches = [batch for batch in batches if unless_done(batch) is not None]
                express = unless_done(express)
                commits.aside()
        finally:
            await end(*batches, express)

    def _late(self) -> list[Item]:
        """Return what goes beside a batch that is being stored: who has little and comes now would
        wait for two batches otherwise. The store knows which of two revisions is the newer one."""
        late = self._backlog.take(BATCH_LEAST, newcomers_only=True)
        if not all(self._backlog.has_more(item.tenant) for item in late):
            self._sizes.somebody_light()
        return late

    async def _vectorized(self, items: list[Item]) -> list[Work]:
        """Return what is to be stored, made in slices: nothing else goes on during one, neither a
        search beside us nor the sending of the batch before."""
        done: list[Work] = []
        await self._count_partitions()
        for start in range(0, len(items), _SLICE):
            await asyncio.sleep(0)
            work = []
            for item in items[start : start + _SLICE]:
                event = await self._read(item, items)
                if event is not None:
                    work.append(Work(item.record, event))
            if work:
                done += await self._applier.vectorize(work)
        return done

    async def _read(self, item: Item, batch: list[Item]) -> UserEvent | None:
        """Return the event in a record; None where it ends here, as a dead letter or fenced."""
        try:
            event = from_record(item.record, self._resolve_tenant, self._tenant_with)
        except BadEvent as error:
            # It goes by its key: a dead letter would keep what is to be forgotten.
            if self._fence.passes(item.tenant, batch):
                await self._applier.set_aside(item.record, str(error), attempts=1)
            else:
                metrics.EVENTS_FENCED.inc()
            return None
        self._remember(event.tenant)
        if not self._markers_are_kept:
            misplaced = self._placement.misplaced(item.record, event)
            if misplaced is not None:
                await self._keep_markers(misplaced)
        if self._fence.passes(event.tenant.tenant_uid, batch):
            return event
        metrics.EVENTS_FENCED.inc()
        return None

    async def _keep_markers(self, reason: str) -> None:
        """Have the store keep what says that users are deleted: the log will not, of all of them.
        Before anything of this is committed, so that it cannot be missed."""
        await self._applier.patiently(lambda: self._store.keep_markers(reason))
        self._markers_are_kept = True

    async def _count_partitions(self) -> None:
        """Look how many partitions there are, at first and now and then: where some were added,
        the older records of users may lie in others than their deletions."""
        now = self._clock()
        if self._count_partitions_at is not None and now < self._count_partitions_at:
            return
        try:
            partitions = len(await self._log.ends(USER_EVENTS))
        except LogUnavailable:
            # Enough is read already to go on with; where nothing is known, it is read anew.
            if not self._placement.partitions:
                raise
            return
        await self._applier.patiently(lambda: self._store.note_partitions(partitions))
        self._placement.partitions = partitions
        self._count_partitions_at = now + _COUNT_PARTITIONS_EVERY_SECONDS

    def _tenant_with(self, uid: str) -> TenantContext | None:
        """Return the tenant of a tombstone that names only a uid: one in force, or one that an
        event before it named. A tenant that is gone may have data still (it was retained), and a
        reindexing has to delete from it what the log does not have any more."""
        return self._resolve_uid(uid) or self._tenants_read.get(uid)

    def _remember(self, tenant: TenantContext) -> None:
        if tenant.tenant_uid not in self._tenants_read:
            if len(self._tenants_read) == _MAX_TENANTS_READ:
                self._tenants_read.clear()
            self._tenants_read[tenant.tenant_uid] = tenant

    async def _store_batch(self, items: list[Item], work: Sequence[Work], size: BatchSize) -> None:
        started = self._clock()
        await self._stored(items, work)
        # What it waited for the batch before is no time of its own.
        ended = self._clock()
        size.took(len(items), ended - max(started, self._batch_ended))
        self._batch_ended = ended

    async def _store_late(self, items: list[Item]) -> None:
        await self._stored(items, await self._vectorized(items))

    async def _stored(self, items: list[Item], work: Sequence[Work]) -> None:
        if work:
            await self._applier.apply(work)
            self._on_stored(work)
        self._fence.arrived(items)
        self._backlog.finished(items)
        # Replaced, never changed: a thread may be looking, to hand partitions over.
        self._done = self._backlog.committable()
        now = self._wall_clock().timestamp()
        late = {id(item.record) for item in items if item.waited_apart}
        for one in work:
            if id(one.record) in late:
                continue
            metrics.FRESHNESS.observe(max(0.0, now - one.record.timestamp_ms / 1000))

    def _on_wait(self, reason: str | None) -> None:
        self._waits_for = reason
