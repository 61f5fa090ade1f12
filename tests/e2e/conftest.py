"""The cluster of `make cluster-up`, its Services from outside, and tenants of the tests' own."""

import secrets
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import httpx
import pytest

from builders import tenant_document
from cluster import GATEWAY_PORT, RELEASE, USERS_PORT, Cluster, MakeTenant, e2e_context, lack


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster that these tests may take apart."""
    context = e2e_context()
    if problem := lack(context):
        pytest.skip(problem)
    return Cluster(context)


@pytest.fixture(scope="session")
def services(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """The URLs of user-service and ai-gateway, through kube-proxy and not through one pod."""
    ports = {"user-service": (8081, USERS_PORT), "ai-gateway": (8090, GATEWAY_PORT)}
    for name, (port, outside) in ports.items():
        spec = cluster.get("service", f"{RELEASE}-{name}")["spec"]
        (target,) = (one["targetPort"] for one in spec["ports"] if one["port"] == port)
        cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": f"e2e-{name}"},
                "spec": {
                    "type": "NodePort",
                    "selector": spec["selector"],
                    "ports": [{"port": port, "targetPort": target, "nodePort": outside}],
                },
            }
        )
    urls = f"http://127.0.0.1:{USERS_PORT}", f"http://127.0.0.1:{GATEWAY_PORT}"
    for url in urls:
        _answering(url)
    yield urls
    cluster.kubectl("delete", "service", *(f"e2e-{name}" for name in ports))


@pytest.fixture
def users_url(services: tuple[str, str]) -> str:
    return services[0]


@pytest.fixture
def gateway_url(services: tuple[str, str]) -> str:
    return services[1]


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that gives up after ten seconds."""
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield session


@pytest.fixture
async def make_tenant(cluster: Cluster) -> AsyncIterator[MakeTenant]:
    """Makes tenants that nothing holds back but what is said; they are erased afterwards."""
    made: list[str] = []

    async def make(**spec: Any) -> str:
        name = f"e2e-{secrets.token_hex(4)}"
        rates = [{"name": n, "unlimited": True} for n in ("users.write", "users.search")]
        spec = {"plan": "enterprise", "rateLimits": rates, "deletionPolicy": "Delete", **spec}
        made.append(name)
        cluster.apply(tenant_document(name, **spec))
        await cluster.call("wait", "--for=condition=Ready", "--timeout=60s", f"tenant/{name}")
        return name

    yield make
    if made:
        cluster.kubectl("delete", "tenants", "--ignore-not-found", "--wait=false", *made)


def _answering(url: str) -> None:
    """Return once kube-proxy knows of the Service, and somebody behind it answers."""
    deadline = time.monotonic() + 30
    while True:
        try:
            httpx.get(f"{url}/health").raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
