"""Names that need to be looked at, each once however often it was told, and never twice at a time.

Two lanes: what somebody changed and waits for goes before what only has to be brought up to date
(ten thousand statuses after a replica came or went). A name may be put off until a time.
"""

import asyncio
import heapq
from collections import OrderedDict
from contextlib import suppress

from meshkit.clock import Clock


class WorkQueue:
    """A queue for workers of one event loop. `clock` gives seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._urgent: OrderedDict[str, None] = OrderedDict()
        self._background: OrderedDict[str, None] = OrderedDict()
        self._busy: set[str] = set()
        self._again: dict[str, bool] = {}
        self._due: dict[str, float] = {}
        self._later: list[tuple[float, str]] = []
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._background)

    @property
    def idle(self) -> bool:
        """Whether nothing waits now and nothing is being worked on; what was put off may be."""
        return not (len(self) or self._busy)

    def add(self, name: str, *, background: bool = False) -> None:
        """Have a name looked at as soon as somebody is free."""
        if name in self._busy:
            self._again[name] = self._again.get(name, True) and background
            return
        if background:
            if name not in self._urgent:
                self._background[name] = None
        else:
            self._background.pop(name, None)
            self._urgent[name] = None
        self._wake.set()

    def add_later(self, name: str, seconds: float) -> None:
        """Have a name looked at after a time, or earlier where it was to be anyway."""
        due = self._clock() + seconds
        if self._due.get(name, due) < due:
            return
        self._due[name] = due
        heapq.heappush(self._later, (due, name))
        self._wake.set()

    async def take(self, *, urgent_only: bool = False) -> str:
        """Return the next name; `done` has to follow. Whoever takes only what is urgent is there
        when somebody changes something while the others are busy with the rest."""
        while True:
            self._move_due()
            for lane in (self._urgent,) if urgent_only else (self._urgent, self._background):
                if lane:
                    name, _ = lane.popitem(last=False)
                    self._busy.add(name)
                    return name
            await self._something()

    def done(self, name: str) -> None:
        """Say that a name was looked at; where it was told meanwhile, it comes again."""
        self._busy.discard(name)
        background = self._again.pop(name, None)
        if background is not None:
            self.add(name, background=background)

    def _move_due(self) -> None:
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            due, name = heapq.heappop(self._later)
            if self._due.get(name) == due:
                del self._due[name]
                self.add(name)

    async def _something(self) -> None:
        self._wake.clear()
        timeout = self._later[0][0] - self._clock() if self._later else None
        if timeout is not None and timeout <= 0:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wake.wait()
