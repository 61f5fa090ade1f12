"""What the commands that look into a log or a store share: settings, errors, how to print."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from meshkit.errors import LogUnavailable, StartError
from meshkit.settings import MeshSettings, load_settings
from meshkit.telemetry.logs import configure_logging


class Output(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


As = Annotated[Output, typer.Option("--output", "-o", help="table or json.")]


def perform(command: Callable[[MeshSettings], Awaitable[int | None]]) -> None:
    """Run a command with the settings of the environment; ends with the status that it returns,
    and with 2 where it cannot start or the log is away."""
    try:
        settings = load_settings()
        configure_logging(settings.log_format, "error", for_good=False)
        # What it has to say, the error that ends the command says in one sentence.
        logging.getLogger("librdkafka").setLevel(logging.CRITICAL)
        status = asyncio.run(_awaited(command(settings)))
    except StartError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    except LogUnavailable as error:
        typer.echo(f"error: the event log cannot be used now: {error.detail}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if status:
        raise typer.Exit(status)


@contextmanager
def telling(console: Console) -> Iterator[Callable[[str], None]]:
    """Yield what to tell progress to: one line that changes on a terminal, else a line for each
    change, whole however narrow."""
    if console.is_terminal:
        with console.status("") as status:
            yield lambda text: status.update(escape(text))
        return
    last = ""

    def say(text: str) -> None:
        nonlocal last
        if text != last:
            console.print(text, markup=False, highlight=False, soft_wrap=True)
        last = text

    yield say


async def _awaited(command: Awaitable[int | None]) -> int | None:
    return await command
