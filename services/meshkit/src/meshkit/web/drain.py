"""The last seconds of a replica: it serves on while its callers go over to others.

Whoever balances the load learns late that a replica is leaving, and clients keep connections open.
So a replica that is told to stop first says that it is not ready, and answers everything as before,
but closes each connection with its answer: the client opens its next one, to another replica.
Closing ports at once would reset requests that are on their way.
"""

import asyncio
from dataclasses import replace

import structlog

from meshkit.web.admin import AdminPart

log = structlog.get_logger()


class Drain:
    """How a replica leaves, shared by its public port and the readiness on its admin port."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._leaving = False

    @property
    def leaving(self) -> bool:
        """Whether connections are to be closed with their next answer."""
        return self._leaving

    async def check(self) -> str | None:
        """Return why no more traffic should come, for `/readyz`; None while it may."""
        return "this replica is being stopped" if self._leaving else None

    def over_readiness(self, part: AdminPart) -> AdminPart:
        """Return a part of the admin port that is not ready any more once the replica is
        leaving."""
        return replace(part, checks={**part.checks, "stopping": self.check})

    async def run(self) -> None:
        """Serve on for the time that was set; returns at once where none was."""
        if self._seconds:
            self._leaving = True
            log.info("draining", seconds=self._seconds)
            await asyncio.sleep(self._seconds)


__all__ = ["Drain"]
