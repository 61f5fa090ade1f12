"""TenantPolicy objects as the operator writes them, and what a source makes of them."""

import asyncio
from collections.abc import Iterable
from typing import Any

from builders import make_policy
from meshkit.kube.client import KubeClient
from meshkit.kube.objects import Object
from meshkit.tenancy.policy import Provenance, ResolvedWeight
from meshkit.tenancy.resources import POLICIES
from meshkit.tenancy.source import TenantSource
from meshkit.tenancy.spec import API_VERSION


def policy(name: str, weight: int = 1, **changes: Any) -> Object:
    """The policy of a tenant; `changes` go over its spec as they are."""
    resolved = ResolvedWeight(value=weight, provenance=Provenance.OVERRIDE)
    spec = make_policy(name, weight=resolved, revision=f"r{weight}").document()
    return {
        "apiVersion": API_VERSION,
        "kind": "TenantPolicy",
        "metadata": {"name": name},
        "spec": spec | changes,
    }


async def make_all(client: KubeClient, names: Iterable[str]) -> list[int]:
    """Make the policies of many tenants, as fast as it goes; return their versions."""
    room = asyncio.Semaphore(16)

    async def make(name: str) -> int:
        async with room:
            made = await client.create(POLICIES, policy(name))
            return int(made["metadata"]["resourceVersion"])

    return await asyncio.gather(*(make(name) for name in names))


def weight(source: TenantSource, name: str) -> int | None:
    """The weight that a tenant has by the policies in force, None where it is a stranger."""
    found = source.get(name)
    return found.weight.value if found is not None else None
