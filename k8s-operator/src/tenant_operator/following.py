"""Watches of what programs write: policies and Leases. kopf watches what people declare.

For each edit of a Tenant there is an event of its policy, and one of each replica's Lease, that
only has to be taken in. Handing it through kopf's queues and handlers costs a multiple of that.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from meshkit.kube.client import KubeClient
from meshkit.kube.objects import Object, Resource, WatchEvent
from meshkit.kube.reflector import reflect
from meshkit.membership.lease import LEASES, MEMBER_LABEL
from meshkit.tasks import end
from meshkit.tenancy.resources import POLICIES

log = structlog.get_logger()

Told = Callable[[Resource, str | None, Object], None]
"""Takes in an event: ADDED, MODIFIED, DELETED, or None for what was there at the start."""


@asynccontextmanager
async def following(
    client: KubeClient, told: Told, resources: tuple[Resource, ...] = (POLICIES, LEASES)
) -> AsyncIterator[None]:
    """Tell every event of these kinds for as long as the block lasts."""
    tasks = [asyncio.create_task(_follow(client, resource, told)) for resource in resources]
    try:
        yield
    finally:
        await end(*tasks)


async def _follow(client: KubeClient, resource: Resource, told: Told) -> None:
    labels = MEMBER_LABEL if resource == LEASES else ""
    in_the_way = ""

    async def listed() -> str:
        version = ""
        async for page in client.pages(resource, labels=labels):
            for found in page.objects:
                told(resource, None, found)
            version = page.version
        return version

    def heard(event: WatchEvent) -> None:
        if event.type != "BOOKMARK":
            told(resource, event.type, event.object)

    def opened() -> None:
        nonlocal in_the_way
        in_the_way = ""

    def troubled(error: Exception) -> None:
        nonlocal in_the_way
        if (reason := str(error) or type(error).__name__) != in_the_way:
            log.warning("watch_interrupted", resource=resource.plural, reason=reason)
        in_the_way = reason

    await reflect(
        client,
        resource,
        listed=listed,
        heard=heard,
        opened=opened,
        troubled=troubled,
        labels=labels,
    )
