"""The topic `mesh.usage` as one process follows it, and writes to it.

Whoever follows reads everything from the start, in the order that everybody reads it in. What is
published can be waited for: its writer is called at the very place in the order where the record
stands, when everything before it is known and nothing after. That place is the same for all, so two
who claim the last of something at once both see who was first. It is the order of partition 0: all
is published there. What lies in others, of a topic that was made by accident, holds only until the
same key is in partition 0.

Nobody commits here: a restart reads the topic again, which compaction keeps short.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import structlog

from meshkit.entropy import random_block
from meshkit.errors import LogUnavailable
from meshkit.events.log import USAGE, EventLog, NewRecord, Record
from meshkit.usage.counters import Counters
from meshkit.usage.records import ASK, UsageKey, usage_record

log = structlog.get_logger()

_READ_MOST = 2000
_READ_SECONDS = 1.0
_RETRY_SECONDS = 0.5
_ANSWER_SECONDS = 5.0
_LOADED_SECONDS = 2.0


class UsageTopic:
    """Follows `mesh.usage` into `counters`. `replica` is who writes here, the same after a restart
    and nobody else's."""

    def __init__(self, event_log: EventLog, replica: str) -> None:
        self.counters = Counters()
        self.replica = replica
        self._log = event_log
        self._asked: dict[bytes, Callable[[], None]] = {}
        self._next: dict[int, int] = {}
        self._in_order: set[bytes] = set()
        self._loaded = asyncio.Event()
        self._problem = "usage is not read yet"

    @property
    def is_loaded(self) -> bool:
        """Whether everything is known that was there at the start."""
        return self._loaded.is_set()

    async def loaded(self) -> None:
        """Return once that is so; waits a little. Raises LogUnavailable."""
        if not self.is_loaded:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOADED_SECONDS):
                    await self._loaded.wait()
                return
            raise LogUnavailable(f"what is used is not known: {self._problem}", retry_after=1.0)

    async def check(self) -> str | None:
        """Return why what is used is not known, None from when it was, for `/readyz`."""
        return None if self.is_loaded else self._problem

    async def publish(self, records: Sequence[NewRecord]) -> None:
        """Publish numbers. Raises LogUnavailable."""
        if records:
            await self._log.publish_many(USAGE, records)

    async def publish_and_read(
        self, make: Callable[[str], NewRecord], at_its_place: Callable[[], None]
    ) -> None:
        """Publish a record and return once it was read back; `at_its_place` is called then, before
        anything behind it is known. Raises LogUnavailable; then it was not called, nor will be.
        """
        ask = random_block()[:8].hex()
        read = asyncio.Event()

        def here() -> None:
            at_its_place()
            read.set()

        self._asked[ask.encode()] = here
        try:
            await self._log.publish(USAGE, make(ask))
            async with asyncio.timeout(_ANSWER_SECONDS):
                await read.wait()
        except TimeoutError:
            raise LogUnavailable("usage cannot be read back", retry_after=1.0) from None
        finally:
            self._asked.pop(ask.encode(), None)

    async def catch_up(self, at_its_place: Callable[[], None] = lambda: None) -> None:
        """Return once everything is known that is in the topic now. Raises LogUnavailable."""
        mark = UsageKey("-", "mark", "now", self.replica)
        await self.publish_and_read(lambda ask: usage_record(mark, None, ask), at_its_place)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow the topic for as long as the block lasts."""
        tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._load())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _load(self) -> None:
        """Be loaded once a record published now is read: all there was lies before it."""
        while not self.is_loaded:
            try:
                await self.catch_up(self._loaded.set)
            except LogUnavailable as error:
                self._problem = error.detail
                await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self) -> None:
        # A group of its own, which commits nothing: it is a way to read, and leaves nothing behind.
        group = f"mesh-usage.{self.replica}.{random_block()[:8].hex()}"
        consumer = self._log.consumer(USAGE, group)
        try:
            while True:
                try:
                    for record in await consumer.consume(_READ_MOST, _READ_SECONDS):
                        self._read(record)
                except LogUnavailable as error:
                    self._problem = error.detail
                    log.warning("usage_unreadable", reason=error.detail)
                    await asyncio.sleep(_RETRY_SECONDS)
        finally:
            await consumer.close()

    def _read(self, record: Record) -> None:
        if record.offset < self._next.get(record.partition, 0):
            # Read again after the group moved: what came later holds.
            return
        self._next[record.partition] = record.offset + 1
        if record.partition == 0:
            self._in_order.add(record.key)
        elif record.key in self._in_order:
            return
        self.counters.apply(record.key, record.value)
        for name, value in record.headers:
            if name == ASK and (here := self._asked.pop(value, None)) is not None:
                here()


__all__ = ["UsageTopic"]
