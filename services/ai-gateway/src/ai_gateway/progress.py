"""How far the index has come: what makes a search see a client's own writes.

The indexer says per partition up to which offset everything is searchable; a search that was
given a position waits until it is. Offsets never go back while a collection lives: what was
searchable stays so.
"""

import asyncio
from collections.abc import Mapping

from meshkit.events.log import Position


class IndexProgress:
    """Searchable offsets by partition, and those who wait for them."""

    def __init__(self) -> None:
        self._searchable: dict[int, int] = {}
        self._waiters: dict[asyncio.Future[None], Position] = {}

    def restart(self, committed: Mapping[int, int]) -> None:
        """Begin with what was committed for the collection that is searched from now on."""
        self._searchable = {}
        for partition, next_offset in committed.items():
            self.advance(partition, next_offset)

    def advance(self, partition: int, next_offset: int) -> None:
        """Say that every record of `partition` before `next_offset` is searchable."""
        if next_offset <= self._searchable.get(partition, 0):
            return
        self._searchable[partition] = next_offset
        for waiter, position in list(self._waiters.items()):
            if self.includes(position) and not waiter.done():
                waiter.set_result(None)

    def includes(self, position: Position) -> bool:
        """Return whether the record at `position` is searchable."""
        return position.offset < self._searchable.get(position.partition, 0)

    async def wait_for(self, position: Position, timeout: float) -> bool:
        """Wait at most `timeout` seconds for `position`; return whether it is searchable."""
        if self.includes(position):
            return True
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = position
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return False
        finally:
            del self._waiters[waiter]
        return True
