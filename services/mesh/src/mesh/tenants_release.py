"""`mesh tenants release`: letting go of tenants whose deletion nobody is left to finish.

Our finalizer holds a Tenant until the operator has dealt with its data. Where the operator is gone
for good, the object would stay for ever; taking the finalizer away lets it go, and leaves the data.
"""

from collections.abc import Sequence
from typing import Annotated

import typer

from mesh.command import As, Output, perform
from mesh.tenants_cluster import list_tenants, opened, release
from mesh.tenants_options import Context, Everybody, Names, Place, chosen, print_json
from mesh.tenants_status import TenantStatus
from meshkit.errors import StartError
from meshkit.kube.client import KubeClient
from meshkit.kube.objects import Conflict
from meshkit.settings import MeshSettings
from meshkit.tenancy.sources import namespace_in
from meshkit.tenancy.spec import ERASE_FINALIZER

_ATTEMPTS = 10


def release_tenants(
    names: Names = None,
    everybody: Everybody = False,
    standing: Annotated[
        bool,
        typer.Option(
            "--standing",
            help="Also who is not being deleted: deleting them later would wait for the operator,"
            " too. For when the mesh is taken down.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    tenants: Place = None,
    context: Context = None,
    output: As = Output.TABLE,
) -> None:
    """Let go of tenants that are being deleted, where the operator is gone for good.

    Takes the mesh's finalizer away: the objects go, their data stays. Says so and asks first.
    """
    held: list[TenantStatus] = []
    others: list[TenantStatus] = []

    async def look(settings: MeshSettings) -> None:
        async with opened(_namespace(tenants or settings.tenants), context) as client:
            held.extend(await held_by_us(client, names, everybody, standing=standing))

    async def let_go(settings: MeshSettings) -> None:
        async with opened(_namespace(tenants or settings.tenants), context) as client:
            others.extend(await release_all(client, held))

    perform(look)
    if held and not yes:
        # Between the two, so that Ctrl-C ends it here as anywhere.
        _ask(held)
    if held:
        perform(let_go)
    still = {tenant.uid: _others(tenant) for tenant in others}
    if output is Output.JSON:
        print_json([{"name": t.name, "uid": t.uid, "heldBy": still.get(t.uid, [])} for t in held])
        return
    for tenant in held:
        more = f"; {', '.join(still[tenant.uid])} holds it still" if tenant.uid in still else ""
        typer.echo(f"{tenant.name} released, data of uid {tenant.data_uid} stays{more}")
    if not held:
        typer.echo("No tenant waits for the mesh to be deleted: there is nothing to release.")


async def held_by_us(
    client: KubeClient, names: list[str] | None, everybody: bool, *, standing: bool = False
) -> list[TenantStatus]:
    """Return those of the tenants that our finalizer holds and that are being deleted, or with
    `standing` may be some day.

    Raises StartError where one that is named is not.
    """
    there, _ = await list_tenants(client)
    by_name = {tenant.name: tenant for tenant in there}
    if everybody and not names:
        return [tenant for tenant in there if is_held(tenant, standing=standing)]
    wanted = [by_name[name] for name in chosen(names, everybody, list(by_name), client.namespace)]
    for tenant in wanted:
        if not is_held(tenant, standing=standing):
            raise StartError(why_not(tenant))
    return wanted


def is_held(tenant: TenantStatus, *, standing: bool = False) -> bool:
    """Whether our finalizer holds a tenant that is being deleted, or with `standing` any."""
    return (standing or bool(tenant.deleting_since)) and ERASE_FINALIZER in tenant.finalizers


def why_not(tenant: TenantStatus) -> str:
    """Return why a tenant that is not held by us cannot be released."""
    if not tenant.deleting_since:
        return (
            f"{tenant.name} is not being deleted, so there is nothing to release it from"
            f" (kubectl delete tenant {tenant.name})"
        )
    held = f": what holds it is {', '.join(tenant.finalizers)}" if tenant.finalizers else ""
    return f"the mesh does not hold {tenant.name}{held}"


def meaning(tenants: Sequence[TenantStatus]) -> str:
    """Return what it means to release these tenants, for people who are about to decide."""
    lines = []
    for tenant in tenants:
        policy = tenant.spec.get("deletionPolicy", "Retain")
        deleting = tenant.conditions.get("Deleting")
        said = f"; the operator said: {deleting.message}" if deleting is not None else ""
        since = tenant.deleting_since
        going = f"is being deleted since {since}{said}" if since else "is not being deleted"
        lines.append(f"{tenant.name} (uid {tenant.data_uid}, deletionPolicy {policy}) {going}")
    lines.append(
        "Released, the objects go and their data stays where it is, in the log and in the vector"
        " store: nobody sees it and nobody erases it, not even where deletionPolicy says Delete."
        " A new Tenant gets at it only with its uid in spec.adoptUid. An operator that runs"
        " finishes deletions by itself: release only where it is gone for good."
    )
    return "\n".join(lines)


async def release_all(client: KubeClient, tenants: Sequence[TenantStatus]) -> list[TenantStatus]:
    """Release tenants; return those that other finalizers hold still.

    One that is changed by others meanwhile is read again; one that is gone is released. Raises
    ClusterTrouble, KubeUnavailable; and StartError where one changes again and again.
    """
    still_held = []
    for tenant in tenants:
        current: TenantStatus | None = tenant
        for attempt in range(_ATTEMPTS):
            try:
                if current is not None and not await release(client, current):
                    still_held.append(current)
                break
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise StartError(
                        f"{tenant.name} is changed by somebody again and again, maybe by an"
                        " operator that runs; it is not released"
                    ) from None
                current = await _again(client, tenant)
    return still_held


async def _again(client: KubeClient, tenant: TenantStatus) -> TenantStatus | None:
    """Return the tenant as it is now, None where we hold it no longer."""
    tenants, _ = await list_tenants(client)
    return next(
        (one for one in tenants if one.uid == tenant.uid and is_held(one, standing=True)), None
    )


def _others(tenant: TenantStatus) -> list[str]:
    return [finalizer for finalizer in tenant.finalizers if finalizer != ERASE_FINALIZER]


def _namespace(place: str) -> str:
    namespace = namespace_in(place)
    if namespace is None:
        raise StartError(
            f"{place} is a folder, which holds nobody: delete the tenant's file. For a cluster:"
            " --tenants kubernetes"
        )
    return namespace


def _ask(held: Sequence[TenantStatus]) -> None:
    typer.echo(meaning(held), err=True)
    try:
        agreed = typer.confirm(f"Release {', '.join(t.name for t in held)}?", err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        typer.echo("Nothing was released (--yes goes ahead without a question).", err=True)
        raise typer.Exit(1)
