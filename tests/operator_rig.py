"""The operator under test: as a process, as it is run; or in this process, on the same real API
server, with every event and every write in the test's hands."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import yaml

from kube_api import KubeApi
from meshkit.clock import monotonic, utc_now
from meshkit.kube.client import KubeClient
from meshkit.kube.objects import KubeUnavailable, Object
from meshkit.membership.lease import LEASES, Member, lease_document
from meshkit.tenancy.kubernetes import KubernetesTenantSource
from meshkit.tenancy.resources import TENANTS
from processes import Process, clean_environment, free_ports, installed
from tenant_operator.cluster import Cluster, KubeCluster
from tenant_operator.erasers import Erasers, Remains
from tenant_operator.following import Told, following
from tenant_operator.membership import Membership
from tenant_operator.operator import WATCHED, TenantOperator

READY_SECONDS = 30
_RBAC = Path(__file__).parents[1] / "charts/tenant-operator/files/rbac"
_numbers = count(1)


def grant(api: KubeApi, namespace: str, **roles: str) -> None:
    """Give users of the API server what a file under `files/rbac` says, in a namespace."""
    for user, file in roles.items():
        path = _RBAC / f"{file}.yaml"
        name = yaml.safe_load(path.read_text())["metadata"]["name"]
        binding = ("create", "rolebinding", name, f"--role={name}", f"--user={user}")
        for command in (("apply", "-f", str(path)), binding):
            done = api.kubectl("-n", namespace, *command)
            assert done.returncode == 0, done.stderr


def own_namespaces(api: KubeApi, count: int) -> list[str]:
    """So many namespaces that nobody else uses, made at once."""
    names = [f"test-{uuid4().hex[:12]}" for _ in range(count)]
    items = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names
    ]
    made = api.apply({"apiVersion": "v1", "kind": "List", "items": items})
    assert made.returncode == 0, made.stderr
    return names


class OperatorProcess(Process):
    """`tenant-operator` as a process, looking after one namespace."""

    def __init__(
        self, api: KubeApi, namespace: str, folder: Path, user: str = "tests", **settings: str
    ) -> None:
        (port,) = free_ports(1)
        self.admin_url = f"http://127.0.0.1:{port}"
        environment = clean_environment(
            TENANTS=f"kubernetes:{namespace}", ADMIN_PORT=str(port), LOG_FORMAT="json", **settings
        )
        environment["KUBECONFIG"] = str(api.kubeconfig_of(user))
        log = folder / f"operator-{next(_numbers)}.log"
        super().__init__([installed("tenant-operator")], environment, log)

    async def status(self, http: aiohttp.ClientSession, probe: str = "readyz") -> int:
        """What a probe answers, 0 where nobody does."""
        try:
            async with http.get(f"{self.admin_url}/{probe}") as answer:
                return answer.status
        except aiohttp.ClientError:
            return 0

    async def start(self, http: aiohttp.ClientSession) -> None:
        """Start it and wait until it is at work."""
        self.spawn()
        async with asyncio.timeout(READY_SECONDS):
            while await self.status(http) != 200:
                assert self.running, self.log.read_text()[-3000:]
                await asyncio.sleep(0.05)


class NoData:
    """Erasers of a mesh in which no tenant has any data."""

    async def draining(self, tenant_uid: str) -> bool:
        """Nothing is under way."""
        return False

    async def remains(self, tenant_uid: str) -> Remains:
        """Nothing is left."""
        return Remains(0, 0)

    async def erase(self, tenant_uid: str) -> Remains:
        """Nothing is left."""
        return Remains(0, 0)


@asynccontextmanager
async def running_operator(
    client: KubeClient,
    *,
    cluster: Cluster | None = None,
    erasers: Erasers | None = None,
    through: Callable[[Told], Told] = lambda told: told,
    **options: Any,
) -> AsyncIterator[TenantOperator]:
    """The operator in this process. `cluster` and `through` are where a test puts faults: between
    it and its writes, and between it and what it is told."""
    operator = TenantOperator(
        cluster or KubeCluster(client),
        Membership(monotonic, utc_now),
        erasers or NoData(),
        **options,
    )
    async with operator.running(), following(client, through(operator.told), WATCHED):
        yield operator


@asynccontextmanager
async def replica(
    client: KubeClient, service: str = "user-service", **changes: Any
) -> AsyncIterator[KubernetesTenantSource]:
    """A replica that obeys policies and says so at once, every time."""
    identity = f"{service}-{next(_numbers)}"

    async def acknowledge(source: KubernetesTenantSource) -> None:
        said = ""
        while True:
            if source.applied_version != said:
                said = source.applied_version
                applied = {"applied_version": int(said or 0)} | changes
                lease = lease_document(Member(service, identity, **applied), utc_now())
                with suppress(KubeUnavailable):
                    await client.apply(LEASES, lease, manager="replica")
            await asyncio.sleep(0.005)

    async with KubernetesTenantSource(client) as source:
        await source.loaded()
        saying = asyncio.create_task(acknowledge(source))
        try:
            yield source
        finally:
            saying.cancel()
            with suppress(asyncio.CancelledError):
                await saying


async def tenant(client: KubeClient, name: str) -> Object:
    """A Tenant as it is now."""
    return await client.get(TENANTS, name)


def condition(found: Object, kind: str) -> dict[str, Any]:
    """One of a Tenant's conditions, empty where it is not there or about an older generation."""
    for one in (found.get("status") or {}).get("conditions") or ():
        if one["type"] == kind and one["observedGeneration"] == found["metadata"]["generation"]:
            result: dict[str, Any] = one
            return result
    return {}


async def until_condition(
    client: KubeClient, name: str, kind: str, status: str = "True", seconds: float = 20
) -> Object:
    """Wait until a Tenant's condition has this status for its newest generation; return it."""
    found: Object = {}
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = await tenant(client, name)
                if condition(found, kind).get("status") == status:
                    return found
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{kind} is not {status}: {found.get('status')}") from None
