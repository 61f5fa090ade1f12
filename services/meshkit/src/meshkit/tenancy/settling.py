"""When a tenant that a file no longer names is deleted: not before the file has settled.

A file can be read between being truncated and written, with its last documents not yet there, or
while an editor has moved it away. A file from which something is missing counts as it was before,
until it has not changed for a while:

    the file is gone                          0.1 s
    it was written in place and is shorter    0.1 s
    an object is missing that no other has    2 s
    it is empty, or has only comments         never: it is broken

To delete all that is in a file, delete the file, or write an empty `List` into it. Pure: `now` is
monotonic seconds, given.
"""

from collections.abc import Mapping
from dataclasses import replace

from meshkit.tenancy.catalogue import with_last_good
from meshkit.tenancy.source import TenantProblem
from meshkit.tenancy.yaml_files import TenantFile

GONE_SECONDS = 0.1
SHRUNK_SECONDS = 0.1
LOST_SECONDS = 2.0
EMPTIED = (
    "the file is empty now; its tenants and plans stay. To delete them, delete the file, or write"
    " {apiVersion: v1, kind: List, items: []}"
)

Objects = frozenset[tuple[str, str]]
_NOTHING = TenantFile(())


class Settling:
    """The files of one folder as they count, by what was read of them last."""

    def __init__(self) -> None:
        self._read: dict[str, TenantFile] = {}
        self._counted: dict[str, TenantFile] = {}
        self._waiting: dict[str, tuple[TenantFile | None, float, float]] = {}

    @property
    def waiting(self) -> set[str]:
        """The files in which something is missing for too short a time to count."""
        return set(self._waiting)

    def wait(self, now: float) -> float | None:
        """Return how long to wait before the next of these is looked at again, None if none is."""
        ends = [since + delay for _, since, delay in self._waiting.values()]
        return max(min(ends) - now, 0.0) if ends else None

    def settle(self, read: Mapping[str, TenantFile], now: float) -> dict[str, TenantFile]:
        """Return the files that count now that `read` (by name, in order) is all there is."""
        counted: dict[str, TenantFile] = {}
        for name in sorted(read.keys() | self._counted.keys()):
            file, before = read.get(name), self._counted.get(name)
            unchanged = file is not None and file is self._read.get(name)
            if before is not None and unchanged and name not in self._waiting:
                counted[name] = before
            elif (settled := self._settled(name, file, before, read, now)) is not None:
                counted[name] = settled
        self._read, self._counted = dict(read), counted
        return counted

    def _settled(
        self,
        name: str,
        file: TenantFile | None,
        before: TenantFile | None,
        read: Mapping[str, TenantFile],
        now: float,
    ) -> TenantFile | None:
        if before is None:
            return file
        good = with_last_good(file, before) if file is not None else _NOTHING
        delay = _delay(file, before, _lost(name, before, good, read))
        if delay is None:
            self._waiting.pop(name, None)
            return good if file is not None else None
        missing, since, _ = self._waiting.get(name, (before, now, 0.0))
        if not _same(missing, file):
            since = now
        self._waiting[name] = (file, since, delay)
        if now - since < delay:
            emptied = before.blank and file is not None and not file.blank
            return (
                replace(before, problems=(), unreadable=False, blank=False) if emptied else before
            )
        del self._waiting[name]
        if file is not None and file.blank:
            problem = TenantProblem(name, name.rpartition(".")[0], "file", EMPTIED)
            return replace(before, problems=(problem,), unreadable=True, blank=True)
        return good if file is not None else None


def _delay(file: TenantFile | None, before: TenantFile, lost: Objects | None) -> float | None:
    """Return for how long a file has to stay as it is before it counts, None where it does now."""
    if file is None:
        return GONE_SECONDS if lost else None
    if lost:
        return SHRUNK_SECONDS if file.blank else LOST_SECONDS
    shrunk = file.inode == before.inode and file.size < before.size
    return SHRUNK_SECONDS if shrunk and not file.problems and lost is None else None


def _lost(
    name: str, before: TenantFile, good: TenantFile, read: Mapping[str, TenantFile]
) -> Objects | None:
    """Return the objects that were in a file and are in none now; None where it has all it had."""
    lost = _objects(before) - _objects(good)
    if not lost:
        return None
    return lost.difference(*(_objects(file) for other, file in read.items() if other != name))


def _objects(file: TenantFile) -> Objects:
    tenants = {("Tenant", name) for name in file.tenants}
    return frozenset(tenants | {("TenantPlan", name) for name in file.plans})


def _same(one: TenantFile | None, other: TenantFile | None) -> bool:
    """Whether a file was read twice without a change between."""
    if one is None or other is None:
        return one is other
    return replace(one, signature=()) == replace(other, signature=())


__all__ = ["EMPTIED", "GONE_SECONDS", "LOST_SECONDS", "SHRUNK_SECONDS", "Settling"]
