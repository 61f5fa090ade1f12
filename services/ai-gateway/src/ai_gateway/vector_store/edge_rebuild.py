"""The next embedded collection, while it is being filled beside the one in use."""

from pathlib import Path
from typing import Self

from ai_gateway.vector_store.edge import EdgeVectorStore
from ai_gateway.vector_store.edge_takeover import COMPLETE, discard_unless, next_folder


class EdgeRebuild:
    """A Rebuild in a folder. Made by `open`, ended by `close`."""

    handover_seconds = 0.0

    def __init__(self, draft: Path, store: EdgeVectorStore) -> None:
        self._draft = draft
        self._store = store
        self._switched = False

    @classmethod
    async def open(cls, folder: Path, *, embedder_name: str, dimension: int, log_id: str) -> Self:
        """Go on with an interrupted run, or begin. Raises StoreMismatch, StoreUnavailable."""
        draft = next_folder(folder)
        discard_unless(draft, embedder_name, dimension, log_id)
        # Complete, but not taken over yet: it is brought up to date once more.
        (draft / COMPLETE).unlink(missing_ok=True)
        store = await EdgeVectorStore.open(
            draft, embedder_name=embedder_name, dimension=dimension, log_id=log_id
        )
        return cls(draft, store)

    @property
    def store(self) -> EdgeVectorStore:
        """The collection to fill."""
        return self._store

    async def copy_markers(self) -> int:
        """Nothing to do: every deletion that still counts is in the embedded log."""
        return 0

    async def switch(self) -> str:
        """Let the collection take over at the next start of the mesh. Raises StoreUnavailable."""
        await self._store.flush()
        self._switched = True
        return "The mesh uses the new collection from its next start on: restart it now."

    async def drop_old(self) -> None:
        """Nothing to do: what is replaced is removed by the replacement after it."""

    async def close(self) -> None:
        """Release the folder; only then may another process take it."""
        await self._store.close()
        if self._switched:
            (self._draft / COMPLETE).touch()
