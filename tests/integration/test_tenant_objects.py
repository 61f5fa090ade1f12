"""`kubectl apply` of a Tenant, and everything obeys: the operator and the services as processes,
each with the rights that its Role gives it and no others, and kubectl in front of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kube_api import KubeApi
from mesh_process import healthy
from meshkit.kube.client import KubeClient
from operator_rig import OperatorProcess, grant
from replica_process import Replica
from tenant_operator.cluster import CONFIG_MAPS

pytestmark = pytest.mark.timeout(150)

ROOT = Path(__file__).parents[2]
SECONDS = 40


class Mesh:
    """Everything of one namespace."""

    def __init__(
        self, api: KubeApi, namespace: str, http: aiohttp.ClientSession, users: Sequence[Replica]
    ) -> None:
        self._api = api
        self._namespace = namespace
        self.http = http
        self.users = users
        self.gateway: Replica | None = None

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Run kubectl in the namespace; it has to succeed."""
        done = self._api.kubectl("-n", self._namespace, *arguments, text=text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def columns(self, name: str) -> dict[str, str]:
        """What `kubectl get tenants` shows of one, by column; words of one column only."""
        wanted = ("NAME:.metadata.name", "PLAN:.spec.plan", "ENFORCED:.status.enforcedReplicas")
        ready = 'READY:.status.conditions[?(@.type=="Ready")].status'
        shown = self.kubectl(
            "get", "tenants", name, "-o", f"custom-columns={','.join(wanted)},{ready}"
        )
        head, row = (line.split() for line in shown.splitlines())
        return dict(zip(head, row, strict=True))

    async def until(self, name: str, **columns: str) -> None:
        """Wait until `kubectl get tenants` shows this."""
        shown: dict[str, str] = {}
        try:
            async with asyncio.timeout(SECONDS):
                while not columns.items() <= shown.items():
                    shown = await asyncio.to_thread(self.columns, name)
        except TimeoutError:
            raise AssertionError(f"{shown} instead of {columns}") from None

    async def limit(self, replica: Replica, tenant: str) -> int | None:
        """The rate of writes that a replica says it enforces."""
        async with self.http.get(
            f"{replica.users_url}/tenants/self", headers={"X-Tenant-Id": tenant}
        ) as answer:
            if answer.status != 200:
                return None
            limits = (await answer.json())["rateLimits"]
        (limit,) = [one for one in limits if one["name"] == "users.write"]
        requests: int = limit["requests"]
        return requests

    async def until_limit(self, tenant: str, requests: int) -> None:
        """Wait until every replica of user-service enforces this rate."""
        async with asyncio.timeout(SECONDS):
            for replica in self.users:
                while await self.limit(replica, tenant) != requests:
                    await asyncio.sleep(0.002)

    async def create(self, tenant: str, name: str) -> str:
        """Create a user; returns the position."""
        body = {"name": name, "email": f"{name}@example.com"}
        async with self.http.post(
            f"{self.users[0].users_url}/users/create", json=body, headers={"X-Tenant-Id": tenant}
        ) as answer:
            assert answer.status == 202, await answer.text()
            position: str = (await answer.json())["position"]
        return position

    async def found(
        self, tenant: str, query: str, after: str | None = None, *, unless_changed: bool = False
    ) -> list[str]:
        """The names that a search finds; none, where asked for, if the tenant becomes another while
        it is under way."""
        assert self.gateway is not None
        parameters = {"tenant_id": tenant, "query": query} | ({"after": after} if after else {})
        async with self.http.get(
            f"{self.gateway.gateway_url}/ai/users/search", params=parameters
        ) as answer:
            if unless_changed and (await answer.json()).get("code") == "tenant-terminating":
                return []
            assert answer.status == 200, await answer.text()
            results = (await answer.json())["results"]
        return [result["name"] for result in results]


@pytest.fixture
async def mesh(kube_api: KubeApi, namespace: str, tmp_path: Path) -> AsyncIterator[Mesh]:
    """The operator and two replicas of user-service on one event log, and the samples applied."""
    grant(kube_api, namespace, operator="operator", member="member")
    shared = {"DATA_DIR": str(tmp_path / "data"), "user": "member"}
    users = [
        Replica(kube_api, namespace, tmp_path / f"users-{n}", "user-service", **shared)
        for n in range(2)
    ]
    operator = OperatorProcess(kube_api, namespace, tmp_path, user="operator")
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        for process in (operator, *users):
            stack.callback(process.kill)
            process.spawn()
        async with asyncio.timeout(SECONDS):
            for replica in users:
                while not await healthy(http, replica.users_url):
                    await asyncio.sleep(0.05)
        mesh = Mesh(kube_api, namespace, http, users)
        mesh.kubectl("apply", "-f", str(ROOT / "tenants"))
        yield mesh
        for process in (*users, operator):
            if process.running:
                assert process.stop() == 0, process.log.read_text()[-3000:]
            assert "forbidden" not in process.log.read_text()


@asynccontextmanager
async def gateway(mesh: Mesh, api: KubeApi, namespace: str, folder: Path) -> AsyncIterator[None]:
    """An ai-gateway that indexes what the replicas of user-service publish."""
    data = {"DATA_DIR": str(folder / "data"), "user": "member"}
    mesh.gateway = Replica(api, namespace, folder / "gateway", "ai-gateway", **data)
    mesh.gateway.spawn()
    try:
        async with asyncio.timeout(SECONDS):
            while not await healthy(mesh.http, mesh.gateway.gateway_url):
                await asyncio.sleep(0.05)
        yield
        assert mesh.gateway.stop() == 0
    finally:
        mesh.gateway.kill()


def merge(**spec: Any) -> str:
    return json.dumps({"spec": spec})


def write_rate(requests: int) -> str:
    limit = {"name": "users.write", "requests": requests, "windowSeconds": 1}
    return merge(rateLimits=[limit])


async def test_applied_samples_are_ready_in_both_replicas(mesh: Mesh) -> None:
    for name in ("tenant-a", "tenant-b"):
        await mesh.until(name, PLAN="standard", READY="True", ENFORCED="2/2")
    await mesh.until_limit("tenant-a", 50)
    await mesh.until_limit("tenant-b", 100)


async def test_patched_rate_is_what_both_replicas_enforce(mesh: Mesh) -> None:
    await mesh.until("tenant-a", READY="True", ENFORCED="2/2")
    for requests in (7, 0, 9):
        mesh.kubectl("patch", "tenant", "tenant-a", "--type=merge", "-p", write_rate(requests))
        await mesh.until_limit("tenant-a", requests)
    # What the plan allows at most holds whatever is asked for.
    mesh.kubectl("patch", "tenant", "tenant-a", "--type=merge", "-p", write_rate(100_000))
    await mesh.until_limit("tenant-a", 500)


async def test_killed_replica_is_counted_no_more_when_its_lease_has_ended(mesh: Mesh) -> None:
    await mesh.until("tenant-a", ENFORCED="2/2")
    mesh.users[1].kill()
    await mesh.until("tenant-a", READY="True", ENFORCED="1/1")


async def test_bad_plan_name_is_refused_with_its_path_while_the_old_limit_holds(
    mesh: Mesh,
) -> None:
    await mesh.until("tenant-a", READY="True", ENFORCED="2/2")
    mesh.kubectl("patch", "tenant", "tenant-a", "--type=merge", "-p", merge(plan="nowhere"))
    await mesh.until("tenant-a", READY="False")
    said = mesh.kubectl("get", "tenant", "tenant-a", "-o", "json")
    assert "spec.plan: there is no TenantPlan named 'nowhere'" in said
    for replica in mesh.users:
        assert await mesh.limit(replica, "tenant-a") == 50
    assert "UnknownPlan" in mesh.kubectl("get", "events")


async def test_suspended_tenant_is_refused_until_it_is_not(mesh: Mesh) -> None:
    await mesh.until("tenant-a", READY="True")
    for suspended, answer in ((True, 403), (False, 202)):
        mesh.kubectl(
            "patch", "tenant", "tenant-a", "--type=merge", "-p", merge(suspended=suspended)
        )
        body = {"name": "Ann", "email": "ann@example.com"}
        for replica in mesh.users:
            async with asyncio.timeout(SECONDS):
                status = 0
                while status != answer:
                    async with mesh.http.post(
                        f"{replica.users_url}/users/create",
                        json=body,
                        headers={"X-Tenant-Id": "tenant-a"},
                    ) as reply:
                        status = reply.status


async def test_deleted_tenant_is_erased_and_leaves_a_report(
    mesh: Mesh, kube_api: KubeApi, namespace: str, tmp_path: Path
) -> None:
    async with gateway(mesh, kube_api, namespace, tmp_path):
        mesh.kubectl(
            "patch", "tenant", "tenant-a", "--type=merge", "-p", merge(deletionPolicy="Delete")
        )
        await mesh.until("tenant-a", READY="True", ENFORCED="3/3")
        await mesh.until("tenant-b", READY="True", ENFORCED="3/3")
        for name in ("Ann", "Bea", "Cid"):
            last = await mesh.create("tenant-a", name)
        kept = await mesh.create("tenant-b", "Dee")
        assert await mesh.found("tenant-a", "Cid", last) != []
        assert await mesh.found("tenant-b", "Dee", kept) == ["Dee"]
        uid = mesh.kubectl("get", "tenant", "tenant-a", "-o", "jsonpath={.metadata.uid}")
        await asyncio.to_thread(mesh.kubectl, "delete", "tenant", "tenant-a", "--timeout=60s")
        async with KubeClient(kube_api.connection(namespace)) as client:
            report = (await client.get(CONFIG_MAPS, f"erasure-tenant-a-{uid[:8]}"))["data"]
        assert (report["pointsErased"], report["keysErased"]) == ("3", "3")
        assert "Erased" in mesh.kubectl("get", "events")
        # Made anew it is another tenant: nobody of the old one is there.
        mesh.kubectl("apply", "-f", str(ROOT / "tenants" / "tenant-a.yaml"))
        await mesh.until("tenant-a", READY="True", ENFORCED="3/3")
        again = await mesh.create("tenant-a", "Eva")
        assert await mesh.found("tenant-a", "Ann Bea Cid Eva", again) == ["Eva"]
        assert await mesh.found("tenant-b", "Dee") == ["Dee"]


async def test_retained_data_is_there_for_whoever_adopts_it(
    mesh: Mesh, kube_api: KubeApi, namespace: str, tmp_path: Path
) -> None:
    async with gateway(mesh, kube_api, namespace, tmp_path):
        await mesh.until("tenant-b", READY="True", ENFORCED="3/3")
        position = await mesh.create("tenant-b", "Dee")
        assert await mesh.found("tenant-b", "Dee", position) == ["Dee"]
        uid = mesh.kubectl("get", "tenant", "tenant-b", "-o", "jsonpath={.metadata.uid}")
        mesh.kubectl("delete", "tenant", "tenant-b", "--timeout=30s")
        mesh.kubectl("apply", "-f", str(ROOT / "tenants" / "tenant-b.yaml"))
        await mesh.until("tenant-b", READY="True", ENFORCED="3/3")
        assert await mesh.found("tenant-b", "Dee") == []
        adopt = merge(adoptUid=uid)
        mesh.kubectl("patch", "tenant", "tenant-b", "--type=merge", "-p", adopt)
        async with asyncio.timeout(SECONDS):
            while await mesh.found("tenant-b", "Dee", unless_changed=True) != ["Dee"]:
                await asyncio.sleep(0.05)
