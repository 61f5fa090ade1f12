"""This replica's Lease: kept alive, and saying at once which policies are in force here.

The source tells of a version after the policies of it are in force, so what is acknowledged never
runs ahead. Versions that only a bookmark tells are no reason to write; the next renewal takes them
along. A replica that cannot acknowledge serves on: it obeys what it has, and a metric and the log
say that nobody hears of it. An orderly stop removes the Lease; one that is killed leaves it to end.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol, Self

import structlog

from meshkit.clock import Clock, WallClock, monotonic, utc_now
from meshkit.kube.client import KubeClient
from meshkit.kube.objects import KubeRefused, KubeUnavailable
from meshkit.membership.lease import LEASES, Member, lease_document
from meshkit.membership.pace import Pace
from meshkit.tasks import end
from meshkit.telemetry import metrics
from meshkit.tenancy.source import TenantProblem

log = structlog.get_logger()

MANAGER = "event-mesh-member"
"""The field manager of a member's Lease."""
_RENEWALS_EACH_LEASE = 3
_LEAVE_SECONDS = 3.0
_PERMISSIONS = "create, patch and delete of leases in coordination.k8s.io"


class Acknowledged(Protocol):
    """A source of policies that can say which version of them is in force."""

    @property
    def applied_version(self) -> str:
        """The newest resource version whose policies are in force."""

    def problems(self) -> Sequence[TenantProblem]:
        """Return the policies that could not be read."""

    def follow(self, follower: Callable[[], None]) -> None:
        """Call `follower` whenever the applied version has moved by more than a bookmark."""

    async def loaded(self) -> None:
        """Return once all policies have been listed."""


class Membership:
    """Makes this replica a member for as long as the block lasts, from the first list on."""

    def __init__(
        self,
        client: KubeClient,
        source: Acknowledged,
        member: Member,
        *,
        clock: Clock = monotonic,
        wall_clock: WallClock = utc_now,
    ) -> None:
        self._client = client
        self._source = source
        self._member = member
        self._clock = clock
        self._wall_clock = wall_clock
        self._renewal = member.lease_seconds / _RENEWALS_EACH_LEASE
        self._pace = Pace(self._renewal)
        self._woken = asyncio.Event()
        self._writing = asyncio.Lock()
        self._trouble = ""
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._source.follow(self._heard)
        self._keeping = asyncio.create_task(self._keep(), name="membership")
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            async with asyncio.timeout(_LEAVE_SECONDS), self._writing:
                # Between two writes: one that is under way might arrive after the removal.
                await self._stop()
                await self._client.delete(LEASES, self._member.name)
        except (TimeoutError, KubeUnavailable, KubeRefused) as error:
            log.warning("lease_not_removed", lease=self._member.name, reason=_told(error))
        finally:
            await self._stop()

    async def _stop(self) -> None:
        await end(self._keeping)

    def _heard(self) -> None:
        if self._pace.changed(self._clock()):
            self._woken.set()

    async def _keep(self) -> None:
        await self._source.loaded()
        while True:
            await self._due()
            async with self._writing:
                await self._write()

    async def _due(self) -> None:
        """Return when it is time to write."""
        while (left := self._pace.due - self._clock()) > 0:
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._woken.wait()

    async def _write(self) -> None:
        self._pace.begun(self._clock())
        document = lease_document(self._as_of_now(), self._wall_clock())
        try:
            # One that hangs for longer would cost the renewal after it.
            async with asyncio.timeout(self._renewal):
                await self._client.apply(LEASES, document, manager=MANAGER)
        except (KubeUnavailable, TimeoutError) as error:
            self._failed("unavailable", reason=_told(error))
        except KubeRefused as error:
            self._failed("refused", reason=_told(error), needed=_PERMISSIONS)
        except Exception:
            # A loop that must survive: a replica that is silent counts as one that is gone.
            log.exception("acknowledging_failed")
            self._failed("fault", reason="unforeseen")
        else:
            self._pace.ended()
            metrics.ACKNOWLEDGEMENTS.inc()
            if self._trouble:
                log.info("acknowledging_again", lease=self._member.name)
            self._trouble = ""

    def _as_of_now(self) -> Member:
        return replace(
            self._member,
            applied_version=int(self._source.applied_version or 0),
            not_applied=frozenset(problem.name for problem in self._source.problems()),
        )

    def _failed(self, trouble: str, **told: str) -> None:
        self._pace.failed(self._clock(), random.uniform(0.5, 1.5))  # noqa: S311 - jitter
        metrics.ACKNOWLEDGEMENT_FAILURES.labels(trouble).inc()
        if trouble != self._trouble:
            log.warning("policies_not_acknowledged", lease=self._member.name, **told)
        self._trouble = trouble


def _told(error: Exception) -> str:
    return str(error) or "the API server does not answer in time"


__all__ = ["MANAGER", "Acknowledged", "Membership"]
