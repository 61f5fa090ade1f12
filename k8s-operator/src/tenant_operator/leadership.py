"""One operator at work: whoever holds the Lease.

A second operator by accident waits until the first lets go or falls silent. A holder that cannot
renew in time stops before another one may begin, by its own clock (as client-go's leader election).
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog

from meshkit.clock import Clock, WallClock, monotonic, utc_now
from meshkit.kube.client import KubeClient
from meshkit.kube.objects import Conflict, KubeRefused, KubeUnavailable, NotFound, Object
from meshkit.membership.lease import LEASES, micro_time
from meshkit.tasks import end
from meshkit.telemetry import metrics

log = structlog.get_logger()

NAME = "mesh-tenant-operator"


class Leadership:
    """The right to work, held by one identity at a time."""

    def __init__(
        self,
        client: KubeClient,
        identity: str,
        lease_seconds: int,
        *,
        clock: Clock = monotonic,
        wall_clock: WallClock = utc_now,
    ) -> None:
        self._client = client
        self._identity = identity
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._wall_clock = wall_clock
        self._seen = ("", 0.0)
        self.lost = asyncio.Event()
        self.holder: str | None = None
        """Who holds it, as far as this operator knows."""

    async def check(self) -> str | None:
        """Return why this operator is not at work, None while it is."""
        if self.holder == self._identity and not self.lost.is_set():
            return None
        return f"{self.holder or 'nobody yet'} is at work; this operator waits"

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Wait for the Lease, hold it for as long as the block lasts, then let it go. Where it is
        lost meanwhile, `lost` is set."""
        while not await self._tried():  # noqa: ASYNC110 - what it waits for is on the server
            await asyncio.sleep(self._lease_seconds / 10 * random.uniform(0.8, 1.2))  # noqa: S311
        metrics.OPERATOR_LEADER.set(1)
        log.info("leadership_taken", identity=self._identity)
        renewing = asyncio.create_task(self._renew(), name="leadership")
        try:
            yield
        finally:
            await end(renewing)
            metrics.OPERATOR_LEADER.set(0)
            if not self.lost.is_set():
                await self._let_go()

    async def _renew(self) -> None:
        renewed = self._clock()
        while True:
            await asyncio.sleep(self._lease_seconds / 5)
            if await self._tried():
                renewed = self._clock()
            elif self.holder != self._identity or self._clock() - renewed > (
                self._lease_seconds * 2 / 3
            ):
                log.error("leadership_lost", holder=self.holder)
                self.lost.set()
                return

    async def _tried(self) -> bool:
        """Take or renew the Lease; return whether it is ours now."""
        try:
            try:
                found = await self._client.get(LEASES, NAME)
            except NotFound:
                await self._client.create(LEASES, self._lease(None))
                self.holder = self._identity
                return True
            if not self._may_take(found):
                return False
            await self._client.replace(LEASES, self._lease(found))
        except Conflict:
            # Somebody else was quicker; who, is seen at the next look.
            return False
        except (KubeUnavailable, KubeRefused) as error:
            log.warning("leadership_not_renewed", reason=str(error))
            return False
        self.holder = self._identity
        return True

    def _may_take(self, found: Object) -> bool:
        spec = found.get("spec") or {}
        holder = spec.get("holderIdentity") or None
        self.holder = holder
        if holder in (None, self._identity):
            return True
        renewed = spec.get("renewTime") or ""
        if renewed != self._seen[0]:
            self._seen = (renewed, self._clock())
        silent = self._clock() - self._seen[1]
        return bool(silent > (spec.get("leaseDurationSeconds") or self._lease_seconds))

    def _lease(self, found: Object | None, *, holder: str | None = None) -> Object:
        now = micro_time(self._wall_clock())
        before: dict[str, Any] = (found or {}).get("spec") or {}
        holder = self._identity if holder is None else holder
        took_over = before.get("holderIdentity") != holder
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": found["metadata"] if found else {"name": NAME},
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": self._lease_seconds,
                "acquireTime": now if took_over else before.get("acquireTime", now),
                "renewTime": now,
                "leaseTransitions": before.get("leaseTransitions", 0) + int(took_over),
            },
        }

    async def _let_go(self) -> None:
        """Let the next one begin at once."""
        with suppress(KubeUnavailable, KubeRefused):
            found = await self._client.get(LEASES, NAME)
            if (found.get("spec") or {}).get("holderIdentity") == self._identity:
                await self._client.replace(LEASES, self._lease(found, holder=""))
