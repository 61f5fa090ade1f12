"""Tenants from a watched folder of YAML and JSON files.

A saved file is in force within a fraction of a second, all of it at once for each tenant. A file
or an object that is broken changes nothing: the last good policy stays, a problem says so, and one
loud log line; the tenants of other files never notice. What is deleted is gone, once it is sure
that the file was not read while it was being written (`settling`).

An event leads to a look at the files it names; anything unusual, and a timer, to a look at all of
them. That makes editors' renames, symbolic links, mounted ConfigMaps and replaced folders all the
same case, and what a watch can miss (a network file system) only late. Looking and resolving
happen in a thread; the event loop only swaps what came out.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import structlog
from watchfiles import awatch

from meshkit.clock import Clock, monotonic
from meshkit.tasks import end
from meshkit.tenancy.catalogue import Catalogue, Outcome
from meshkit.tenancy.folder import folder_identity, is_tenant_file, look
from meshkit.tenancy.policy import TenantPolicy
from meshkit.tenancy.report import changed_tenants, report
from meshkit.tenancy.settling import Settling
from meshkit.tenancy.source import TenantProblem, TenantSourceError
from meshkit.tenancy.yaml_files import TenantFile

log = structlog.get_logger()

OnChange = Callable[[frozenset[str]], None]
"""Called in the event loop with the ids of the tenants whose policy changed, came or went."""

_DEBOUNCE_MS = 40
_STEP_MS = 10
# How soon a folder under the same name is noticed to be another one, or to be back.
_CHECK_EVERY_MS = 200
_LOOK_EVERY_SECONDS = 1.0
# Looking at everything may take this share of the time, so that ten thousand files stay cheap.
_LOOK_SHARE = 0.02
# What is due so soon is waited for; the next turn of the watch comes to the rest.
_SOON_SECONDS = 0.15


class DirectoryTenantSource:
    """The policies of the Tenant and TenantPlan files in one folder."""

    def __init__(
        self, folder: Path, on_change: OnChange | None = None, clock: Clock = monotonic
    ) -> None:
        self._folder = folder
        self._on_change = on_change
        self._clock = clock
        self._read: dict[str, TenantFile] = {}
        self._files: dict[str, TenantFile] = {}
        self._settling = Settling()
        self._catalogue = Catalogue()
        self._outcome = Outcome({}, ())
        self._look_at_all_from = 0.0
        self._trouble = ""
        self._watching: asyncio.Task[None] | None = None

    def get(self, tenant_id: str) -> TenantPolicy | None:
        """Return the policy of the tenant called `tenant_id`, or None where there is none."""
        return self._outcome.policies.get(tenant_id)

    def policies(self) -> Mapping[str, TenantPolicy]:
        """Return all policies by tenant id: a snapshot that later changes do not touch."""
        return self._outcome.policies

    def problems(self) -> Sequence[TenantProblem]:
        """Return what is declared but not in force."""
        return self._outcome.problems

    async def start(self) -> None:
        """Load the folder, then keep watching it. Raises TenantSourceError if there is none."""
        self.load()
        self._watching = asyncio.create_task(self._watch(), name="tenant-watch")

    def load(self) -> None:
        """Load the folder once. Raises TenantSourceError if there is none."""
        try:
            outcome = self._resolved(None)
        except OSError as error:
            raise TenantSourceError(
                f"there is no folder {self._folder} with tenant files ({error.strerror}). Make"
                " it, or name another with MESH_TENANTS."
            ) from None
        if outcome is not None:
            self._swap(outcome)
        if not self._outcome.policies:
            log.warning("no_tenants", folder=str(self._folder))

    async def loaded(self) -> None:
        """Return at once: what was there has been read by `start`."""

    async def check(self) -> str | None:
        """Return None: a folder that has vanished leaves its tenants in force."""
        return None

    def blank_files(self) -> Sequence[str]:
        """Return the files without any document: whoever saw them before may know better."""
        return [name for name, file in self._files.items() if file.blank]

    def freshness(self) -> str:
        """Return that the folder is watched, or why not, and what in it is not in force."""
        watched = f"not watched: {self._trouble}" if self._trouble else "watched"
        if not (problems := self._outcome.problems):
            return watched
        first = problems[0]
        return f"{watched}; not in force: {len(problems)}, first {first.source}: {first.message}"

    async def close(self) -> None:
        """Stop watching. The last policies stay readable."""
        await end(self._watching)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _watch(self) -> None:
        """Follow whatever folder has the name. Whatever goes wrong, policies stay and so do we."""
        while True:
            try:
                await self._follow()
            except Exception as error:
                self._note_trouble(f"{type(error).__name__}: {error}")
                await asyncio.sleep(_CHECK_EVERY_MS / 1000)

    async def _follow(self) -> None:
        """Follow one folder until another one takes its place."""
        watched = folder_identity(self._folder)
        # Also where no watch can be had (the system's limit is reached): then this is polling.
        await self._refresh(None)
        self._look_at_all_from = 0.0
        async for changes in awatch(
            self._folder,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            rust_timeout=_CHECK_EVERY_MS,
            yield_on_timeout=True,
            recursive=False,
            watch_filter=None,
        ):
            self._note_trouble("")
            if folder_identity(self._folder) != watched:
                return
            names = {Path(path).name for _, path in changes}
            if self._clock() >= self._look_at_all_from or not all(map(_is_common, names)):
                await self._refresh(None)
            elif names or self._settling.wait(self._clock()) == 0:
                await self._refresh(names | self._settling.waiting)

    async def _refresh(self, only: set[str] | None) -> None:
        started = self._clock()
        outcome = await asyncio.to_thread(self._resolved, only)
        if only is None:
            now = self._clock()
            rest = max(_LOOK_EVERY_SECONDS, (now - started) / _LOOK_SHARE)
            self._look_at_all_from = now + rest
        if outcome is not None:
            self._swap(outcome)
        wait = self._settling.wait(self._clock())
        if wait is not None and wait < _SOON_SECONDS:
            await asyncio.sleep(wait)
            await self._refresh(self._settling.waiting)

    def _resolved(self, only: set[str] | None) -> Outcome | None:
        """Return what is in force now, or None where no file changed. Raises OSError."""
        self._read = look(self._folder, self._read, only)
        files = self._settling.settle(self._read, self._clock())
        if files == self._files:
            return None
        self._files = files
        return self._catalogue.update(files)

    def _swap(self, outcome: Outcome) -> None:
        before, self._outcome = self._outcome, outcome
        report(before, outcome)
        changed = changed_tenants(before, outcome)
        if changed and self._on_change is not None:
            self._on_change(changed)

    def _note_trouble(self, trouble: str) -> None:
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble:
            log.error("tenant_folder_unreadable", folder=str(self._folder), reason=trouble)
        else:
            log.info("tenant_folder_watched", folder=str(self._folder))


def _is_common(name: str) -> bool:
    """Whether an event under this name is about one tenant file, or about an editor's draft."""
    return is_tenant_file(name) or (name.startswith(".") and not name.startswith(".."))


__all__ = ["DirectoryTenantSource", "OnChange"]
