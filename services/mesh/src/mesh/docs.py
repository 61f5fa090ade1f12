"""`mesh docs`: the documents that are made from the code."""

from pathlib import Path
from typing import Annotated

import typer

from meshkit.events.asyncapi import asyncapi_yaml
from meshkit.settings import settings_markdown
from meshkit.web.problem import errors_markdown

DOCUMENTS = {
    "asyncapi.yaml": asyncapi_yaml,
    "errors.md": errors_markdown,
    "settings.md": settings_markdown,
}


def docs(
    folder: Annotated[Path, typer.Argument(help="Where to write them.")] = Path("docs"),
    check: Annotated[bool, typer.Option(help="Write nothing; fail where one is stale.")] = False,
) -> None:
    """Write the documents that are generated from the code."""
    stale = []
    for name, render in DOCUMENTS.items():
        path = folder / name
        if check:
            if not path.exists() or path.read_text() != render():
                stale.append(str(path))
        else:
            path.write_text(render())
    if stale:
        typer.echo(f"stale: {', '.join(stale)}. Run `make docs`.", err=True)
        raise typer.Exit(1)
