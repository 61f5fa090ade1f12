"""Where the tenants come from: what MESH_TENANTS says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from meshkit.tenancy.directory import DirectoryTenantSource
from meshkit.tenancy.source import TenantSource

if TYPE_CHECKING:
    from meshkit.kube.client import KubeClient
    from meshkit.tenancy.kubernetes import KubernetesTenantSource

_KUBERNETES = "kubernetes"


def namespace_in(tenants: str) -> str | None:
    """Return the namespace that `kubernetes[:namespace]` names, empty where it is left to the pod
    or the context; None where `tenants` is a folder."""
    kind, _, namespace = tenants.partition(":")
    return namespace if kind == _KUBERNETES else None


@asynccontextmanager
async def watching(tenants: str) -> AsyncIterator[TenantSource]:
    """Watch a folder, or with `kubernetes[:namespace]` the API server, for as long as the block
    lasts. Raises StartError where the folder or the way to a cluster is missing."""
    namespace = namespace_in(tenants)
    if namespace is None:
        async with DirectoryTenantSource(Path(tenants)) as folder:
            yield folder
        return
    async with watching_cluster(namespace) as (_, source):
        yield source


@asynccontextmanager
async def watching_cluster(
    namespace: str,
) -> AsyncIterator[tuple["KubeClient", "KubernetesTenantSource"]]:
    """Watch the policies in a namespace, and give the client away, too, for what else its user has
    to say there. An empty namespace is the pod's or the context's. Raises StartError."""
    # Only who is in a cluster loads the client.
    from meshkit.kube.client import KubeClient
    from meshkit.kube.connection import connect
    from meshkit.tenancy.kubernetes import KubernetesTenantSource

    connection = await connect(namespace or None)
    async with KubeClient(connection) as client, KubernetesTenantSource(client) as source:
        yield client, source


__all__ = ["namespace_in", "watching", "watching_cluster"]
