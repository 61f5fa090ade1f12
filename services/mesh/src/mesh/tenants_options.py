"""What the commands about tenants take, and what all of them say the same way."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console

from mesh.tenants_status import did_you_mean
from meshkit.errors import StartError

Place = Annotated[
    str | None,
    typer.Option(
        "--tenants",
        help="Folder of the tenant files, or kubernetes[:namespace] [MESH_TENANTS, else tenants].",
    ),
]
Context = Annotated[
    str | None, typer.Option(help="Context of the kubeconfig, instead of its current one.")
]
Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Tenant ids.")]
Everybody = Annotated[bool, typer.Option("--all", help="All that are there now.")]


def chosen(
    names: Sequence[str] | None,
    everybody: bool,
    there: Sequence[str],
    namespace: str | None,
    *,
    absent: bool = False,
) -> list[str]:
    """Return the names that are meant, each once; with `absent` also those that are not there.

    Raises StartError where nobody is meant, or one that is not there.
    """
    if bool(names) == everybody:
        raise StartError("say which tenants: NAME..., or --all")
    if everybody and not there and not absent:
        raise StartError(nobody(namespace))
    for name in names or ():
        if name not in there and not absent:
            raise unknown(name, there)
    return list(dict.fromkeys(names or there))


def unknown(name: str, there: Sequence[str]) -> StartError:
    """Return the error that says there is no such tenant, and which ones it may be."""
    hint = did_you_mean(name, there)
    return StartError(f"there is no tenant {name!r}.{hint} See `mesh tenants list`.")


def nobody(namespace: str | None) -> str:
    """Return what to say of a place without tenants."""
    if namespace is None:
        return "There are no tenants yet. See tenants/README.md for how to write one."
    return (
        f"There are no tenants in namespace {namespace} yet. kubectl apply -n {namespace} -f"
        " tenants/ makes two to begin with; tenants/README.md says how to write one."
    )


def print_json(values: Any) -> None:
    """Print JSON values; in colours on a terminal."""
    Console().print_json(json.dumps(values))
