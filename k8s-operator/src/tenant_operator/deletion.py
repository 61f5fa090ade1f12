"""Erasing a tenant: a saga of steps that may be interrupted and done again at any of them.

    fence ──► drain ──► points ──► keys ──► counters ──► verify ──► verify again ──► report, let go

Where it stands is read from the world each time, not remembered: the policy says whether the tenant
is fenced, replicas say what they obey, services say what is left. So an operator that is killed
anywhere goes on when it is back. Each tenant has a task of its own: one that waits holds up nobody.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from meshkit.clock import WallClock, utc_now
from meshkit.kube.objects import KubeRefused, KubeUnavailable, NotFound, Object
from meshkit.tasks import end
from meshkit.tenancy.policy import TenantPolicy
from meshkit.tenancy.spec import ERASE_FINALIZER
from tenant_operator.cluster import Cluster
from tenant_operator.conditions import timestamp
from tenant_operator.erasers import Erasers, ErasureWaits, Remains
from tenant_operator.membership import Membership
from tenant_operator.observed import Observed, name_of, version_of
from tenant_operator.policies import policy_document, stands, terminating
from tenant_operator.status import enforcement

log = structlog.get_logger()

# Longer than it takes to store a batch: what was on its way at the first look shows at the second.
VERIFY_AGAIN_SECONDS = 2.0
_LOOK_AGAIN_SECONDS = 1.0
_DRAIN_SECONDS = 0.2
_BACKOFF_MOST = 30.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a deletion stands: a reason in one word, the same for people, and for how many seconds
    there is nothing to do. `erasure` is what the status has of it."""

    reason: str
    message: str
    wait: float = 0.0
    done: bool = False
    erasure: dict[str, Any] = field(default_factory=dict)


LastPolicy = Callable[[Object], TenantPolicy | None]
"""Returns the policy that a Tenant had when it was deleted; None where it never had one."""

Report = Callable[[Object, Progress], Awaitable[None]]
"""Writes the progress of a Tenant's deletion into its status."""


def is_held(tenant: Object) -> bool:
    """Return whether a Tenant is kept until its data is erased."""
    return ERASE_FINALIZER in (tenant["metadata"].get("finalizers") or ())


def wants_erasure(tenant: Object) -> bool:
    """Return whether a Tenant's data is to go with it."""
    return (tenant.get("spec") or {}).get("deletionPolicy") == "Delete"


def to_be_erased(tenant: Object) -> bool:
    """Return whether a Tenant is deleted, and waits for its data to be erased."""
    deleted = bool(tenant["metadata"].get("deletionTimestamp"))
    return deleted and is_held(tenant) and wants_erasure(tenant)


class Deletion:
    """Runs the sagas of the tenants that are to be erased."""

    def __init__(
        self,
        cluster: Cluster,
        observed: Observed,
        membership: Membership,
        erasers: Erasers,
        report: Report,
        last_policy: LastPolicy,
        *,
        verify_again_seconds: float = VERIFY_AGAIN_SECONDS,
        wall_clock: WallClock = utc_now,
    ) -> None:
        self._cluster = cluster
        self._observed = observed
        self._membership = membership
        self._erasers = erasers
        self._report = report
        self._last_policy = last_policy
        self._verify_again = verify_again_seconds
        self._wall_clock = wall_clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._news: dict[str, asyncio.Event] = {}

    def advance(self, name: str) -> None:
        """Begin the saga of a Tenant, or have it look again: something has changed."""
        self._news.setdefault(name, asyncio.Event()).set()
        if name not in self._tasks:
            task = asyncio.create_task(self._erase(name), name=f"erase {name}")
            self._tasks[name] = task
            task.add_done_callback(lambda _: self._forget(name))

    @property
    def running(self) -> int:
        """How many tenants are being erased."""
        return len(self._tasks)

    async def close(self) -> None:
        """Stop where each is; the next operator goes on."""
        await end(*self._tasks.values())

    def _forget(self, name: str) -> None:
        self._tasks.pop(name, None)
        self._news.pop(name, None)

    async def _erase(self, name: str) -> None:
        clean, backoff = False, _LOOK_AGAIN_SECONDS
        while (tenant := self._observed.tenants.get(name)) is not None and to_be_erased(tenant):
            self._news[name].clear()
            try:
                progress, clean = await self._step(tenant, clean)
                await self._report(tenant, progress)
                if progress.done:
                    await self._let_go(tenant, progress)
                    return
                backoff = _LOOK_AGAIN_SECONDS
            except NotFound:
                return
            except (KubeUnavailable, KubeRefused) as error:
                log.warning("erasure_waits", tenant=name, reason=str(error))
                progress = Progress("ApiServer", str(error), backoff)
                backoff = min(_BACKOFF_MOST, backoff * 2)
            except Exception:
                # A loop that must survive: every step may be done again.
                log.exception("erasure_step_failed", tenant=name)
                progress = Progress("Fault", "see the operator's log", backoff)
                backoff = min(_BACKOFF_MOST, backoff * 2)
            if not clean:
                with suppress(TimeoutError):
                    async with asyncio.timeout(progress.wait):
                        await self._news[name].wait()
            else:
                # The time between two looks is the point of them: no news cuts it short.
                await asyncio.sleep(progress.wait)

    async def _step(self, tenant: Object, clean: bool) -> tuple[Progress, bool]:
        """Do the next step; return where it stands, and whether nothing was found just now."""
        erasure = dict((tenant.get("status") or {}).get("erasure") or {})
        erasure.setdefault("startedAt", timestamp(self._wall_clock()))
        try:
            policy = self._fence(tenant)
            progress = await self._fenced_and_drained(tenant, policy)
            if progress is not None:
                return _with(progress, erasure), False
            remains = await self._erasers.remains(policy.tenant_uid)
            if "points" not in erasure:
                erasure |= {"points": remains.points, "keys": remains.keys}
                # First into the status, then out of the world: the report has to have the numbers.
                return Progress("Erasing", _left(remains), 0.0, erasure=erasure), False
            if not remains.nothing:
                remains = await self._erasers.erase(policy.tenant_uid)
                return Progress("Erasing", _left(remains), 0.0, erasure=erasure), False
        except ErasureWaits as error:
            return Progress("Waiting", str(error), _LOOK_AGAIN_SECONDS, erasure=erasure), False
        if not clean:
            message = "nothing is left; looking once more"
            return Progress("Verifying", message, self._verify_again, erasure=erasure), True
        erasure["verifiedAt"] = timestamp(self._wall_clock())
        message = f"erased {erasure['points']} points and {erasure['keys']} keys; verified twice"
        return Progress("Erased", message, done=True, erasure=erasure), True

    def _fence(self, tenant: Object) -> TenantPolicy:
        return terminating(tenant, self._last_policy(tenant))

    async def _fenced_and_drained(self, tenant: Object, policy: TenantPolicy) -> Progress | None:
        """Refuse the tenant's traffic and let what was under way end; None once that is so."""
        name = name_of(tenant)
        found = self._observed.policies.get(name)
        wanted = policy_document(tenant, policy)
        if found is None or not stands(found, wanted):
            found = await self._cluster.apply_policy(wanted)
            self._observed.policies.saw(found)
        fence = enforcement(name, version_of(found), self._membership.live)
        if fence.complete:
            # The watch may be late to tell of a replica that has come, and may not be fenced yet.
            self._membership.listed(*await self._cluster.members())
            fence = enforcement(name, version_of(found), self._membership.live_by_now())
        if not fence.complete:
            self._membership.wait_for(name, version_of(found))
            message = f"{fence} live replicas refuse its traffic"
            return Progress("Fencing", message, _LOOK_AGAIN_SECONDS)
        if await self._erasers.draining(policy.tenant_uid):
            return Progress("Draining", "what was under way comes to its end", _DRAIN_SECONDS)
        return None

    async def _let_go(self, tenant: Object, progress: Progress) -> None:
        erasure = progress.erasure
        report = {
            "tenant": name_of(tenant),
            "uid": self._fence(tenant).tenant_uid,
            "startedAt": erasure["startedAt"],
            "pointsErased": str(erasure["points"]),
            "keysErased": str(erasure["keys"]),
            "verifiedAt": erasure["verifiedAt"],
        }
        await self._cluster.keep_report(tenant, report)
        await self._cluster.tell(tenant, "Erased", progress.message, warning=False)
        self._observed.tenant_written(await self._cluster.hold_until_erased(tenant, False))
        log.info("tenant_erased", tenant=name_of(tenant), points=erasure["points"])


def _left(remains: Remains) -> str:
    counters = f", {remains.counters} counters" if remains.counters else ""
    return f"{remains.points} points and {remains.keys} keys{counters} are left"


def _with(progress: Progress, erasure: dict[str, Any]) -> Progress:
    return Progress(progress.reason, progress.message, progress.wait, erasure=erasure)
