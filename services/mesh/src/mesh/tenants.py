"""`mesh tenants`: what holds for each tenant, where it comes from, what is wrong, and waiting.

The same commands look into a folder of files and into a cluster. Status 0 says yes, 1 says no (a
problem, a goal that is not reached), 2 that the question could not be answered.
"""

from typing import Annotated

import typer
from rich.console import Console

from mesh import tenants_view as view
from mesh.command import As, Output, perform
from mesh.tenants_options import Context, Place, nobody, print_json, unknown
from mesh.tenants_reading import read
from mesh.tenants_release import release_tenants
from mesh.tenants_retained import list_retained
from mesh.tenants_status import Found
from mesh.tenants_wait import wait_for_tenants
from meshkit.clock import utc_now
from meshkit.settings import MeshSettings

tenants_app = typer.Typer(
    help="Look at tenants, their limits and their mistakes, in a folder or in a cluster.",
    no_args_is_help=True,
)
console = Console()
errors = Console(stderr=True)


@tenants_app.command("list")
def list_all(tenants: Place = None, context: Context = None, output: As = Output.TABLE) -> None:
    """List the tenants and their effective limits; on a cluster, whether these are in force."""

    async def command(settings: MeshSettings) -> None:
        found = await read(tenants or settings.tenants, context)
        if output is Output.JSON:
            print_json(view.documents(found))
            return
        if found.entries:
            console.print(view.listing(found))
        else:
            typer.echo(nobody(found.namespace))
        _hint_at_problems(found)

    perform(command)


@tenants_app.command("show")
def show_tenant(
    name: Annotated[str, typer.Argument(help="Tenant id.")],
    tenants: Place = None,
    context: Context = None,
    output: As = Output.TABLE,
) -> None:
    """Show all that holds for one tenant, where it came from, and on a cluster its conditions."""

    async def command(settings: MeshSettings) -> int:
        found = await read(tenants or settings.tenants, context)
        entry = found.entries.get(name)
        if entry is None:
            # One that was not accepted is told from one that nobody has declared.
            for problem in found.problems:
                if problem.name == name:
                    line = view.problem_line(problem)
                    typer.echo(f"error: {name} is declared, but not accepted: {line}", err=True)
                    return 1
            raise unknown(name, list(found.entries))
        if output is Output.JSON:
            print_json(view.document(entry))
            return 0
        for part in view.details(entry, utc_now()):
            console.print(part, soft_wrap=isinstance(part, str))
        _hint_at_problems(found)
        return 0

    perform(command)


@tenants_app.command("check")
def check_tenants(
    tenants: Place = None, context: Context = None, output: As = Output.TABLE
) -> None:
    """Check every tenant; fails where anything is wrong, or on a cluster not looked at yet."""

    async def command(settings: MeshSettings) -> int:
        found = await read(tenants or settings.tenants, context)
        if output is Output.JSON:
            print_json(view.problem_documents(found))
        elif found.problems:
            # A line each, whole however narrow the terminal: people copy and search these.
            for problem in found.problems:
                typer.echo(view.problem_line(problem))
        elif found.entries:
            count = len(found.entries)
            typer.echo(f"{count} tenant{'s' if count != 1 else ''}, nothing wrong.")
        else:
            typer.echo(nobody(found.namespace))
        return int(bool(found.problems))

    perform(command)


def _hint_at_problems(found: Found) -> None:
    if count := len(found.problems):
        errors.print(
            f"[yellow]{count} problem{'s' if count != 1 else ''}:[/yellow] see `mesh tenants check`"
        )


tenants_app.command("wait")(wait_for_tenants)
tenants_app.command("release")(release_tenants)
tenants_app.command("retained")(list_retained)
