"""`mesh topics`: the topics in Kafka, made, compared and repaired."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from mesh.command import perform
from meshkit.backends import kafka_connection
from meshkit.settings import MeshSettings

if TYPE_CHECKING:
    from meshkit.events.kafka_topics import TopicState

topics_app = typer.Typer(
    help="Make the topics in Kafka, compare and repair them.", no_args_is_help=True
)
console = Console(soft_wrap=True)


@topics_app.command("ensure")
def ensure(
    replication: Annotated[
        int, typer.Option(help="Replicas of each new topic; -1: the brokers' default.")
    ] = -1,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="Set cleanup.policy to compact also on a topic that has records: then only the"
            " newest record of each key stays.",
        ),
    ] = False,
) -> None:
    """Make the topics that are missing, repair the settings of the others, and say what differs.

    Repaired is what keeps more than before. The number of partitions is never changed. Ends with
    status 1 where events would still be lost, so that the services accept none; with 0 where they
    work, also with differences that are only said.
    """

    async def command(settings: MeshSettings) -> int:
        connection = kafka_connection(settings)
        if connection is None:
            console.print("The embedded log makes its topics itself: there is nothing to do.")
            return 0
        from meshkit.events.kafka_topics import ensure_topics

        states = await ensure_topics(connection, replication=replication, fix=fix)
        for state in states:
            _print(state)
        return int(any(state.refuses for state in states))

    perform(command)


def _print(state: "TopicState") -> None:
    if state.created:
        word = "[green]made    [/]"
    elif state.refuses:
        word = "[bold red]refused [/]"
    elif state.repaired:
        word = "[yellow]repaired[/]"
    elif state.remaining:
        word = "[yellow]differs [/]"
    else:
        word = "[green]as it is[/]"
    console.print(f"{word} {state.name}")
    for sentence in state.repaired:
        console.print(f"         {escape(sentence)}")
    for one in state.remaining:
        way_out = f" ({one.way_out})" if one.way_out else ""
        refuses = " [bold red]no event is accepted[/]" if one.refuses else ""
        console.print(f"         {escape(one.text + way_out)}{refuses}")
