"""All tenants of a place: a folder of files, or the namespace of a cluster.

The commands that look at tenants do the same in both; what differs is only what there is to see.
"""

from pathlib import Path

from mesh.tenants_cluster import opened, read_cluster
from mesh.tenants_status import Entry, Found
from meshkit.telemetry.logs import configure_logging
from meshkit.tenancy.directory import DirectoryTenantSource
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


def read_folder(folder: Path) -> Found:
    """Return all tenants of a folder. Raises StartError where there is none."""
    # What is wrong is shown by whoever asked; the log would only say it twice.
    configure_logging("console", "critical", for_good=False)
    source = DirectoryTenantSource(folder)
    source.load()
    policies = source.policies()
    return Found(
        {name: Entry(name, policies[name]) for name in sorted(policies)}, source.problems()
    )
