"""What every tenant source promises. An adapter joins in `SOURCES`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from builders import make_tenant, tenant_document
from kube_api import KubeApi
from meshkit.kube.client import KubeClient
from meshkit.tenancy.directory import DirectoryTenantSource
from meshkit.tenancy.kubernetes import KubernetesTenantSource
from meshkit.tenancy.resolve import resolve
from meshkit.tenancy.source import TenantSource
from meshkit.tenancy.spec import API_VERSION
from meshkit.tenancy.static import StaticTenantSource
from waiting import eventually


@dataclass
class Declared:
    """A source, and how a tenant is declared to it and taken away again."""

    source: TenantSource
    put: Callable[..., None]
    remove: Callable[[str], None]


@asynccontextmanager
async def static_source(_: Path) -> AsyncIterator[Declared]:
    source = StaticTenantSource()

    def put(name: str, **spec: Any) -> None:
        source.put(resolve(make_tenant(name, **spec), None))

    await source.start()
    yield Declared(source, put, source.remove)
    await source.close()


@asynccontextmanager
async def directory_source(folder: Path) -> AsyncIterator[Declared]:
    def put(name: str, **spec: Any) -> None:
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(tenant_document(name, **spec)))

    source = DirectoryTenantSource(folder)
    await source.start()
    yield Declared(source, put, lambda name: (folder / f"{name}.yaml").unlink())
    await source.close()


@asynccontextmanager
async def kubernetes_source(api: KubeApi) -> AsyncIterator[Declared]:
    namespace = f"n{uuid4().hex}"
    assert api.kubectl("create", "namespace", namespace).returncode == 0
    client = KubeClient(api.connection(namespace))

    def put(name: str, **spec: Any) -> None:
        policy = resolve(make_tenant(name, **spec), None)
        document = {
            "apiVersion": API_VERSION,
            "kind": "TenantPolicy",
            "metadata": {"name": name, "namespace": namespace},
            "spec": policy.document(),
        }
        assert api.apply(document).returncode == 0

    def remove(name: str) -> None:
        assert api.kubectl("delete", "-n", namespace, "tpol", name).returncode == 0

    async with client:
        source = KubernetesTenantSource(client)
        await source.start()
        await source.loaded()
        yield Declared(source, put, remove)
        await source.close()


SOURCES = ("static", "directory", "kubernetes")


@pytest.fixture(params=SOURCES)
async def declared(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Declared]:
    if request.param == "kubernetes":
        opened = kubernetes_source(request.getfixturevalue("kube_api"))
    else:
        opened = {"static": static_source, "directory": directory_source}[request.param](tmp_path)
    async with opened as declared:
        yield declared


async def test_declared_tenant_is_in_force(declared: Declared) -> None:
    declared.put("tenant-a", weight=7)
    await eventually(lambda: declared.source.get("tenant-a") is not None)
    policy = declared.source.policies()["tenant-a"]
    assert policy is declared.source.get("tenant-a")
    assert (policy.tenant_id, policy.weight.value) == ("tenant-a", 7)
    assert declared.source.problems() in ((), [])


async def test_stranger_has_no_policy(declared: Declared) -> None:
    assert declared.source.get("nobody") is None
    assert declared.source.get("../tenant-a") is None


async def test_change_is_another_policy_swapped_whole(declared: Declared) -> None:
    declared.put("tenant-a", weight=1)
    await eventually(lambda: declared.source.get("tenant-a") is not None)
    before = declared.source.get("tenant-a")
    declared.put("tenant-a", weight=2)
    await eventually(lambda: declared.source.get("tenant-a") is not before)
    after = declared.source.get("tenant-a")
    assert before is not None
    assert after is not None
    assert (before.weight.value, after.weight.value) == (1, 2)
    assert before.revision != after.revision


async def test_snapshot_is_not_touched_by_later_changes(declared: Declared) -> None:
    declared.put("tenant-a")
    await eventually(lambda: declared.source.get("tenant-a") is not None)
    snapshot = declared.source.policies()
    declared.put("tenant-b")
    await eventually(lambda: declared.source.get("tenant-b") is not None)
    assert set(snapshot) == {"tenant-a"}


async def test_removed_tenant_is_a_stranger_and_others_stay(declared: Declared) -> None:
    declared.put("tenant-a")
    declared.put("tenant-b")
    await eventually(lambda: len(declared.source.policies()) == 2)
    kept = declared.source.get("tenant-b")
    declared.remove("tenant-a")
    await eventually(lambda: declared.source.get("tenant-a") is None)
    assert declared.source.get("tenant-b") is kept


async def test_policies_stay_readable_after_closing(declared: Declared) -> None:
    declared.put("tenant-a")
    await eventually(lambda: declared.source.get("tenant-a") is not None)
    await declared.source.close()
    assert declared.source.get("tenant-a") is not None
