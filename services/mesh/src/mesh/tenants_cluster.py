"""Tenants in a cluster: what the API server has of them, and the one change that is made here.

A Tenant is what people want, its TenantPolicy what is in force; both are read, since either may be
there without the other. Every answer that is no answer (no server, no definitions, no permission)
is an error that says the way out in one sentence.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from pydantic import ValidationError

from mesh.tenants_status import Entry, Found, TenantStatus, problem_of, read_tenant
from meshkit.errors import StartError
from meshkit.kube.client import KubeClient
from meshkit.kube.connection import connect
from meshkit.kube.objects import (
    Conflict,
    Expired,
    KubeRefused,
    KubeUnavailable,
    NotFound,
    Object,
    Resource,
)
from meshkit.tenancy.policy import TenantPolicy
from meshkit.tenancy.resources import POLICIES, TENANTS
from meshkit.tenancy.source import TenantProblem
from meshkit.tenancy.spec import ERASE_FINALIZER


class ClusterTrouble(StartError):
    """The cluster did not answer the question; the message says why and the way out."""


@asynccontextmanager
async def opened(namespace: str, context: str | None = None) -> AsyncIterator[KubeClient]:
    """Reach the API server as the pod or the kubeconfig says, for as long as the block lasts.

    An empty namespace is the context's. Raises StartError where there is no cluster.
    """
    connection = await connect(namespace or None, context)
    async with KubeClient(connection) as client:
        try:
            yield client
        except KubeUnavailable as error:
            raise ClusterTrouble(
                f"{error}: {connection.url}; is the cluster running, and is it the right one"
                " (KUBECONFIG, --context)?"
            ) from None


@contextmanager
def asking(client: KubeClient, verb: str, resource: Resource) -> Iterator[None]:
    """Turn a refusal in the block into what the caller lacks; what can be answered by trying once
    more (Conflict, Expired) passes. Raises ClusterTrouble."""
    kind = f"{resource.plural}.{resource.group}"
    try:
        yield
    except (Conflict, Expired):
        raise
    except NotFound:
        raise ClusterTrouble(
            f"this cluster does not know {kind}: install the definitions with"
            " kubectl apply -f charts/tenant-operator/files/crds"
        ) from None
    except KubeRefused as error:
        if error.status == 401:
            raise ClusterTrouble(
                "the API server does not know who you are (401): log in to the cluster again"
            ) from None
        if error.status == 403:
            raise ClusterTrouble(
                f"you lack the permission to {verb} {kind} in namespace {client.namespace}"
                f" (kubectl auth can-i {verb} {kind} -n {client.namespace})"
            ) from None
        raise ClusterTrouble(f"the API server refused to {verb} {kind}: {error}") from None


async def list_tenants(client: KubeClient) -> tuple[list[TenantStatus], str]:
    """Return the Tenants by name, and the version from which to watch.

    Raises ClusterTrouble, KubeUnavailable.
    """
    with asking(client, "list", TENANTS):
        documents, version = await client.list(TENANTS)
    tenants = [read_tenant(document) for document in documents]
    return sorted(tenants, key=lambda tenant: tenant.name), version


async def read_cluster(client: KubeClient) -> Found:
    """Return all tenants of the client's namespace. Raises ClusterTrouble, KubeUnavailable."""
    tenants, _ = await list_tenants(client)
    with asking(client, "list", POLICIES):
        policies, _ = await client.list(POLICIES)
    entries = {tenant.name: Entry(tenant.name, tenant=tenant) for tenant in tenants}
    problems = [problem for tenant in tenants if (problem := problem_of(tenant))]
    for document in policies:
        name = document["metadata"]["name"]
        tenant = entries[name].tenant if name in entries else None
        try:
            entries[name] = Entry(name, _policy(document), tenant)
        except (ValidationError, ValueError):
            entries.setdefault(name, Entry(name))
            problems.append(TenantProblem("", name, "", "its TenantPolicy cannot be read"))
    problems.sort(key=lambda problem: problem.name)
    return Found(dict(sorted(entries.items())), problems, client.namespace)


async def list_uids(client: KubeClient) -> set[str]:
    """Return the uids that data is in use under: what a policy has in force, also one that cannot
    be read, what a Tenant adopts, and its own as long as it is there.

    Raises ClusterTrouble, KubeUnavailable.
    """
    tenants, _ = await list_tenants(client)
    with asking(client, "list", POLICIES):
        policies, _ = await client.list(POLICIES)
    in_force = {str((document.get("spec") or {}).get("tenantUid")) for document in policies}
    return in_force | {uid for tenant in tenants for uid in (tenant.uid, tenant.data_uid)}


async def release(client: KubeClient, tenant: TenantStatus) -> bool:
    """Take our finalizer from a Tenant as it was read; return whether it is gone by that.

    Raises Conflict where it has changed since, ClusterTrouble, KubeUnavailable.
    """
    others = [finalizer for finalizer in tenant.finalizers if finalizer != ERASE_FINALIZER]
    metadata = {"finalizers": others or None, "resourceVersion": tenant.version}
    with asking(client, "patch", TENANTS):
        try:
            await client.merge_patch(TENANTS, tenant.name, {"metadata": metadata})
        except NotFound:
            return True
    return not others


def _policy(document: Object) -> TenantPolicy:
    policy = TenantPolicy.model_validate(document.get("spec"))
    if policy.tenant_id != document["metadata"]["name"]:
        raise ValueError("a policy of another tenant")
    return policy
