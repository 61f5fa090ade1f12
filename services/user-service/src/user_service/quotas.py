"""Charging writes to their tenant's quotas: the day's events, and the users stored.

Room for a user is held first, then events are taken; both before anything is published, so that a
refusal has published nothing. What was charged for something that the log then did not take is
given back.

A replacement mostly makes nobody, but may: it passes also when the store is full, up to a hundredth
of the limit above it (ten at least), so that the users of a full tenant can still be corrected.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType

from meshkit.errors import LogUnavailable, QuotaExceeded
from meshkit.events.log import Position
from meshkit.telemetry import metrics
from meshkit.tenancy.policy import Enforcement, ResolvedQuota, TenantPolicy
from meshkit.usage.accounts import Accounts
from meshkit.usage.windows import EVENTS_PER_DAY, STORED_USERS, WARNED_FROM
from meshkit.web.call import Call, Header
from meshkit.web.quotas import quota_exceeded, warning_headers

_SLACK_LEAST = 10
_SLACK_PART = 100
# Who is so far from its first warning is not looked at again for a moment: no process accepts as
# much in that time.
_FAR = 10_000
_FAR_SECONDS = 0.05
_FAR_TENANTS_MOST = 10_000


class WriteQuotas:
    """The quotas of this process, as the routes that write use them."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._far: dict[str, tuple[TenantPolicy, float]] = {}

    async def charge(
        self, call: Call, events: int, *, users: bool, replaces: bool = False
    ) -> "Charge":
        """Charge a call for `events`, each of which may store a user where `users`.

        Returns how many may pass; with `replaces` the users are probably stored already. Raises
        QuotaExceeded where none may pass, LogUnavailable where what is used is not known.
        """
        if call.policy.enforcement is Enforcement.SHADOW:
            return self._only_counted(call, events, users=users)
        accounts, stock = self._accounts, call.policy.quota(STORED_USERS)
        budget = call.policy.quota(EVENTS_PER_DAY)
        refusal = None
        passing = events
        if users:
            slack = max(_SLACK_LEAST, stock.limit // _SLACK_PART) if replaces and stock.limit else 0
            passing = await accounts.stocks.hold(call.tenant, stock, events, slack=slack)
            if passing < events:
                refusal = self._refused(call, stock, events - passing)
        charge = Charge(accounts, call, passing, users=users)
        taken = await charge.take_events(budget)
        if taken < passing:
            refusal = self._refused(call, budget, passing - taken)
        if refusal is not None and not taken:
            raise refusal
        charge.refusal = refusal
        return charge

    def warnings(self, call: Call) -> tuple[Header, ...]:
        """Return what to tell the tenant of quotas that are nearly used."""
        uid, policy, now = call.tenant.tenant_uid, call.policy, self._accounts.clock()
        known, until = self._far.get(uid, (None, 0.0))
        if known is policy and now < until:
            return ()
        used = self._accounts.used(uid)
        headers = warning_headers(policy, used, self._accounts.wall_clock())
        if headers:
            metrics.QUOTA_WARNINGS.inc()
        elif is_far(policy, used):
            if len(self._far) >= _FAR_TENANTS_MOST:
                self._far.clear()
            self._far[uid] = policy, now + _FAR_SECONDS
        return headers

    def _refused(self, call: Call, quota: ResolvedQuota, count: int) -> QuotaExceeded:
        metrics.QUOTA_REFUSALS.labels(quota.name, "enforced").inc(count)
        used = self._accounts.used(call.tenant.tenant_uid)[quota.name]
        return quota_exceeded(call.policy, quota, used, self._accounts.wall_clock())

    def _only_counted(self, call: Call, events: int, *, users: bool) -> "Charge":
        accounts, policy = self._accounts, call.policy
        stock, budget = policy.quota(STORED_USERS), policy.quota(EVENTS_PER_DAY)
        if users and not accounts.stocks.hold_anyway(call.tenant, stock, events):
            metrics.QUOTA_REFUSALS.labels(STORED_USERS, "shadow").inc(events)
        if not accounts.budgets.count(call.tenant, budget, events):
            metrics.QUOTA_REFUSALS.labels(EVENTS_PER_DAY, "shadow").inc(events)
        return Charge(accounts, call, events, users=users)


def is_far(policy: TenantPolicy, used: Mapping[str, int]) -> bool:
    """Return whether a tenant is far from being warned of any of its quotas."""
    return all(
        quota.unlimited or used.get(quota.name, 0) + _FAR < WARNED_FROM * quota.limit
        for quota in policy.quotas
    )


class Charge:
    """What was charged: `admitted` events may be published, for the others there is `refusal`.

    As a context it gives back what the log has refused to take.
    """

    def __init__(self, accounts: Accounts, call: Call, admitted: int, *, users: bool) -> None:
        self.admitted = admitted
        self.refusal: QuotaExceeded | None = None
        self._accounts = accounts
        self._call = call
        self._users = users
        self._published = False

    async def take_events(self, budget: ResolvedQuota) -> int:
        """Take the events from the day's budget; hold no more users than that."""
        taken = 0
        try:
            taken = await self._accounts.budgets.take(self._call.tenant, budget, self.admitted)
        finally:
            if self._users and taken < self.admitted:
                self._accounts.stocks.release(self._call.tenant, self.admitted - taken)
        self.admitted = taken
        return taken

    def published(self, positions: Sequence[Position]) -> None:
        """Say where in the log the events stand."""
        self._published = True
        if self._users:
            self._accounts.stocks.published(self._call.tenant, positions)

    def __enter__(self) -> "Charge":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._published:
            return
        tenant, policy = self._call.tenant, self._call.policy
        if self._users:
            self._accounts.stocks.release(tenant, self.admitted)
        # Whatever else ended it, a cancelled request say, may have left events in the log.
        if isinstance(error, LogUnavailable):
            self._accounts.budgets.refund(tenant, policy.quota(EVENTS_PER_DAY), self.admitted)
