"""`mesh tenants`: what holds for each tenant, where it comes from, and what is wrong."""

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mesh.command import As, Output
from meshkit.errors import StartError
from meshkit.settings import load_settings
from meshkit.telemetry.logs import configure_logging
from meshkit.tenancy.directory import DirectoryTenantSource
from meshkit.tenancy.policy import ResolvedQuota, ResolvedRateLimit, TenantPolicy
from meshkit.tenancy.source import TenantProblem

tenants_app = typer.Typer(
    help="Look at tenants, their limits and their mistakes.", no_args_is_help=True
)
console = Console()


Folder = Annotated[
    str | None,
    typer.Option("--tenants", help="Folder of the tenant files [MESH_TENANTS, else tenants]."),
]


@tenants_app.command("list")
def list_tenants(tenants: Folder = None, output: As = Output.TABLE) -> None:
    """List the tenants and their effective limits."""
    source = _load(tenants)
    policies = [source.policies()[name] for name in sorted(source.policies())]
    if output is Output.JSON:
        console.print_json(json.dumps([policy.document() for policy in policies]))
        return
    if not policies:
        console.print("There are no tenants yet. See tenants/README.md for how to write one.")
    else:
        table = Table("tenant", "plan", "state", "write", "search", "ai", "stored users")
        for policy in policies:
            table.add_row(
                policy.tenant_id,
                policy.plan or "-",
                policy.state.value,
                *(
                    _rate(policy.rate_limit(n))
                    for n in ("users.write", "users.search", "ai.requests")
                ),
                next((_quota(q) for q in policy.quotas if q.name == "storedUsers"), "-"),
            )
        console.print(table)
    _hint_at_problems(source)


@tenants_app.command("show")
def show_tenant(
    name: Annotated[str, typer.Argument(help="Tenant id.")],
    tenants: Folder = None,
    output: As = Output.TABLE,
) -> None:
    """Show everything that holds for one tenant, and which layer each value came from."""
    source = _load(tenants)
    policy = source.get(name)
    if policy is None:
        _fail_for_problems_of(source, name)
        near = get_close_matches(name, list(source.policies()), n=3)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        _fail(f"there is no tenant {name!r}.{hint} See `mesh tenants list`.")
    if output is Output.JSON:
        console.print_json(json.dumps(policy.document()))
    else:
        console.print(f"[bold]{escape(policy.display_name)}[/bold]  {policy.tenant_id}")
        console.print(
            f"plan {policy.plan or '-'}, {policy.state.value},"
            f" enforcement {policy.enforcement.value}, revision {policy.revision}"
        )
        console.print(f"uid {policy.tenant_uid}")
        console.print(_effective(policy))
    _hint_at_problems(source)


@tenants_app.command("check")
def check_tenants(tenants: Folder = None, output: As = Output.TABLE) -> None:
    """Check every tenant file; fails where anything is wrong."""
    source = _load(tenants)
    problems = source.problems()
    if output is Output.JSON:
        fields: list[dict[str, Any]] = [
            {"file": p.source, "name": p.name, "path": p.path, "message": p.message}
            for p in problems
        ]
        console.print_json(json.dumps(fields))
    elif problems:
        # A line each, whole however narrow the terminal: people copy and search these.
        for problem in problems:
            typer.echo(": ".join(filter(None, _parts(problem))))
    else:
        typer.echo(f"{len(source.policies())} tenants, nothing wrong.")
    if problems:
        raise typer.Exit(1)


def _load(folder: str | None) -> DirectoryTenantSource:
    try:
        # What is wrong is shown as a table; the log would only say it twice.
        configure_logging("console", "critical", for_good=False)
        source = DirectoryTenantSource(Path(folder or load_settings().tenants))
        source.load()
    except StartError as error:
        _fail(str(error), 2)
    return source


def _fail(message: str, status: int = 1) -> NoReturn:
    Console(stderr=True).print(f"[red]error:[/red] {escape(message)}", highlight=False)
    raise typer.Exit(status)


def _fail_for_problems_of(source: DirectoryTenantSource, name: str) -> None:
    """Tell a tenant that was not accepted from one that nobody has declared."""
    for problem in source.problems():
        if problem.name == name:
            _fail(f"{name} is declared, but not accepted: {': '.join(_parts(problem))}")


def _parts(problem: TenantProblem) -> tuple[str, ...]:
    return problem.source, problem.name, problem.path, problem.message


def _hint_at_problems(source: DirectoryTenantSource) -> None:
    if source.problems():
        Console(stderr=True).print(
            f"[yellow]{len(source.problems())} problems:[/yellow] see `mesh tenants check`"
        )


def _rate(limit: ResolvedRateLimit, *, burst: bool = True) -> str:
    if limit.unlimited:
        return "unlimited"
    per = "s" if limit.window_seconds == 1 else f"{limit.window_seconds} s"
    return f"{limit.requests}/{per}" + (f", {limit.burst} at once" if burst else "")


def _quota(quota: ResolvedQuota) -> str:
    return "unlimited" if quota.unlimited else f"{quota.limit:,}"


def _effective(policy: TenantPolicy) -> Table:
    table = Table("what", "value", "from")
    for limit in policy.rate_limits:
        table.add_row(limit.name, _rate(limit), limit.provenance.value)
    for quota in policy.quotas:
        table.add_row(quota.name, _quota(quota), quota.provenance.value)
    table.add_row("weight", str(policy.weight.value), policy.weight.provenance.value)
    models = f"{', '.join(policy.llm.models)} (default {policy.llm.default_model})"
    table.add_row("models", models, policy.llm.provenance.value)
    return table
