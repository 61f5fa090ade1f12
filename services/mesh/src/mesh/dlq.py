"""`mesh dlq`: what could not be processed, why, and putting it back."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from mesh.command import As, Output, perform
from meshkit.backends import opened_event_log
from meshkit.events.dead_letters import DeadLetter, dead_letters, of_tenants, replay, superseded
from meshkit.settings import MeshSettings

dlq_app = typer.Typer(
    help="Look at events that could not be processed, and put them back.", no_args_is_help=True
)
console = Console()
errors = Console(stderr=True)

Tenants = Annotated[
    list[str] | None, typer.Option("--tenant", help="Only this tenant's; may be given repeatedly.")
]


@dlq_app.command("list")
def list_letters(
    tenant: Tenants = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that have been replayed.")
    ] = False,
    output: As = Output.TABLE,
) -> None:
    """List dead letters, the oldest first."""

    async def command(settings: MeshSettings) -> None:
        async with opened_event_log(settings) as log:
            letters = [
                letter
                for letter in of_tenants(await dead_letters(log), tenant or ())
                if everything or not letter.replayed
            ]
        if output is Output.JSON:
            console.print_json(json.dumps([_summary(letter) for letter in letters]))
            return
        if not letters:
            console.print("There are no dead letters.")
            return
        table = Table("place", "tenant", "when", "from", "attempts", "why")
        for letter in letters:
            one = _summary(letter)
            table.add_row(
                letter.place,
                escape(letter.tenant),
                one["when"],
                one["source"],
                str(letter.attempts),
                escape(letter.reason + (" (replayed)" if letter.replayed else "")),
            )
        console.print(table)
        console.print("mesh dlq show PLACE has the whole of one; mesh dlq replay puts them back.")

    perform(command)


@dlq_app.command("show")
def show_letter(
    place: Annotated[str, typer.Argument(help="As `mesh dlq list` calls it, such as 0/17.")],
) -> None:
    """Show a dead letter whole: why it is there, and the record byte for byte, as JSON.

    It may hold personal data.
    """

    async def command(settings: MeshSettings) -> int:
        async with opened_event_log(settings) as log:
            letters = {letter.place: letter for letter in await dead_letters(log)}
        letter = letters.get(place)
        if letter is None:
            errors.print(f"error: there is no dead letter at {place} (mesh dlq list --all)")
            return 1
        record = letter.original
        value = record.value
        document = _summary(letter) | {
            "key": _text(record.key),
            "headers": [[name, _text(content)] for name, content in record.headers],
            "value": None if value is None else _text(value),
        }
        console.print_json(json.dumps(document))
        return 0

    perform(command)


@dlq_app.command("replay")
def replay_letters(
    places: Annotated[
        list[str] | None, typer.Argument(help="Only these, as `mesh dlq list` calls them.")
    ] = None,
    tenant: Tenants = None,
    everything: Annotated[bool, typer.Option("--all", help="All that there are.")] = False,
) -> None:
    """Put dead letters back into the log they came from, for another attempt.

    One about whose user something newer has been said since is left out: it would undo that.
    """
    if not (places or tenant or everything):
        errors.print("error: say which: PLACE, --tenant NAME, or --all")
        raise typer.Exit(2)

    async def command(settings: MeshSettings) -> int:
        async with opened_event_log(settings) as log:
            letters = of_tenants(await dead_letters(log), tenant or ())
            chosen = [one for one in letters if not places or one.place in places]
            waiting = [one for one in chosen if not one.replayed]
            missing = [
                *(f"at {place}" for place in set(places or ()) - {one.place for one in chosen}),
                *(f"of {name}" for name in set(tenant or ()) - {one.tenant for one in letters}),
            ]
            outdated = await superseded(log, waiting)
            put_back = [one for one in waiting if one.place not in outdated]
            for letter in track(put_back, "replaying", console=errors, transient=True):
                await replay(log, letter)
        console.print(f"{len(put_back)} put back, {len(outdated)} left out as superseded.")
        for name in sorted(missing):
            errors.print(f"error: there is no dead letter {name} (mesh dlq list --all)")
        return int(bool(missing))

    perform(command)


def _summary(letter: DeadLetter) -> dict[str, Any]:
    moment = datetime.fromtimestamp(letter.record.timestamp_ms / 1000, UTC)
    source = f"{letter.topic}/{letter.source.partition}/{letter.source.offset}"
    return {
        "place": letter.place,
        "tenant": letter.tenant,
        "when": moment.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "source": source,
        "attempts": letter.attempts,
        "reason": letter.reason,
        "replayed": letter.replayed,
    }


def _text(content: bytes) -> str | dict[str, str]:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"hex": content.hex()}
