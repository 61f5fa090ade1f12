"""The operator's door to the API server: what it lists, and the few things that it writes.

Children and statuses are declared by server-side apply, under one field manager. Every write to a
Tenant carries its uid: a Tenant that was deleted meanwhile is never made again by it.
"""

from collections.abc import Sequence
from typing import Any, Protocol
from uuid import uuid4

from meshkit.clock import utc_now
from meshkit.kube.client import KubeClient
from meshkit.kube.objects import NotFound, Object, Resource
from meshkit.membership.lease import LEASES, MEMBER_LABEL
from meshkit.tenancy.resources import POLICIES, TENANTS
from meshkit.tenancy.spec import API_VERSION, ERASE_FINALIZER, GROUP
from tenant_operator.conditions import timestamp
from tenant_operator.observed import Kept, name_of

MANAGER = "tenant-operator"
CONFIG_MAPS = Resource("", "v1", "configmaps")
EVENTS = Resource("", "v1", "events")
ERASURE_LABEL = f"{GROUP}/erasure"


class Cluster(Protocol):
    """What the operator does to the API server. Every method raises KubeUnavailable where it is
    away, and KubeRefused where it says no."""

    async def listed(self, resource: Resource) -> tuple[Sequence[Kept], int]:
        """Return all objects of a kind (of Leases, those of members), and the list's version."""

    async def tenant(self, name: str) -> Object | None:
        """Return a Tenant as it is now, not as a watch has told; None where there is none."""

    async def members(self) -> tuple[Sequence[Kept], int]:
        """Return the Leases of members as they are now, not as a watch has told, and the list's
        version."""

    async def apply_policy(self, document: Object) -> Object:
        """Make a TenantPolicy what `document` says, and return it."""

    async def delete_policy(self, found: Object) -> None:
        """Remove a TenantPolicy as it was found. Raises Conflict where it is another by now."""

    async def apply_status(self, tenant: Object, status: dict[str, Any]) -> Object:
        """Make the status of a Tenant this one, and return the Tenant. Raises NotFound."""

    async def hold_until_erased(self, tenant: Object, hold: bool) -> Object:
        """Set or remove the finalizer of a Tenant, and return the Tenant. Raises Conflict where
        the Tenant is gone."""

    async def keep_report(self, tenant: Object, report: dict[str, str]) -> None:
        """Keep the report of an erasure for longer than the Tenant."""

    async def tell(self, tenant: Object, reason: str, message: str, *, warning: bool) -> None:
        """Record a Kubernetes Event about a Tenant."""

    async def delete_lease(self, name: str) -> None:
        """Remove the Lease of a replica that is gone."""


class KubeCluster:
    """A Cluster over the client's namespace."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def listed(self, resource: Resource) -> tuple[Sequence[Kept], int]:
        """Return all objects of a kind, and the list's version."""
        selector = MEMBER_LABEL if resource == LEASES else ""
        kept: list[Kept] = []
        version = ""
        # Page by page: what ten thousand objects took for a moment, a process does not give back.
        async for page in self._client.pages(resource, labels=selector):
            kept += map(Kept.of, page.objects)
            version = page.version
        return kept, int(version) if version.isdecimal() else 0

    async def tenant(self, name: str) -> Object | None:
        """Return a Tenant as it is now, None where there is none."""
        try:
            return await self._client.get(TENANTS, name)
        except NotFound:
            return None

    async def members(self) -> tuple[Sequence[Kept], int]:
        """Return the Leases of members as they are now, and the list's version."""
        return await self.listed(LEASES)

    async def apply_policy(self, document: Object) -> Object:
        """Make a TenantPolicy what `document` says, and return it."""
        written = await self._client.apply(POLICIES, document, manager=MANAGER)
        if written["spec"] == document["spec"]:
            return written
        # Somebody has added entries to its lists: applying leaves what others own.
        metadata = document["metadata"] | {
            "resourceVersion": written["metadata"]["resourceVersion"]
        }
        return await self._client.replace(POLICIES, document | {"metadata": metadata})

    async def delete_policy(self, found: Object) -> None:
        """Remove a TenantPolicy as it was found. Raises Conflict where it is another by now."""
        version = found["metadata"]["resourceVersion"]
        await self._client.delete(POLICIES, name_of(found), version=version)

    async def apply_status(self, tenant: Object, status: dict[str, Any]) -> Object:
        """Make the status of a Tenant this one, and return the Tenant. Raises NotFound."""
        document = _reference(tenant) | {"status": status}
        return await self._client.apply(TENANTS, document, manager=MANAGER, subresource="status")

    async def hold_until_erased(self, tenant: Object, hold: bool) -> Object:
        """Set or remove the finalizer of a Tenant, and return the Tenant. Raises Conflict."""
        document = _reference(tenant)
        if hold:
            document["metadata"]["finalizers"] = [ERASE_FINALIZER]
        return await self._client.apply(TENANTS, document, manager=MANAGER)

    async def keep_report(self, tenant: Object, report: dict[str, str]) -> None:
        """Keep the report of an erasure in a ConfigMap."""
        uid = tenant["metadata"]["uid"]
        document = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": f"erasure-{name_of(tenant)}-{uid[:8]}",
                "labels": {ERASURE_LABEL: name_of(tenant)},
            },
            "data": report,
        }
        await self._client.apply(CONFIG_MAPS, document, manager=MANAGER)

    async def tell(self, tenant: Object, reason: str, message: str, *, warning: bool) -> None:
        """Record a Kubernetes Event about a Tenant."""
        metadata = tenant["metadata"]
        now = timestamp(utc_now())
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name']}.{uuid4().hex[:16]}"},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": "Tenant",
                "name": metadata["name"],
                "namespace": self._client.namespace,
                "uid": metadata["uid"],
            },
            "reason": reason,
            "message": message[:1024],
            "type": "Warning" if warning else "Normal",
            "source": {"component": MANAGER},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        await self._client.create(EVENTS, event)

    async def delete_lease(self, name: str) -> None:
        """Remove the Lease of a replica that is gone."""
        await self._client.delete(LEASES, name)


def _reference(tenant: Object) -> Object:
    metadata = {"name": name_of(tenant), "uid": tenant["metadata"]["uid"]}
    return {"apiVersion": API_VERSION, "kind": "Tenant", "metadata": metadata}
