"""The `mesh` command: run the mesh, try it, look into it."""

from pathlib import Path
from typing import Annotated

import typer

from mesh import up
from mesh.demo import demo
from mesh.dlq import dlq_app
from mesh.docs import docs
from mesh.reindex import reindex_command
from mesh.tenants import tenants_app
from mesh.topics import topics_app
from meshkit.errors import StartError
from meshkit.runtime import run
from meshkit.settings import load_settings

app = typer.Typer(
    name="mesh",
    help="Run the event mesh on this machine, try it, and look into it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(tenants_app, name="tenants")
app.add_typer(topics_app, name="topics")
app.add_typer(dlq_app, name="dlq")
app.command("demo")(demo)
app.command("reindex")(reindex_command)
app.command("docs", hidden=True)(docs)


@app.command("up")
def start(
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the log and the vectors [MESH_DATA_DIR].")
    ] = None,
    tenants: Annotated[
        str | None, typer.Option(help="Folder of the tenant files, watched [MESH_TENANTS].")
    ] = None,
) -> None:
    """Run everything in one process: both services, the indexer, the tenant watch.

    Data stays in the data folder; starting again continues with it. Further settings come from
    the environment (docs/settings.md).
    """
    given = {"data_dir": data_dir, "tenants": tenants}
    try:
        settings = load_settings().model_copy(
            update={name: value for name, value in given.items() if value is not None}
        )
    except StartError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    run(up.serve, lambda: settings)
