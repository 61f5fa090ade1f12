"""Counting what the store holds, and telling it through `mesh.usage`.

The store's own count is the truth: creates, updates, deletions, doubles and reindexing are all in
it. A tenant whose events were stored is counted a moment later; every tenant is counted at the
start, and again in turn, whatever was missed. With the count goes how far the index had come, so
that others know what it includes.

The embedded engine does nothing else during a count, and that takes as long as the tenant has users
(12 ms for 100,000). So the larger a tenant is, the more rarely it is counted.

A collection that is being filled again holds less than the tenant has: while the index is behind
what was told before, nothing is told.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from ai_gateway.applying import Work
from ai_gateway.indexer import consumer_group
from ai_gateway.vector_store.port import StoreRefused, StoreUnavailable, VectorStore
from meshkit.clock import Clock, monotonic
from meshkit.errors import LogUnavailable
from meshkit.events.log import USER_EVENTS, EventLog
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.source import TenantSource
from meshkit.tenancy.terminating import TerminatingTenants
from meshkit.usage.records import Stored, later, settled, stored_key, usage_record
from meshkit.usage.topic import UsageTopic

log = structlog.get_logger()

COUNT_EVERY_SECONDS = 0.25
RECOUNT_SECONDS = 300.0
_COUNTED_AT_ONCE = 200
_LOOK_AGAIN_SECONDS = 10.0
# A count that takes longer than that is one that others feel, and may take so much of the time.
_FELT_SECONDS = 0.002
_PART_OF_TIME = 1 / 200
_BACKOFF_MOST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _ToCount:
    """A tenant, and how far in the log its events were stored since it was last counted."""

    tenant: TenantContext
    through: dict[int, int]


class StoredUsers:
    """Counts the tenants of a store. `stored` is called by the indexer; `counting` makes it
    count. `recount_seconds` is how long it takes to count everybody once more."""

    def __init__(
        self,
        event_log: EventLog,
        store: VectorStore,
        topic: UsageTopic,
        tenants: TenantSource,
        *,
        recount_seconds: float = RECOUNT_SECONDS,
        clock: Clock = monotonic,
    ) -> None:
        self._log = event_log
        self._store = store
        self._topic = topic
        self._tenants = tenants
        self._leaving = TerminatingTenants(tenants)
        self._recount_seconds = recount_seconds
        self._clock = clock
        self._changed: dict[str, _ToCount] = {}
        self._in_turn: deque[TenantContext] = deque()
        self._all_counted_once = False
        self._told: dict[str, Stored] = {}
        # Of large tenants: when they may be counted again.
        self._due: dict[str, float] = {}
        self._log_id = ""
        self._committed: dict[int, int] = {}
        self._look_due = 0.0
        self._problem: str | None = None

    def stored(self, work: Sequence[Work]) -> None:
        """Note whose events were stored, and how far in the log."""
        for one in work:
            tenant, record = one.event.tenant, one.record
            through = self._changed.setdefault(tenant.tenant_uid, _ToCount(tenant, {})).through
            through[record.partition] = max(through.get(record.partition, -1), record.offset)

    @asynccontextmanager
    async def counting(self) -> AsyncIterator[None]:
        """Count for as long as the block lasts."""
        task = asyncio.create_task(self._count_for_ever(), name="counting")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def problem(self) -> str | None:
        """Why nobody is being counted, None while everybody is."""
        return self._problem

    async def _count_for_ever(self) -> None:
        pause = COUNT_EVERY_SECONDS
        while True:
            begun = self._clock()
            try:
                await self._topic.loaded()
                await self._count_some()
            except (StoreUnavailable, StoreRefused, LogUnavailable) as error:
                self._problem = str(error)
                log.warning("counting_waits", reason=str(error), retry_in_seconds=pause)
            except Exception as error:
                # A loop that must survive: whoever is missed is counted in turn.
                self._problem = f"counting fails with {type(error).__name__}"
                log.exception("counting_failed", retry_in_seconds=pause)
            else:
                self._problem = None
                pause = COUNT_EVERY_SECONDS
            # As long as that took: counting is at most half of what the store does.
            await asyncio.sleep(max(pause, self._clock() - begun))
            if self._problem is not None:
                pause = min(pause * 2, _BACKOFF_MOST_SECONDS)

    async def _count_some(self) -> None:
        """Count who has changed, and the next in turn; tell what others do not know."""
        self._look_for_others_counts()
        await self._look_how_far()
        now = self._clock()
        self._due = {uid: due for uid, due in self._due.items() if due > now}
        changed = [uid for uid in self._changed if uid not in self._due][:_COUNTED_AT_ONCE]
        known = {*changed, *self._changed}
        some = [self._changed.pop(uid) for uid in changed]
        some += [
            _ToCount(tenant, {})
            for tenant in self._next_in_turn()
            if tenant.tenant_uid not in known
        ]
        try:
            told = {}
            for one in some:
                if (value := await self._count(one)) is not None:
                    told[one.tenant.tenant_uid] = value
            await self._tell(told)
            self._told = told
        except Exception:
            self._again(some)
            raise

    async def _tell(self, told: Mapping[str, Stored]) -> None:
        """Publish counts, and return once they are known here: the next ones build on them."""
        if told:
            *others, (last, value) = told.items()
            await self._topic.publish([usage_record(stored_key(u), v) for u, v in others])
            await self._topic.publish_and_read(
                lambda ask: usage_record(stored_key(last), value, ask), lambda: None
            )

    async def _count(self, one: _ToCount) -> Stored | None:
        """Return what to tell of a tenant, None where there is nothing new."""
        uid = one.tenant.tenant_uid
        if uid in self._leaving:
            return None
        known = self._topic.counters.stored(uid)
        if known is not None and known.log != self._log_id:
            # Places in another log mean nothing here.
            known = None
        through = later(one.through, self._committed)
        if known is not None and not settled(known.through, Stored(0, through)):
            if one.through:
                self._again([one])
            return None
        begun = self._clock()
        users = await self._store.count(one.tenant)
        took = self._clock() - begun
        if took > _FELT_SECONDS:
            self._due[uid] = begun + took / _PART_OF_TIME
        if known is None:
            return Stored(users, through, self._log_id) if users or one.through else None
        waited_for = one.through or any(True for _ in self._topic.counters.claims(uid))
        if users == known.users and not waited_for:
            return None
        return Stored(users, later(known.through, through), self._log_id)

    def _again(self, some: Sequence[_ToCount]) -> None:
        for one in some:
            newer = self._changed.get(one.tenant.tenant_uid)
            through = later(one.through, newer.through if newer is not None else {})
            self._changed[one.tenant.tenant_uid] = _ToCount(one.tenant, through)

    def _next_in_turn(self) -> list[TenantContext]:
        """Return the next tenants: all at the start, in parts, then as many as the time asks."""
        if not self._in_turn:
            self._in_turn.extend(policy.context for policy in self._tenants.policies().values())
        share = _COUNTED_AT_ONCE
        if self._all_counted_once:
            everybody = len(self._tenants.policies())
            share = min(share, 1 + int(everybody * COUNT_EVERY_SECONDS / self._recount_seconds))
        taken = [self._in_turn.popleft() for _ in range(min(share, len(self._in_turn)))]
        self._all_counted_once = self._all_counted_once or not self._in_turn
        return taken

    def _look_for_others_counts(self) -> None:
        """Count again whom somebody else counted at the same time: whose count is newer is not
        known."""
        for uid, told in self._told.items():
            found = self._topic.counters.stored(uid)
            if found is not None and found != told:
                self._in_turn.extendleft(
                    policy.context
                    for policy in self._tenants.policies().values()
                    if policy.tenant_uid == uid
                )
        self._told = {}

    async def _look_how_far(self) -> None:
        """Learn now and then how far the index has come, for what no event of a tenant tells."""
        if self._clock() < self._look_due:
            return
        self._log_id = self._log_id or await self._log.log_id()
        self._look_due = self._clock() + _LOOK_AGAIN_SECONDS
        lag = await self._log.lag(USER_EVENTS, consumer_group(self._store.collection_id))
        self._committed = {number: offset - 1 for number, offset in lag.committed.items()}
