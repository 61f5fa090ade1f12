"""Two replicas in a process of their own: `python -m bench.replicas NAMESPACE`.

Run as services are (`meshkit.runtime`). They follow the policies and say so in their Leases. Each
change is told on standard output: which replica, which tenant, its `users.write`, and when (the
monotonic clock, which all processes of a machine share).
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import uvloop

from meshkit.kube.client import KubeClient
from meshkit.kube.connection import connect
from meshkit.membership.lease import Member
from meshkit.membership.member import Membership
from meshkit.runtime import tune_garbage_collection
from meshkit.tenancy.kubernetes import KubernetesTenantSource

REPLICAS = 2


async def follow(namespace: str) -> None:
    """Follow until it is killed."""
    tune_garbage_collection()
    async with AsyncExitStack() as stack:
        for number in range(REPLICAS):
            client = await stack.enter_async_context(KubeClient(await connect(namespace)))
            sources: list[KubernetesTenantSource] = []

            def tell(
                changed: frozenset[str],
                number: int = number,
                known: Sequence[KubernetesTenantSource] = sources,
            ) -> None:
                now = time.monotonic()
                for name in changed if known else ():
                    policy = known[0].get(name)
                    if policy is not None:
                        rate = policy.rate_limit("users.write").requests
                        print(number, name, rate, now, flush=True)

            source = KubernetesTenantSource(client, on_change=tell)
            await stack.enter_async_context(source)
            member = Member("user-service", f"bench-{number}")
            await stack.enter_async_context(Membership(client, source, member))
            await source.loaded()
            sources.append(source)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(follow(sys.argv[1]))
