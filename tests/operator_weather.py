"""Faults between the operator and the API server, from a seed: the half of a schedule that nobody
does. Lists that are old, writes that fail or only seem to, and watches that lose, double and delay.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from meshkit.kube.client import KubeClient
from meshkit.kube.objects import KubeUnavailable, NotFound, Object, Resource
from meshkit.membership.lease import LEASES
from meshkit.tenancy.resources import POLICIES
from tenant_operator.cluster import KubeCluster
from tenant_operator.following import Told
from tenant_operator.observed import Kept, name_of, own_uid

_READS = ("tenant", "members")
_WRITES = ("apply_policy", "delete_policy", "apply_status", "hold_until_erased", "tell")


class Weather:
    """Whether there are faults just now, and the dice for them."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"faults {seed}")
        self.calm = False

    def strikes(self, chance: float) -> bool:
        """Whether a fault of this chance happens now."""
        return not self.calm and self.rng.random() < chance


class FaultyCluster(KubeCluster):
    """A cluster whose lists may be old, and whose writes may fail, or only seem to."""

    def __init__(self, client: KubeClient, weather: Weather) -> None:
        super().__init__(client)
        self.client = client
        self._weather = weather
        self._lists: dict[Resource, list[tuple[Sequence[Kept], int]]] = {}
        self.writes = 0
        self.wrong: list[str] = []

    async def listed(self, resource: Resource) -> tuple[Sequence[Kept], int]:
        """A list as it is now, as it was at some time before, or none."""
        if self._weather.strikes(0.1):
            raise KubeUnavailable("no list, says the weather")
        known = self._lists.setdefault(resource, [])
        if known and self._weather.strikes(0.4):
            return self._weather.rng.choice(known)
        known.append(await super().listed(resource))
        return known[-1]

    async def members(self) -> tuple[Sequence[Kept], int]:
        """The Leases as they are now: this list is never an old one."""
        return await super().listed(LEASES)

    def forget(self) -> None:
        """From now on, no list is older than this."""
        self._lists.clear()

    async def delete_policy(self, found: Object) -> None:
        """Remove a TenantPolicy; nobody may ever do that to a Tenant that is there and its own."""
        name = name_of(found)
        tenant, policy = await super().tenant(name), None
        with suppress(NotFound):
            policy = await self.client.get(POLICIES, name)
        await super().delete_policy(found)
        if tenant and policy and policy["spec"]["tenantUid"] == own_uid(tenant):
            self.wrong.append(f"the policy of {name} was removed, which is there")

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return self._faulty(found, name) if name in _READS + _WRITES else found

    def _faulty(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        async def called(*arguments: Any, **options: Any) -> Any:
            weather = self._weather
            self.writes += name in _WRITES
            if weather.strikes(0.15):
                raise KubeUnavailable("not done, says the weather")
            if weather.strikes(0.2):
                await asyncio.sleep(weather.rng.uniform(0, 0.03))
            result = await call(*arguments, **options)
            if weather.strikes(0.15):
                raise KubeUnavailable("done, but who knows, says the weather")
            return result

        return called


class FaultyWatch:
    """Loses, doubles and delays events. More than the API server would do to one object: kopf's
    queues and restarts are between it and the operator, too."""

    def __init__(self, told: Told, weather: Weather) -> None:
        self._told = told
        self._weather = weather
        self._late: list[tuple[Resource, str | None, Object]] = []

    def __call__(self, resource: Resource, kind: str | None, found: Object) -> None:
        """Take an event of a watch."""
        if self._weather.strikes(0.2):
            return
        if self._weather.strikes(0.3):
            self._late.append((resource, kind, found))
            return
        for _ in range(2 if self._weather.strikes(0.1) else 1):
            self._told(resource, kind, found)
        if self._weather.strikes(0.3):
            self.let_through()

    def let_through(self) -> None:
        """Tell what is late, in any order."""
        self._weather.rng.shuffle(self._late)
        while self._late:
            self._told(*self._late.pop())
