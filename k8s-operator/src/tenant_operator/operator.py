"""The operator without kopf: it is told what happens, and reconciles whom that concerns.

Level-triggered: news of a Tenant, a plan, a policy or a replica only says whose name to look at;
the looking compares what is with what is to be. Everything is listed once at the start, before
anybody is judged, and again now and then: what a watch failed to tell is noticed, mended, and shows
in the liveness probe.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

import structlog

from meshkit.clock import Clock, WallClock, monotonic, utc_now
from meshkit.kube.objects import KubeRefused, KubeUnavailable, Object, Resource
from meshkit.membership.lease import LEASES
from meshkit.tasks import end
from meshkit.telemetry import metrics
from meshkit.tenancy.resources import PLANS, POLICIES, TENANTS
from tenant_operator.cluster import Cluster
from tenant_operator.erasers import Erasers
from tenant_operator.membership import Membership
from tenant_operator.observed import Objects, Observed, version_of
from tenant_operator.patience import OVERDUE_SECONDS, SETTLE_SECONDS
from tenant_operator.reconcile import Reconciler
from tenant_operator.usage import TenantUsage
from tenant_operator.usage_reader import UsageReader
from tenant_operator.work_queue import WorkQueue

log = structlog.get_logger()

WATCHED = (TENANTS, PLANS, POLICIES, LEASES)
RESYNC_SECONDS = 300.0
# What a list has that its watch has not told by then, it will never tell.
_WATCH_GRACE_SECONDS = 30.0
# A watch that lists anew is through with that by then.
_RELIST_SECONDS = 1.0
_BACKOFF_LEAST, _BACKOFF_MOST = 0.2, 30.0
_URGENT_WORKERS, _WORKERS = 6, 2
# Replicas come and go together, as in a rolling update.
MEMBERS_SETTLE_SECONDS = 1.0
_FORGOTTEN_LEASE_SECONDS = 600.0


class TenantOperator:
    """Reconciles the Tenants of one namespace. `running` makes it work."""

    def __init__(
        self,
        cluster: Cluster,
        membership: Membership,
        erasers: Erasers,
        usage: UsageReader | None = None,
        *,
        resync_seconds: float = RESYNC_SECONDS,
        settle_seconds: float = SETTLE_SECONDS,
        overdue_seconds: float = OVERDUE_SECONDS,
        members_settle_seconds: float = MEMBERS_SETTLE_SECONDS,
        verify_again_seconds: float | None = None,
        clock: Clock = monotonic,
        wall_clock: WallClock = utc_now,
    ) -> None:
        self._cluster = cluster
        self._membership = membership
        self._resync_seconds = resync_seconds
        self._members_settle_seconds = members_settle_seconds
        self._clock = clock
        self._usage = usage
        self.observed = Observed()
        self.queue = WorkQueue(clock)
        self._reconciler = Reconciler(
            cluster,
            self.observed,
            membership,
            erasers,
            self.queue.add_later,
            TenantUsage() if usage is None else usage.usage,
            settle_seconds=settle_seconds,
            overdue_seconds=overdue_seconds,
            verify_again_seconds=verify_again_seconds,
            clock=clock,
            wall_clock=wall_clock,
        )
        self._backoff: dict[str, float] = {}
        self._told: dict[Resource, int] = dict.fromkeys(WATCHED, 0)
        self._expected: dict[Resource, tuple[int, float]] = {}
        self._names_told: dict[Resource, set[str]] = {resource: set() for resource in WATCHED}
        self._watch_began_anew = asyncio.Event()
        self._members_moved = asyncio.Event()
        self._loaded = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """List everything, then work for as long as the block lasts. Raises KubeUnavailable,
        KubeRefused where nothing can be listed."""
        await self.resync()
        self._loaded = True
        works = [
            self._work(urgent_only=number < _URGENT_WORKERS)
            for number in range(_URGENT_WORKERS + _WORKERS)
        ]
        works += [self._keep_listing(), self._follow_members(), self._watch_leases_end()]
        if self._usage is not None:
            works.append(self._usage.follow(self.observed, self.queue))
        tasks = [asyncio.create_task(work) for work in works]
        try:
            yield
        finally:
            await end(*tasks)
            await self._reconciler.close()

    async def ready(self) -> str | None:
        """Return why it is not at work yet, for `/readyz`."""
        return None if self._loaded else "the tenants have not been listed yet"

    async def alive(self) -> str | None:
        """Return which watch has died, for `/livez`."""
        for resource, (version, since) in self._expected.items():
            overdue = self._clock() - since > _WATCH_GRACE_SECONDS
            if self._told[resource] < version and overdue:
                return f"the watch of {resource.plural} is dead: version {version} was never told"
        return None

    def told(self, resource: Resource, kind: str | None, found: Object) -> None:
        """Take in an event of a watch: ADDED, MODIFIED, DELETED, or None for what was there."""
        self._told[resource] = max(self._told[resource], version_of(found))
        name = found["metadata"]["name"]
        self._note_told(resource, kind, name)
        if resource == LEASES:
            members = self._membership
            members.removed(found) if kind == "DELETED" else members.saw(found)
            self._look_at_members()
            return
        objects = self._objects(resource)
        news = objects.removed(found) if kind == "DELETED" else objects.saw(found)
        if news:
            self._concern(self._names(resource, name))

    def _note_told(self, resource: Resource, kind: str | None, name: str) -> None:
        """Notice that a watch has listed anew: it never tells what was removed before that."""
        names = self._names_told[resource]
        if kind is None and name in names:
            self._watch_began_anew.set()
        if kind == "DELETED":
            names.discard(name)
        else:
            names.add(name)

    async def resync(self) -> None:
        """List everything and look at whom it has news of. Raises KubeUnavailable, KubeRefused."""
        for resource in WATCHED:
            found, version = await self._cluster.listed(resource)
            newest = max((one.version for one in found), default=0)
            if newest > self._told[resource]:
                self._expected[resource] = newest, self._clock()
            if resource == LEASES:
                self._membership.listed(found, version)
                continue
            names = self._objects(resource).listed(found, version)
            concerned: set[str] = set()
            for name in names:
                concerned |= self._names(resource, name)
            self._concern(concerned)
        self._look_at_members()
        metrics.OPERATOR_TENANTS.set(len(self.observed.tenants))

    def _objects(self, resource: Resource) -> Objects:
        return {
            TENANTS: self.observed.tenants,
            PLANS: self.observed.plans,
            POLICIES: self.observed.policies,
        }[resource]

    def _names(self, resource: Resource, name: str) -> set[str]:
        """Return the tenants that news of an object concerns."""
        if resource == TENANTS:
            return self.observed.tenant_changed(name)
        return self.observed.on_plan(name) if resource == PLANS else {name}

    def _concern(self, names: Iterable[str]) -> None:
        for name in names:
            self.queue.add(name)
        metrics.OPERATOR_QUEUE.set(len(self.queue))

    def _look_at_members(self) -> None:
        if self._membership.look():
            self._members_moved.set()
            metrics.MEMBERS.set(len(self._membership.live))
        self._concern(self._membership.acknowledged())

    async def _work(self, *, urgent_only: bool) -> None:
        while True:
            name = await self.queue.take(urgent_only=urgent_only)
            outcome = "done"
            try:
                await self._reconciler.reconcile(name)
                self._backoff.pop(name, None)
            except (KubeUnavailable, KubeRefused) as error:
                outcome = "put off"
                log.warning("reconcile_put_off", tenant=name, reason=str(error))
            except Exception:
                # A loop that must survive: one tenant's fault is not the others'.
                outcome = "failed"
                log.exception("reconcile_failed", tenant=name)
            finally:
                self.queue.done(name)
            metrics.RECONCILES.labels(outcome).inc()
            metrics.OPERATOR_QUEUE.set(len(self.queue))
            metrics.OPERATOR_ERASING.set(self._reconciler.erasing)
            if outcome != "done":
                wait = self._backoff.get(name, _BACKOFF_LEAST)
                self._backoff[name] = min(_BACKOFF_MOST, wait * 2)
                self.queue.add_later(name, wait * random.uniform(0.5, 1.5))  # noqa: S311 - jitter

    async def _keep_listing(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._resync_seconds * random.uniform(0.9, 1.1)):  # noqa: S311
                    await self._watch_began_anew.wait()
                    await asyncio.sleep(_RELIST_SECONDS)
            self._watch_began_anew.clear()
            try:
                await self.resync()
                for name in self._membership.ended(_FORGOTTEN_LEASE_SECONDS):
                    await self._cluster.delete_lease(name)
            except (KubeUnavailable, KubeRefused) as error:
                log.warning("resync_put_off", reason=str(error))

    async def _follow_members(self) -> None:
        """Bring every status up to date after replicas came or went, behind what is urgent."""
        while True:
            await self._members_moved.wait()
            await asyncio.sleep(self._members_settle_seconds)
            self._members_moved.clear()
            log.info("members_changed", live=len(self._membership.live))
            for name in self.observed.tenants.names():
                self.queue.add(name, background=True)

    async def _watch_leases_end(self) -> None:
        """Notice that a Lease has ended, which no event says."""
        while True:
            left = self._membership.next_end()
            await asyncio.sleep(1.0 if left is None else min(1.0, left + 0.01))
            self._look_at_members()
