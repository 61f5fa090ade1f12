"""What a service composes: the tenants that it obeys, and where others count on it, its Lease."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from meshkit.membership.identity import own_member
from meshkit.settings import MeshSettings
from meshkit.tenancy.source import TenantSource
from meshkit.tenancy.sources import namespace_in, watching, watching_cluster


@asynccontextmanager
async def watching_as_member(
    settings: MeshSettings, service: str, admin: socket.socket
) -> AsyncIterator[TenantSource]:
    """Watch the tenants that MESH_TENANTS names for as long as the block lasts; where they come
    from a cluster, acknowledge there what is in force, as a member with this admin port.

    Raises StartError where the folder or the way to a cluster is missing.
    """
    namespace = namespace_in(settings.tenants)
    if namespace is None:
        async with watching(settings.tenants) as folder:
            yield folder
        return
    # Only who is in a cluster loads the client.
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
        async with Membership(client, source, member):
            yield source


__all__ = ["watching_as_member"]
