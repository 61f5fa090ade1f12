"""What a service composes: the tenants that it obeys, and where others count on it, its Lease and
the rate limits that it shares with the other replicas of the service."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshkit.limits.composition import Sharing, sharing
from meshkit.limits.gcra import RateLimiter
from meshkit.limits.limiter import Limiter
from meshkit.membership.identity import own_member
from meshkit.settings import MeshSettings
from meshkit.tenancy.source import TenantSource
from meshkit.tenancy.sources import namespace_in, watching, watching_cluster
from meshkit.web.admin import NO_PART, AdminPart
from meshkit.web.leases import leases_route

if TYPE_CHECKING:
    from meshkit.membership.fellows import Fellows


@dataclass(frozen=True, slots=True)
class Replica:
    """A process as one of those that serve the same: what it obeys, its limits, and what its admin
    port has for the others."""

    tenants: TenantSource
    limiter: Limiter
    admin: AdminPart = NO_PART


@asynccontextmanager
async def watching_as_member(
    settings: MeshSettings, service: str, admin: socket.socket
) -> AsyncIterator[TenantSource]:
    """Watch the tenants that MESH_TENANTS names for as long as the block lasts; where they come
    from a cluster, acknowledge there what is in force, as a member with this admin port.

    Raises StartError where the folder or the way to a cluster is missing.
    """
    async with joining(settings, service, admin, limiting=False) as replica:
        yield replica.tenants


@asynccontextmanager
async def joining(
    settings: MeshSettings, service: str, admin: socket.socket, *, limiting: bool = True
) -> AsyncIterator[Replica]:
    """Do as `watching_as_member`; with `limiting`, share rate limits with the other replicas of
    `service` in the cluster, too. Raises StartError."""
    namespace = namespace_in(settings.tenants)
    if namespace is None:
        async with watching(settings.tenants) as folder:
            yield Replica(folder, RateLimiter())
        return
    # Only who is in a cluster loads the client.
    from meshkit.membership.fellows import Fellows
    from meshkit.membership.member import Membership

    async with watching_cluster(namespace) as (client, source):
        member = own_member(
            settings,
            service,
            admin.getsockname()[1],
            hostname=socket.gethostname(),
            # An owner in another namespace counts as gone, and the Lease would go with it.
            with_owner=client.pod_namespace in (None, client.namespace),
        )
        if not limiting:
            async with Membership(client, source, member):
                yield Replica(source, RateLimiter())
            return
        fellows = Fellows(client, member)
        async with sharing(settings, member.identity) as shared:
            fellows.follow(shared.members)
            # Who else is there is asked before anybody hears of this one.
            async with fellows, Membership(client, source, member):
                yield Replica(source, shared.limiter, _admin_part(fellows, shared))


def _admin_part(fellows: "Fellows", shared: Sharing) -> AdminPart:
    routes = [leases_route(shared.lender, shared.key)] if shared.key else []
    return AdminPart({"members": fellows.check}, {"limits": shared.state}, routes)


__all__ = ["Replica", "joining", "watching_as_member"]
