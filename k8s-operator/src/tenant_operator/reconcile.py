"""One Tenant at a time: what it is to have, what it has, and what that takes.

    observe ──► decide ──► write the policy ──► wait for replicas ──► write the status

Every step compares before it writes, so looking again writes nothing. The status is held back for a
moment after a policy was written: mostly every replica obeys by then, and one write says it all.
"""

from collections.abc import Callable

import structlog

from meshkit.clock import Clock, WallClock, monotonic, utc_now
from meshkit.kube.objects import Conflict, NotFound, Object
from meshkit.telemetry import metrics
from meshkit.tenancy.policy import TenantPolicy
from tenant_operator.cluster import Cluster
from tenant_operator.deletion import (
    VERIFY_AGAIN_SECONDS,
    Deletion,
    Progress,
    is_held,
    to_be_erased,
    wants_erasure,
)
from tenant_operator.erasers import Erasers
from tenant_operator.membership import Membership
from tenant_operator.observed import Observed, name_of, own_uid, version_of, wanted_uid
from tenant_operator.patience import OVERDUE_SECONDS, SETTLE_SECONDS, Patience
from tenant_operator.policies import (
    Claim,
    decide,
    last_policy,
    leaving,
    policy_document,
    read_policy,
    stands,
)
from tenant_operator.status import (
    Findings,
    deleting,
    enforcement,
    is_written,
    lagging,
    last_accepted,
    news,
    status_document,
)
from tenant_operator.usage import TenantUsage

log = structlog.get_logger()

LookAgain = Callable[[str, float], None]
"""Has a name reconciled after so many seconds."""


class Reconciler:
    """Brings Tenants to where they are to be. `reconcile` is called for one name at a time."""

    def __init__(
        self,
        cluster: Cluster,
        observed: Observed,
        membership: Membership,
        erasers: Erasers,
        look_again: LookAgain,
        usage: TenantUsage,
        *,
        settle_seconds: float = SETTLE_SECONDS,
        overdue_seconds: float = OVERDUE_SECONDS,
        verify_again_seconds: float | None = None,
        clock: Clock = monotonic,
        wall_clock: WallClock = utc_now,
    ) -> None:
        self._cluster = cluster
        self._observed = observed
        self._membership = membership
        self._look_again = look_again
        self._usage = usage
        self._wall_clock = wall_clock
        self._patience = Patience(clock, settle_seconds, overdue_seconds)
        self._deletion = Deletion(
            cluster,
            observed,
            membership,
            erasers,
            self._report_deletion,
            self._last_policy,
            wall_clock=wall_clock,
            verify_again_seconds=VERIFY_AGAIN_SECONDS
            if verify_again_seconds is None
            else verify_again_seconds,
        )

    @property
    def erasing(self) -> int:
        """How many tenants are being erased."""
        return self._deletion.running

    async def close(self) -> None:
        """Stop what runs on its own."""
        await self._deletion.close()

    async def reconcile(self, name: str) -> None:
        """Do what a Tenant of this name needs now. Raises KubeUnavailable, KubeRefused."""
        try:
            await self._reconcile(name)
        except NotFound:
            # It was deleted while this looked at it: the watch will say so.
            log.info("tenant_gone", tenant=name)

    async def _reconcile(self, name: str) -> None:
        tenant = self._observed.tenants.get(name)
        found = self._observed.policies.get(name)
        if tenant is None:
            await self._clear(name, found)
        elif not tenant["metadata"].get("deletionTimestamp"):
            tenant = await self._held_as_wanted(tenant)
            await self._bring_into_force(tenant, found)
        elif to_be_erased(tenant):
            self._deletion.advance(name)
        elif is_held(tenant):
            # Its data was to be erased, and somebody has thought better of it in time.
            await self._held_as_wanted(tenant)
        else:
            policy = read_policy(found, tenant)
            if policy is not None:
                await self._applied(tenant, found, leaving(policy))

    async def _bring_into_force(self, tenant: Object, found: Object | None) -> None:
        name = name_of(tenant)
        in_force = read_policy(found, tenant)
        plan, rivals = self._observed.plan_of(tenant), self._rivals(tenant, in_force)
        decision = decide(tenant, plan, in_force, rivals)
        if decision.policy is not None:
            found = await self._applied(tenant, found, decision.policy)
        elif found is not None:
            # What is there is of an earlier Tenant of this name, or lets it at the data of another
            # tenant: nobody may go on under it. Unless it is this Tenant that is an earlier one.
            now = await self._cluster.tenant(name)
            if now is None or own_uid(now) != own_uid(tenant):
                raise NotFound(404, "another Tenant by now")
            await self._cluster.delete_policy(found)
            found = None
        version = version_of(found)
        replicas = enforcement(name, version, self._membership.live)
        used = self._usage.of(decision.policy.tenant_uid) if decision.policy is not None else None
        findings = Findings(decision.accepted, decision.policy, replicas, used=used)
        if version and not replicas.complete:
            self._membership.wait_for(name, version)
        if replicas.complete:
            if (seconds := self._patience.end(name)) is not None:
                metrics.POLICY_PROPAGATION.observe(seconds)
        elif replicas.live and (left := self._patience.until_settled(name)):
            self._look_again(name, left)
            return
        await self._write_status(tenant, findings)
        if replicas.lagging:
            await self._tell_of_laggards(tenant, findings)

    async def _tell_of_laggards(self, tenant: Object, findings: Findings) -> None:
        """Tell people once that some replica does not come along."""
        left = self._patience.until_overdue(name_of(tenant))
        if left:
            self._look_again(name_of(tenant), left)
        elif left is not None:
            await self._cluster.tell(tenant, "NotEnforced", lagging(findings), warning=True)

    async def _applied(self, tenant: Object, found: Object | None, policy: TenantPolicy) -> Object:
        """Return the TenantPolicy object with this policy, written where it is another one."""
        wanted = policy_document(tenant, policy)
        if found is not None and stands(found, wanted):
            return found
        written = await self._cluster.apply_policy(wanted)
        self._observed.policies.saw(written)
        self._patience.begin(name_of(tenant))
        log.info("policy_written", tenant=name_of(tenant), revision=policy.revision)
        return written

    async def _write_status(self, tenant: Object, findings: Findings) -> None:
        status = status_document(tenant, findings, self._wall_clock())
        if is_written(tenant, status):
            return
        self._written_is(await self._cluster.apply_status(tenant, status))
        for one in news(tenant, status):
            await self._cluster.tell(tenant, one.reason, one.message, warning=one.warning)
            log.info("tenant_judged", tenant=name_of(tenant), reason=one.reason)

    async def _held_as_wanted(self, tenant: Object) -> Object:
        """Return the Tenant with the finalizer where its data is to be erased, else without."""
        if wants_erasure(tenant) == is_held(tenant):
            return tenant
        try:
            tenant = await self._cluster.hold_until_erased(tenant, wants_erasure(tenant))
        except Conflict as error:
            raise NotFound(404, str(error)) from None
        self._written_is(tenant)
        return tenant

    def _written_is(self, tenant: Object) -> None:
        for name in self._observed.tenant_written(tenant):
            self._look_again(name, 0.0)

    async def _clear(self, name: str, found: Object | None) -> None:
        """Remove the policy of a Tenant that is gone. Its owner reference says the same to the
        garbage collector; this is quicker, and also works where there is none."""
        self._patience.end(name)
        if found is None:
            return
        if (tenant := await self._cluster.tenant(name)) is not None:
            # Only not told yet: a watch may be behind.
            self._written_is(tenant)
            return
        await self._cluster.delete_policy(found)
        log.info("policy_removed", tenant=name)

    def _last_policy(self, tenant: Object) -> TenantPolicy | None:
        in_force = read_policy(self._observed.policies.get(name_of(tenant)), tenant)
        plan = self._observed.plan_of(tenant)
        return last_policy(tenant, plan, in_force, self._rivals(tenant, in_force))

    def _rivals(self, tenant: Object, in_force: TenantPolicy | None) -> dict[str, Claim]:
        """Return the others that ask for a uid that a Tenant asks for, or has."""
        rivals = dict(self._observed.claimants(wanted_uid(tenant)))
        if in_force is not None:
            rivals |= self._observed.claimants(in_force.tenant_uid)
        rivals.pop(name_of(tenant), None)
        return {
            rival: Claim(found, read_policy(self._observed.policies.get(rival), found))
            for rival, found in rivals.items()
        }

    async def _report_deletion(self, tenant: Object, progress: Progress) -> None:
        name = name_of(tenant)
        found = self._observed.policies.get(name)
        findings = Findings(
            last_accepted((tenant.get("status") or {}).get("conditions") or ()),
            read_policy(found, tenant),
            enforcement(name, version_of(found), self._membership.live),
            deleting(progress.reason, progress.message),
            progress.erasure,
        )
        status = status_document(tenant, findings, self._wall_clock())
        if not is_written(tenant, status):
            self._written_is(await self._cluster.apply_status(tenant, status))
