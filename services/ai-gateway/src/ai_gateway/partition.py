"""What is known of one partition: how far it is read, what of it is not done, and who is apart.

Per partition the offset that may be committed is the lowest one that is not done: waiting, being
indexed, or left in the log. A tenant that is suspended would hold that up for as long as it is, so
its records are left apart: the offset from which they wait, its mark, is noted with the commit,
which goes on without it (ADR 0020). It stays apart until it has caught up after it was resumed.

A commit with its note is a statement: everything before the offset is stored, but for what the
marked tenants have from their marks on. It stays true, so an older one may be committed after a
newer one and loses nothing. Pure.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from meshkit.events.log import NOTE_BYTES_MOST, Record

DELETIONS = "/deletions"
"""The line of deletions that do not wait though their tenants do; no uid has such a character."""

# What a mark takes of a note beside the tenant's uid: quotes, colon, comma, and the offset.
_MARK_BYTES = 23

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, int]).decode


class Undone:
    """Offsets in memory that are not done."""

    __slots__ = ("_done", "_open")

    def __init__(self) -> None:
        # A heap of offsets, some of them done since.
        self._open: list[int] = []
        self._done: set[int] = set()

    def add(self, offset: int) -> None:
        """Count in one that was taken into memory."""
        heapq.heappush(self._open, offset)

    def finish(self, offset: int) -> None:
        """Count out one that is done, or will be read again."""
        self._done.add(offset)
        while self._open and self._open[0] in self._done:
            self._done.discard(heapq.heappop(self._open))

    def lowest(self, otherwise: int) -> int:
        """Return the lowest one, `otherwise` where there is none."""
        return self._open[0] if self._open else otherwise


@dataclass(slots=True, eq=False)
class Partition:
    """What is known of one partition since it was assigned."""

    head: int
    """The next offset to read."""
    left: dict[str, int] = field(default_factory=dict)
    """The tenants with records left in the log, to be read when there is room, and from where."""
    paused: dict[str, int] = field(default_factory=dict)
    """The tenants with records left in the log because they are not served for now, and from
    where."""
    undone: Undone = field(default_factory=Undone)
    apart: dict[str, Undone] = field(default_factory=dict)
    """The tenants that are served again and catch up, and what of them is in memory."""
    _noted: tuple[Mapping[str, int], str, int | None] = ({}, "", None)

    @property
    def leaves_some(self) -> bool:
        """Whether anybody's records were left in the log, or a tenant is apart."""
        return bool(self.left or self.paused or self.apart)

    def leaves(self, tenant: str) -> bool:
        """Return whether records of a tenant were left in the log: what is read of it now is not
        the next."""
        return tenant in self.left or tenant in self.paused

    def pause(self, tenant: str, offset: int) -> None:
        """Leave a tenant's records from `offset` on, or from where they were left before."""
        if tenant in self.left:
            left = self.left.pop(tenant)
            offset = min(offset, left)
            if tenant not in self.apart:
                # There may be deletions in what had found no room: they are read again.
                self.left[DELETIONS] = min(left, self.left.get(DELETIONS, left))
        self.paused[tenant] = min(offset, self.paused.get(tenant, offset))

    def resume(self, tenant: str) -> None:
        """Have a tenant's records read again that were left while it was not served."""
        self.left[tenant] = self.paused.pop(tenant)
        self.apart.setdefault(tenant, Undone())

    def is_behind(self, tenant: str) -> bool:
        """Return whether a tenant is suspended, or has not yet been read again since: then its
        deletions go before their turn, and again when it comes."""
        return tenant in self.paused or (tenant in self.apart and tenant in self.left)

    def undone_of(self, tenant: str) -> Undone:
        """Return where a record of a tenant counts as long as it is not done."""
        return self.apart.get(tenant, self.undone)

    def committable(self) -> tuple[int, str]:
        """Return the offset that may be committed, and the note that belongs to it."""
        lowest = self.undone.lowest(self.head)
        for tenant, start in self.left.items():
            if start < lowest and tenant not in self.apart:
                lowest = start
        if not self.paused and not self.apart:
            return lowest, ""
        marks = self._marks()
        if marks != self._noted[0]:
            self._noted = (marks, *_note(marks))
        _, note, unnoted = self._noted
        return lowest if unnoted is None else min(lowest, unnoted), note

    def _marks(self) -> dict[str, int]:
        """Return from where on the records of those that are apart are not done."""
        marks = dict(self.paused)
        for tenant, undone in list(self.apart.items()):
            mark = undone.lowest(self.head)
            mark = min(mark, self.left.get(tenant, mark), self.paused.get(tenant, mark))
            if mark < self.head:
                marks[tenant] = mark
            elif not self.leaves(tenant):
                # It has caught up: from here on it is like everybody else.
                del self.apart[tenant]
        return marks


class Item(msgspec.Struct, eq=False, gc=False):
    """A record that waits or is being indexed; `size` is what it takes in memory, in bytes."""

    record: Record
    tenant: str
    partition: Partition
    size: int
    undone: Undone

    @property
    def waited_apart(self) -> bool:
        """Whether it is late because its tenant was suspended."""
        return self.undone is not self.partition.undone


def started(offset: int, note: str) -> Partition:
    """Return a partition as it was committed: from where on it is read, and the marks of those
    that were apart. Raises ValueError for a note that is none of ours."""
    try:
        marks = _decode(note)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the note of a commit cannot be read: {error}") from None
    # Past the commit a mark says nothing: everything is read from there.
    return Partition(offset, paused={tenant: min(mark, offset) for tenant, mark in marks.items()})


def _note(marks: Mapping[str, int]) -> tuple[str, int | None]:
    """Return as many marks as a note holds, those furthest back first, and the lowest of the
    others, which has to hold the commit up."""
    noted: dict[str, int] = {}
    room = NOTE_BYTES_MOST - 2
    for tenant, mark in sorted(marks.items(), key=lambda one: one[1]):
        room -= len(tenant.encode()) + _MARK_BYTES
        if room < 0:
            return _encode(noted).decode(), mark
        noted[tenant] = mark
    return _encode(noted).decode() if noted else "", None
