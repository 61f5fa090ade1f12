"""`mesh docs`: the documents that are made from the code."""

from pathlib import Path
from typing import Annotated

import typer

from meshkit.events.asyncapi import asyncapi_yaml
from meshkit.settings import settings_markdown
from meshkit.tenancy.crds import crd_yaml, crds
from meshkit.web.problem import errors_markdown

CRDS = "charts/tenant-operator/files/crds"


def documents() -> dict[str, str]:
    """Return every generated document by its path in the repository."""
    rendered = {
        "docs/asyncapi.yaml": asyncapi_yaml(),
        "docs/errors.md": errors_markdown(),
        "docs/settings.md": settings_markdown(),
    }
    for crd in crds():
        rendered[f"{CRDS}/{crd['spec']['names']['plural']}.yaml"] = crd_yaml(crd)
    return rendered


def docs(
    folder: Annotated[Path, typer.Argument(help="Root of the repository.")] = Path(),
    check: Annotated[bool, typer.Option(help="Write nothing; fail where one is stale.")] = False,
) -> None:
    """Write the documents that are generated from the code."""
    stale = []
    for name, text in documents().items():
        path = folder / name
        if check:
            if not path.exists() or path.read_text() != text:
                stale.append(str(path))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if stale:
        typer.echo(f"stale: {', '.join(stale)}. Run `make docs`.", err=True)
        raise typer.Exit(1)
