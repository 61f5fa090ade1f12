"""What the pipeline needs of a limiter, whether its buckets are in this process or shared."""

from collections.abc import Awaitable, Sequence
from typing import Protocol

from meshkit.limits.gcra import Decision
from meshkit.tenancy.identity import TenantContext
from meshkit.tenancy.policy import ResolvedRateLimit


class Limiter(Protocol):
    """Decides on the requests of tenants."""

    def take(
        self,
        tenant: TenantContext,
        limit: ResolvedRateLimit,
        cost: int = 1,
        *,
        partial: bool = False,
    ) -> Decision | Awaitable[Decision]:
        """Take `cost` tokens, all or none, or with `partial` as many as there are. Where another
        replica has to be asked, return what to await for the decision."""

    def peek(self, tenant: TenantContext, limit: ResolvedRateLimit) -> Decision:
        """Return what is known of a bucket, and take nothing."""

    async def learn(self, tenant: TenantContext, limits: Sequence[ResolvedRateLimit]) -> None:
        """Find out, for `peek`, what other replicas know of these limits."""


__all__ = ["Limiter"]
