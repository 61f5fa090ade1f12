"""Tenants from a watched folder of YAML files.

A saved file is in force within a fraction of a second, all of it at once for each tenant. A file
or an object that is broken changes nothing: the last good policy stays, a problem says so, and one
loud log line; the tenants of other files never notice. What is deleted is gone.

Every event leads to a fresh look at the folder; only files whose signature changed are parsed.
That makes editors' renames, symbolic links and replaced folders all the same case.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

import structlog
from watchfiles import awatch

from meshkit.telemetry import metrics
from meshkit.tenancy.catalogue import Catalogue, Outcome
from meshkit.tenancy.policy import TenantPolicy
from meshkit.tenancy.source import TenantProblem, TenantSourceError
from meshkit.tenancy.yaml_files import TenantFile, read_file, signature

log = structlog.get_logger()

_SUFFIXES = frozenset({".yaml", ".yml"})
_DEBOUNCE_MS = 40
_STEP_MS = 10
# A look without an event, for what a watch can miss (a replaced folder, a network file system).
_LOOK_EVERY_MS = 1000
_SETTLE_SECONDS = 0.05


class DirectoryTenantSource:
    """The policies of the Tenant and TenantPlan files in one folder. `quiet` logs nothing: for
    those that show the problems themselves."""

    def __init__(self, folder: Path, *, quiet: bool = False) -> None:
        self._folder = folder
        self._quiet = quiet
        self._files: dict[Path, TenantFile] = {}
        self._emptied: dict[Path, TenantFile] = {}
        self._catalogue = Catalogue()
        self._outcome = Outcome({}, ())
        self._watching: asyncio.Task[None] | None = None

    def get(self, tenant_id: str) -> TenantPolicy | None:
        """Return the policy of the tenant called `tenant_id`, or None where there is none."""
        return self._outcome.policies.get(tenant_id)

    def policies(self) -> Mapping[str, TenantPolicy]:
        """Return all policies by tenant id."""
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
        if not self._folder.is_dir():
            raise TenantSourceError(
                f"there is no folder {self._folder} with tenant files. Make it, or name another"
                " with MESH_TENANTS."
            )
        self._adopt(self._look())
        if not self._outcome.policies and not self._quiet:
            log.warning("no_tenants", folder=str(self._folder))

    async def close(self) -> None:
        """Stop watching. The last policies stay readable."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _watch(self) -> None:
        while True:
            try:
                async for _ in awatch(
                    self._folder,
                    debounce=_DEBOUNCE_MS,
                    step=_STEP_MS,
                    rust_timeout=_LOOK_EVERY_MS,
                    yield_on_timeout=True,
                    recursive=False,
                    watch_filter=None,
                ):
                    await self._refresh()
            except OSError as error:
                # The folder is gone for the moment: its tenants stay as they are.
                log.error("tenant_folder_unreadable", folder=str(self._folder), reason=str(error))
                await asyncio.sleep(_LOOK_EVERY_MS / 1000)

    async def _refresh(self) -> None:
        self._adopt(await asyncio.to_thread(self._look))
        while self._emptied:
            # An editor may be between truncating a file and writing it: look again first.
            await asyncio.sleep(_SETTLE_SECONDS)
            self._adopt(await asyncio.to_thread(self._look))

    def _look(self) -> dict[Path, TenantFile]:
        """Return what the folder holds now, parsing only what changed. Raises OSError."""
        files: dict[Path, TenantFile] = {}
        for path in sorted(self._folder.iterdir()):
            if path.suffix not in _SUFFIXES or path.name.startswith("."):
                continue
            try:
                signed = signature(path)
            except FileNotFoundError:
                continue
            known = self._files.get(path)
            unchanged = known is not None and known.signature == signed
            files[path] = known if known and unchanged else read_file(path, signed)
        return files

    def _adopt(self, files: dict[Path, TenantFile]) -> None:
        emptied: dict[Path, TenantFile] = {}
        for path, file in files.items():
            before = self._files.get(path)
            if file.empty and before is not None and not before.empty:
                seen = self._emptied.get(path)
                if seen is None or seen.signature != file.signature:
                    emptied[path] = file
                    files[path] = before
        self._emptied = emptied
        if files == self._files and self._outcome.policies:
            return
        self._files = files
        before_outcome, self._outcome = self._outcome, self._catalogue.update(files)
        if not self._quiet:
            report(before_outcome, self._outcome)


def report(before: Outcome, after: Outcome) -> None:
    """Log what changed between two outcomes, each thing once."""
    for problem in after.problems:
        if problem not in before.problems:
            log.error(
                "tenant_not_accepted",
                file=problem.source,
                name=problem.name,
                path=problem.path,
                message=problem.message,
                last_good_policy_kept=problem.kept,
            )
    named = {problem.name for problem in after.problems}
    for name in {problem.name for problem in before.problems} - named:
        log.info("tenant_accepted_again", name=name)
    changed = [
        name for name, policy in after.policies.items() if before.policies.get(name) is not policy
    ]
    removed = [name for name in before.policies if name not in after.policies]
    if changed or removed:
        # Names up to a point: ten thousand tenants at start are one line, too.
        log.info(
            "tenant_policies_changed",
            changed=changed if len(changed) <= 10 else len(changed),
            removed=removed if len(removed) <= 10 else len(removed),
        )
    metrics.POLICIES.set(len(after.policies))
    metrics.TENANT_PROBLEMS.set(len(after.problems))


@asynccontextmanager
async def watching(folder: str) -> AsyncIterator[DirectoryTenantSource]:
    """Watch the tenants of `folder` for as long as the block lasts. Raises TenantSourceError."""
    async with DirectoryTenantSource(Path(folder)) as source:
        yield source


__all__ = ["DirectoryTenantSource", "watching"]
