"""Composition root of `ai-gateway-indexer`, the indexer as a process of its own.

The embedded engine belongs to one process, so there the gateway indexes itself and this command
says so instead of doing half of it.
"""

import asyncio

from meshkit.errors import StartError
from meshkit.runtime import run
from meshkit.settings import MeshSettings


async def serve(settings: MeshSettings, stop: asyncio.Event) -> None:
    """Run the indexer until `stop`. Raises StartError on the embedded engine."""
    raise StartError(
        f"the embedded engine in {settings.data_dir} belongs to one process: `ai-gateway` (or"
        " `mesh up`) indexes by itself, and needs no separate indexer"
    )


def main() -> None:
    """Entry point of the `ai-gateway-indexer` command."""
    run(serve)
