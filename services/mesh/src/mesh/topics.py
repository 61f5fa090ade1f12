"""`mesh topics`: the topics in Kafka, made and compared."""

from typing import Annotated

import typer
from rich.console import Console

from mesh.command import perform
from meshkit.backends import kafka_connection
from meshkit.settings import MeshSettings

topics_app = typer.Typer(help="Make the topics in Kafka, and compare them.", no_args_is_help=True)
console = Console()


@topics_app.command("ensure")
def ensure(
    replication: Annotated[
        int, typer.Option(help="Replicas of each new topic; -1: the brokers' default.")
    ] = -1,
) -> None:
    """Make the topics that are missing, and say how the others differ from what they have to be.

    A topic that is there is never changed. Ends with status 1 where one differs.
    """

    async def command(settings: MeshSettings) -> int:
        connection = kafka_connection(settings)
        if connection is None:
            console.print("The embedded log makes its topics itself: there is nothing to do.")
            return 0
        from meshkit.events.kafka_topics import ensure_topics

        states = await ensure_topics(connection, replication=replication)
        for state in states:
            if state.differs:
                console.print(f"[bold red]differs[/]  {state.name}: {'; '.join(state.differs)}")
            else:
                console.print(
                    f"[green]{'made   ' if state.created else 'as it is'}[/] {state.name}"
                )
        return int(any(state.differs for state in states))

    perform(command)
