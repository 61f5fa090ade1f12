"""`mesh tenants wait`: on the events of a watch, until tenants are where they were told to be.

Lists once and watches from there; nothing is asked again and again. While the API server is away
the wait goes on, and where it has forgotten the version everything is listed anew.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Annotated

import typer
from rich.console import Console

from mesh.command import As, Output, perform, telling
from mesh.tenants_cluster import asking, list_tenants, opened
from mesh.tenants_goal import Goal, Waiting, lack_in_folder
from mesh.tenants_options import Context, Everybody, Names, Place, chosen, print_json
from mesh.tenants_reading import read
from meshkit.clock import monotonic
from meshkit.kube.client import KubeClient
from meshkit.kube.objects import Expired, KubeUnavailable
from meshkit.settings import MeshSettings
from meshkit.tenancy.resources import TENANTS
from meshkit.tenancy.sources import namespace_in

_BACKOFF_LEAST, _BACKOFF_MOST = 0.1, 2.0


def wait_for_tenants(
    names: Names = None,
    everybody: Everybody = False,
    goal: Annotated[Goal, typer.Option("--for", help="What to wait for.")] = Goal.ENFORCED,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds; 0 looks once.")] = 60,
    tenants: Place = None,
    context: Context = None,
    output: As = Output.TABLE,
) -> None:
    """Wait until the newest edit of each tenant is enforced (or ready, accepted; or it is deleted).

    Ends with status 0 when all of them are there, and with 1 and what is missing when the time is
    over or one never will be.
    """

    async def command(settings: MeshSettings) -> int:
        place = tenants or settings.tenants
        namespace = namespace_in(place)
        if namespace is None:
            waiting = await _in_folder(goal, names, everybody, place)
        else:
            deadline = monotonic() + timeout
            async with opened(namespace, context) as client:
                waiting, version = await started(client, goal, names, everybody)
                with telling(Console(stderr=True)) as say:
                    await follow(client, waiting, version, say, deadline - monotonic())
        if output is Output.JSON:
            print_json(waiting.documents())
        else:
            _report(waiting, timeout)
        return int(bool(waiting.lacking or waiting.lost))

    perform(command)


async def started(
    client: KubeClient, goal: Goal, names: list[str] | None, everybody: bool
) -> tuple[Waiting, str]:
    """Return who is waited for, as they are now, and the version from which to watch.

    Raises StartError for names that there are not, ClusterTrouble, KubeUnavailable.
    """
    there, version = await list_tenants(client)
    # Who is not there needs no waiting to be gone.
    absent = goal is Goal.DELETED
    if everybody and not absent:
        # Who is on the way out is none of those that an edit is for.
        there = [tenant for tenant in there if not tenant.deleting_since]
    by_name = {tenant.name: tenant for tenant in there}
    wanted = chosen(names, everybody, list(by_name), client.namespace, absent=absent)
    waiting = Waiting(goal, (by_name[name] for name in wanted if name in by_name))
    for name in wanted:
        if name not in by_name:
            waiting.settle(name, None)
    return waiting, version


async def follow(
    client: KubeClient,
    waiting: Waiting,
    version: str,
    say: Callable[[str], None],
    seconds: float,
) -> None:
    """Watch from `version` on until the waiting or the time is over, telling `say` of each change.

    Raises ClusterTrouble where watching is refused.
    """
    if not waiting.over:
        say(str(waiting))
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0, seconds)):
            await _watch(client, waiting, version, say)


async def _watch(
    client: KubeClient, waiting: Waiting, version: str, say: Callable[[str], None]
) -> None:
    backoff = _BACKOFF_LEAST
    while not waiting.over:
        try:
            if not version:
                tenants, version = await list_tenants(client)
                waiting.take_all(tenants)
                continue
            with asking(client, "watch", TENANTS):
                async with aclosing(client.watch(TENANTS, version)) as events:
                    async for event in events:
                        version = event.object["metadata"]["resourceVersion"]
                        backoff = _BACKOFF_LEAST
                        different = waiting.take(event)
                        if waiting.over:
                            return
                        if different:
                            say(str(waiting))
        except Expired:
            version = ""
        except KubeUnavailable as error:
            say(f"{error}; still waiting: {waiting}")
            await asyncio.sleep(backoff * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            backoff = min(_BACKOFF_MOST, backoff * 2)


async def _in_folder(goal: Goal, names: list[str] | None, everybody: bool, folder: str) -> Waiting:
    found = await read(folder)
    typer.echo("a saved file is in force as soon as it is accepted", err=True)
    declared = sorted({*found.entries, *(problem.name for problem in found.problems)} - {""})
    waiting = Waiting(goal, ())
    for name in chosen(names, everybody, declared, None, absent=goal is Goal.DELETED):
        waiting.settle(name, lack_in_folder(goal, found, name))
    return waiting


def _report(waiting: Waiting, timeout: float) -> None:
    for name in waiting.reached:
        typer.echo(f"{name} {waiting.goal}")
    for name, why in waiting.lost.items():
        typer.echo(f"error: {name} will not be {waiting.goal}: {why}", err=True)
    after = "yet" if waiting.lost else f"after {timeout:g} s"
    for name, lack in waiting.lacking.items():
        if name not in waiting.lost:
            typer.echo(f"error: {name} is not {waiting.goal} {after}: {lack}", err=True)
