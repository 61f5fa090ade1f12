"""All tenants of a place: a folder of files, or the namespace of a cluster.

The commands that look at tenants do the same in both; what differs is only what there is to see.
"""

from pathlib import Path

from mesh.tenants_cluster import list_uids, opened, read_cluster
from mesh.tenants_status import Entry, Found
from meshkit.errors import StartError
from meshkit.telemetry.logs import configure_logging
from meshkit.tenancy.directory import DirectoryTenantSource
from meshkit.tenancy.source import TenantProblem
from meshkit.tenancy.sources import namespace_in


async def read(tenants: str, context: str | None = None) -> Found:
    """Return what there is in the folder, or with `kubernetes[:namespace]` in the cluster.

    Raises StartError where there is no folder, no cluster or no answer.
    """
    namespace = namespace_in(tenants)
    if namespace is None:
        return read_folder(Path(tenants))
    async with opened(namespace, context) as client:
        return await read_cluster(client)


async def read_uids(tenants: str, context: str | None = None) -> set[str]:
    """Return the uids of all tenants that are declared or in force.

    Raises StartError as `read` does; and for a folder in which a tenant is not accepted: which uid
    such a one has in a mesh that runs is not to be told from here.
    """
    namespace = namespace_in(tenants)
    if namespace is not None:
        async with opened(namespace, context) as client:
            return await list_uids(client)
    found = read_folder(Path(tenants))
    for problem in found.problems:
        raise StartError(
            "whose data is retained can only be told where all tenants are accepted, and"
            f" {problem.name} ({problem.source}) is not: see `mesh tenants check`"
        )
    return {entry.policy.tenant_uid for entry in found.entries.values() if entry.policy}


_BLANK = (
    "the file is empty; a service that has read tenants from it keeps them. To delete them, delete"
    " the file"
)


def read_folder(folder: Path) -> Found:
    """Return all tenants of a folder. Raises StartError where there is none."""
    # What is wrong is shown by whoever asked; the log would only say it twice.
    configure_logging("console", "critical", for_good=False)
    source = DirectoryTenantSource(folder)
    source.load()
    policies = source.policies()
    blank = [TenantProblem(file, Path(file).stem, "file", _BLANK) for file in source.blank_files()]
    return Found(
        {name: Entry(name, policies[name]) for name in sorted(policies)},
        [*source.problems(), *blank],
    )
