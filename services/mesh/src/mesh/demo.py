"""`mesh demo`: what the mesh does, shown on a running one with two thousand made-up people.

Everything goes over HTTP as a tenant's own client would do it, under the tenant's own limits: the
people are spread so that all tenants finish at about the same time.
"""

import asyncio
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mesh.client import MeshClient, MeshUnreachable, Refused, connected

console = Console()

_MOST_TRIES = 5000


def demo(
    people: Annotated[int, typer.Option(min=2, help="How many people to make up.")] = 2000,
    tenants: Annotated[
        str, typer.Option(help="Tenants to spread them over.")
    ] = "tenant-a,tenant-b",
    users_url: Annotated[str, typer.Option(help="user-service.")] = "http://127.0.0.1:8081",
    gateway_url: Annotated[str, typer.Option(help="ai-gateway.")] = "http://127.0.0.1:8090",
    seed: Annotated[int, typer.Option(help="The same seed makes up the same people.")] = 7,
) -> None:
    """Load made-up people into a running mesh, then show what each tenant sees."""
    names = [name.strip() for name in tenants.split(",") if name.strip()]
    if len(names) < 2:
        console.print("[red]error:[/red] --tenants takes at least two names, to compare them")
        raise typer.Exit(2)
    try:
        asyncio.run(_demo(names, people, seed, users_url, gateway_url))
    except MeshUnreachable as error:
        console.print(f"[red]error:[/red] {error}")
        raise typer.Exit(1) from None
    except Refused as refused:
        console.print(f"[red]error:[/red] the mesh refused: {refused}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.print("\nstopped; what was accepted stays")
        raise typer.Exit(130) from None


async def _demo(
    tenants: list[str], people: int, seed: int, users_url: str, gateway_url: str
) -> None:
    async with connected(users_url, gateway_url) as client:
        await client.health()
        shares = await _shares(client, tenants, people)
        population = _made_up(shares, seed)
        positions = await _load(client, population)
        await _show_search(client, tenants, population, positions)
        await _show_refusals(client, tenants)


async def _shares(client: MeshClient, tenants: list[str], people: int) -> dict[str, int]:
    """Split the people by the tenants' write rates, so that nobody waits for the slowest."""
    rates: dict[str, float] = {}
    for name in tenants:
        limits = (await client.limits(name))["rateLimits"]
        write = next(limit for limit in limits if limit["name"] == "users.write")
        unlimited = 1000.0
        rate = unlimited if write["unlimited"] else write["requests"] / write["windowSeconds"]
        rates[name] = max(rate, 0.001)
    total = sum(rates.values())
    shares = {name: max(1, round(people * rate / total)) for name, rate in rates.items()}
    shares[tenants[0]] += people - sum(shares.values())
    return shares


def _made_up(shares: dict[str, int], seed: int) -> dict[str, list[dict[str, Any]]]:
    # Imported here: Faker takes longer to load than every other command takes to run.
    from faker import Faker

    faker = Faker(["en_US", "de_DE", "es_ES"])
    faker.seed_instance(seed)
    return {
        tenant: [
            {
                # The same people under the same ids: a second demo changes nothing.
                "userId": f"demo-{seed}-{number}",
                "name": f"{faker.first_name()} {faker.last_name()}",
                "email": faker.unique.ascii_email(),
                "attributes": {"city": faker.city(), "job": faker.job()},
            }
            for number in range(share)
        ]
        for tenant, share in shares.items()
    }


async def _load(client: MeshClient, population: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    """Create everybody, all tenants side by side; return each tenant's last position."""
    positions: dict[str, str] = {}
    started = time.perf_counter()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:

        async def load(tenant: str) -> None:
            users = population[tenant]
            task = progress.add_task(f"loading {tenant}", total=len(users))
            async for result in client.create_all(tenant, users):
                positions[tenant] = result["position"]
                progress.advance(task)

        await asyncio.gather(*(load(tenant) for tenant in population))
    seconds = time.perf_counter() - started
    total = sum(len(users) for users in population.values())
    console.print(f"{total} people accepted in {seconds:.1f} s, each tenant under its own limit.\n")
    return positions


async def _show_search(
    client: MeshClient,
    tenants: list[str],
    population: dict[str, list[dict[str, Any]]],
    positions: dict[str, str],
) -> None:
    person = population[tenants[0]][-1]
    query = _with_typo(person["name"])
    console.print(f"[bold]The same query for each tenant:[/bold] {query!r} (with a typo)")
    table = Table("tenant", "who", "e-mail", "score", "took")
    for tenant in tenants:
        started = time.perf_counter()
        answer = await client.search(tenant, query, limit=3, after=positions[tenant])
        took = f"{(time.perf_counter() - started) * 1000:.1f} ms"
        for result in answer["results"] or [{"name": "nobody", "email": "", "score": ""}]:
            table.add_row(tenant, result["name"], result["email"], str(result["score"]), took)
    console.print(table)


def _with_typo(name: str) -> str:
    """Return `name` with two letters in the middle swapped."""
    middle = len(name) // 3
    return name[:middle] + name[middle + 1] + name[middle] + name[middle + 2 :]


async def _show_refusals(client: MeshClient, tenants: list[str]) -> None:
    console.print("\n[bold]A tenant that does not exist here:[/bold]")
    try:
        await client.search("tenant-of-somebody-else", "anyone")
    except Refused as refused:
        console.print(f"  {refused.problem['status']} {refused}")
    console.print(
        f"\n[bold]As fast as it goes into {tenants[0]}, until its limit says wait:[/bold]"
    )
    for sent in range(_MOST_TRIES):
        try:
            await client.search(tenants[0], "anyone", limit=1)
        except Refused as refused:
            console.print(f"  {sent} searches passed, then {refused.problem['status']} {refused}")
            console.print(f"  Retry-After: {refused.retry_after}")
            return
    console.print(f"  {_MOST_TRIES} searches passed: this tenant's limit is higher than that")
