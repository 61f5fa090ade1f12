"""`mesh reindex`: the index made again from the event log, while searches go on."""

from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ai_gateway.indexing import resolver, uid_resolver
from ai_gateway.reindexing import reindex
from ai_gateway.stores import create_vectorizer, opened_rebuild
from ai_gateway.vector_store.port import StoreUnavailable
from mesh.command import perform
from meshkit.backends import opened_event_log
from meshkit.errors import StartError
from meshkit.settings import MeshSettings
from meshkit.tenancy.sources import watching

console = Console()
errors = Console(stderr=True)


def reindex_command(
    drop_old: Annotated[
        bool, typer.Option(help="Remove the replaced collection of a Qdrant server at the end.")
    ] = False,
) -> None:
    """Make the index again from the event log: for another embedder, or after damage.

    A second collection is filled beside the one in use, and takes its place when it has caught up:
    at once in a Qdrant server, at the mesh's next start in the embedded engine. Interrupted, the
    same command goes on where it stopped.
    """

    async def command(settings: MeshSettings) -> None:
        try:
            await _reindex(settings, drop_old=drop_old)
        except StoreUnavailable as error:
            raise StartError(f"the vector store cannot be used now: {error}") from None

    perform(command)


async def _reindex(settings: MeshSettings, *, drop_old: bool) -> None:
    vectorizer = create_vectorizer()
    async with (
        opened_event_log(settings) as log,
        watching(settings.tenants) as tenants,
        opened_rebuild(settings, vectorizer, log) as rebuild,
    ):
        await tenants.loaded()
        with _progress() as progress:
            task = progress.add_task(f"indexing with {vectorizer.name}", total=None)
            try:
                outcome = await reindex(
                    log,
                    rebuild,
                    vectorizer,
                    resolver(tenants),
                    lambda done, total: progress.update(task, completed=done, total=total),
                    resolve_uid=uid_resolver(tenants),
                )
            except BaseException:
                errors.print("What was indexed so far is kept: the same command goes on from it.")
                raise
        console.print(outcome)
        if drop_old:
            await rebuild.drop_old()


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=errors,
    )
