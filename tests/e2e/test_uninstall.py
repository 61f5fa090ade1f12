"""A release that goes and comes back, by each major of Helm: what was stored is still there, and
nothing waits for it. And a Job that has failed fails no later upgrade.

The last one of these tests: it takes the mesh away from under all others.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chart_tools import HELMS, lack, tool
from cluster import RELEASE, Cluster, MakeTenant

pytestmark = pytest.mark.timeout(600)

CHART = str(Path(__file__).parents[2] / "charts/event-mesh")
Helm = Callable[..., Awaitable[str]]
ALICE = {"name": "Alice Doe", "email": "alice@example.com", "userId": "alice"}


async def found(http: aiohttp.ClientSession, url: str, tenant: str, **query: str) -> list[str]:
    """The users that a search for Alice finds, as soon as it is answered and finds somebody."""
    parameters = {"query": "alice", **query}
    async with asyncio.timeout(120):
        while True:
            try:
                async with http.get(
                    f"{url}/ai/users/search", headers={"X-Tenant-Id": tenant}, params=parameters
                ) as answer:
                    if answer.status == 200 and (users := (await answer.json())["results"]):
                        return [user["userId"] for user in users]
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.5)


def kept(cluster: Cluster) -> dict[str, Any]:
    """The keys and the volumes of the release, by name."""
    keys = [cluster.get("secret", f"{RELEASE}-{name}-key") for name in ("position", "peer")]
    volumes = cluster.get("pvc")["items"]
    return {one["metadata"]["name"]: one["data"] for one in keys} | {
        one["metadata"]["name"]: one["spec"]["volumeName"] for one in volumes
    }


@pytest.fixture(params=HELMS)
def helm(request: pytest.FixtureRequest, cluster: Cluster) -> Helm:
    """Each major of Helm in turn; the second finds a release of the first."""
    if reason := lack(request.param):
        pytest.skip(reason)
    return partial(cluster.helm, program=str(tool(request.param)))


def topics_job(cluster: Cluster) -> dict[str, Any]:
    """The Job that makes the topics."""
    label = f"app.kubernetes.io/component=topics,app.kubernetes.io/instance={RELEASE}"
    (job,) = cluster.get("jobs", "-l", label)["items"]
    found: dict[str, Any] = job
    return found


async def let_topics_job_fail(cluster: Cluster) -> str:
    """Put one that fails in the place of the Job of this revision; return its name."""
    job = topics_job(cluster)
    name: str = job["metadata"]["name"]
    spec = {"backoffLimit": 0, "template": job["spec"]["template"]}
    labels = spec["template"]["metadata"]["labels"]
    # Those that its controller has put there.
    for label in [one for one in labels if one.endswith(("controller-uid", "job-name"))]:
        del labels[label]
    await cluster.call("delete", "job", name, "--wait")
    cluster.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {key: job["metadata"][key] for key in ("name", "labels", "annotations")},
            # No Python starts within a second.
            "spec": spec | {"activeDeadlineSeconds": 1},
        }
    )
    await cluster.call("wait", "--for=condition=Failed", "--timeout=60s", f"job/{name}")
    return name


async def test_release_that_goes_leaves_what_was_stored_and_nobody_waiting(
    cluster: Cluster,
    helm: Helm,
    make_tenant: MakeTenant,
    http: aiohttp.ClientSession,
    users_url: str,
    gateway_url: str,
    tmp_path: Path,
) -> None:
    tenant = await make_tenant()
    headers = {"X-Tenant-Id": tenant}
    async with http.post(f"{users_url}/users", headers=headers, json=ALICE) as answer:
        position = (await answer.json())["position"]
    assert await found(http, gateway_url, tenant, after=position) == ["alice"]
    assert cluster.get("tenant", tenant)["metadata"]["finalizers"]
    before = kept(cluster)
    values = tmp_path / "values.yaml"
    values.write_text(await helm("get", "values", RELEASE, "-o", "yaml"))
    await helm("uninstall", RELEASE, "--wait", "--timeout", "4m")
    chart = (RELEASE, CHART, "--values", str(values), "--wait", "--timeout", "4m")
    try:
        # Nothing is left that would keep the namespace from going.
        assert "finalizers" not in cluster.get("tenant", tenant)["metadata"]
        assert cluster.get("deployments,statefulsets,jobs")["items"] == []
        assert kept(cluster) == before
    finally:
        await helm("install", *chart)
    await cluster.call("wait", "--for=condition=Ready", "--timeout=120s", "tenants", "--all")
    assert await found(http, gateway_url, tenant, after=position) == ["alice"]
    assert kept(cluster) == before


async def test_topics_that_could_not_be_made_fail_no_later_upgrade(
    cluster: Cluster, helm: Helm, tmp_path: Path
) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(await helm("get", "values", RELEASE, "-o", "yaml"))
    chart = (
        RELEASE,
        CHART,
        "--values",
        str(values),
        "--wait",
        "--wait-for-jobs",
        "--timeout",
        "3m",
    )
    await helm("upgrade", *chart)
    failed = await let_topics_job_fail(cluster)
    # Nothing is another value: only the revision is another.
    await helm("upgrade", *chart)
    job = topics_job(cluster)
    assert job["metadata"]["name"] != failed
    assert job["status"]["succeeded"] == 1
    assert job["spec"]["ttlSecondsAfterFinished"] > 3600
    # The revision that had failed can be gone back to, too.
    revision = json.loads(await helm("history", RELEASE, "-o", "json"))[-2]["revision"]
    await helm("rollback", RELEASE, str(revision), "--wait", "--wait-for-jobs", "--timeout", "3m")
    job = topics_job(cluster)
    assert (job["metadata"]["name"], job["status"]["succeeded"]) == (failed, 1)
