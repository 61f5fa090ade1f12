"""`mesh tenants retained`: tenants that are gone while their data was to stay.

The log says who has data, the folder or the cluster who is there; what is left over is listed, with
how to take it over and how to be rid of it. Whoever came while the log was read is there, too: the
tenants are read before and after. Names, uids and counts are shown, nothing that is about a person.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from mesh.command import As, Output, perform
from mesh.tenants_options import Context, Place, print_json
from mesh.tenants_reading import read_uids
from meshkit.backends import opened_event_log
from meshkit.events.retained import RetainedTenant, retained_tenants
from meshkit.events.scanning import OnScanned
from meshkit.settings import MeshSettings
from meshkit.tenancy.sources import namespace_in

console = Console()
errors = Console(stderr=True)


def list_retained(
    tenants: Place = None, context: Context = None, output: As = Output.TABLE
) -> None:
    """List the tenants that are gone while their data is kept, and what can be done about it.

    Reads all of the event log, the system of record.
    """

    async def command(settings: MeshSettings) -> None:
        place = tenants or settings.tenants
        in_cluster = namespace_in(place) is not None
        there = await read_uids(place, context)
        async with opened_event_log(settings, must_exist=True) as log:
            with _progress() as on_scanned:
                found = await retained_tenants(log, there, on_scanned)
        there = await read_uids(place, context)
        found = [one for one in found if one.tenant.tenant_uid not in there]
        if found and not there:
            errors.print(
                f"There is no tenant in {place}: is it the right place? All that the log has is"
                " listed.",
                style="yellow",
                markup=False,
                soft_wrap=True,
            )
        if output is Output.JSON:
            print_json(documents(found, in_cluster=in_cluster))
        elif found:
            console.print(listing(found), crop=False)
            for line in ways(found, in_cluster=in_cluster):
                typer.echo(line)
        else:
            typer.echo("No data is retained: all users in the log are of tenants that are there.")

    perform(command)


def listing(found: Sequence[RetainedTenant]) -> Table:
    """Return a row for each tenant."""
    table = Table()
    table.add_column("tenant", no_wrap=True)
    # Copied from here: whole, however narrow it is.
    longest = max(len(one.tenant.tenant_uid) for one in found)
    table.add_column("uid", no_wrap=True, min_width=longest)
    table.add_column("users", justify="right")
    table.add_column("last event")
    for one in found:
        cells = (one.tenant.tenant_id, one.tenant.tenant_uid, f"{one.users:,}", _when(one, " "))
        table.add_row(*map(escape, cells))
    return table


def documents(found: Sequence[RetainedTenant], *, in_cluster: bool) -> list[dict[str, Any]]:
    """Return every tenant as JSON values; `takeOver`, and in a cluster `erase`, are what goes into
    the spec of the Tenant that is to do so."""
    return [_document(one, in_cluster) for one in found]


def ways(found: Sequence[RetainedTenant], *, in_cluster: bool) -> Iterator[str]:
    """Yield what can be done about them, a line each."""
    uid = found[0].tenant.tenant_uid if len(found) == 1 else "UID"
    yield f"To take the data over: a new Tenant with spec.adoptUid: {uid}"
    if in_cluster:
        yield (
            "To be rid of it: such a Tenant with spec.deletionPolicy: Delete; once `mesh tenants"
            " wait` says that it is enforced, delete it (docs/operations.md)"
        )
    else:
        yield (
            "To be rid of it: take it over and delete its users through the API; only in a cluster"
            " is a tenant erased as a whole (docs/operations.md)"
        )


def _document(one: RetainedTenant, in_cluster: bool) -> dict[str, Any]:
    take_over = {"adoptUid": one.tenant.tenant_uid}
    values = {
        "tenantId": one.tenant.tenant_id,
        "tenantUid": one.tenant.tenant_uid,
        "users": one.users,
        "lastEvent": _when(one),
        "takeOver": take_over,
    }
    return values | ({"erase": take_over | {"deletionPolicy": "Delete"}} if in_cluster else {})


def _when(one: RetainedTenant, between: str = "T") -> str:
    return one.last_event.isoformat(between, "seconds").replace("+00:00", "Z")


@contextmanager
def _progress() -> Iterator[OnScanned]:
    """Yield what to tell how far the log is read; shown on a terminal, and gone when it is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    ) as progress:
        task = progress.add_task("reading the log", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
