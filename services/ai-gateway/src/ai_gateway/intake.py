"""From the log into the backlog: reads on, and reads again what had found no room.

Both take turns in one task, so that the backlog is looked at by one reader at a time. While the
backlog is full nothing is read, but the member stays in its group: an outage of the store, however
long, moves no partitions about.
"""

import asyncio

import structlog

from ai_gateway.backlog import Backlog
from meshkit.errors import LogUnavailable
from meshkit.events.log import Consumer, Reader

log = structlog.get_logger()

# Enough to share the cost of a read, little enough to be a moment of the event loop.
READ_MOST = 500
_IDLE_SECONDS = 0.5
_FULL_SECONDS = 0.02
_BACKOFF_SECONDS = 1.0


class Intake:
    """Fills a backlog. `arrived` is set whenever there may be something to index."""

    def __init__(self, consumer: Consumer, reader: Reader, backlog: Backlog) -> None:
        self._consumer = consumer
        self._reader = reader
        self._backlog = backlog
        self.arrived = asyncio.Event()
        self.problem: str | None = None
        """Why the log is not being read, None while it is."""

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            try:
                await self._read_on()
                await self._read_again()
            except LogUnavailable as error:
                self.problem = error.detail
                log.warning("log_unavailable", reason=error.detail)
                await asyncio.sleep(_BACKOFF_SECONDS)
            else:
                self.problem = None

    async def _read_on(self) -> None:
        if self._backlog.full:
            records = await self._consumer.consume(0, _FULL_SECONDS)
        else:
            records = await self._consumer.consume(READ_MOST, self._patience())
        # First what was lost: it may have come back, and these may be its first records.
        self._backlog.forget(self._consumer.revoked())
        self._backlog.begin(self._consumer.noted())
        if records:
            self._backlog.offer(records)
            self.arrived.set()

    def _patience(self) -> float:
        """How long to wait for new records: not where others can be read again meanwhile."""
        if self._backlog.to_read_again() is not None:
            return 0.0
        return _FULL_SECONDS if self._backlog.holds_back else _IDLE_SECONDS

    async def _read_again(self) -> None:
        place = self._backlog.to_read_again()
        if place is None:
            return
        partition, start = place
        chunk = await self._reader.read(partition, start, READ_MOST)
        self._backlog.offer_again(partition, start, chunk.records, chunk.end)
        self.arrived.set()
