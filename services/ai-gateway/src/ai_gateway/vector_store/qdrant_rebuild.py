"""The next collection in a Qdrant server, while it is being filled."""

import structlog

from ai_gateway.vector_store.port import StoreMismatch, StoreRefused
from ai_gateway.vector_store.qdrant import QdrantVectorStore
from ai_gateway.vector_store.qdrant_layout import LAYOUT, Collection, QdrantLayout
from meshkit.clock import unix_ms

log = structlog.get_logger()

# The processes in service look at the alias every two seconds, and then join the new group.
_HANDOVER_SECONDS = 6.0
# The log keeps the deletion of a user for a day; what was begun earlier may have missed one.
_RESUMED_MOST_MS = 20 * 3600 * 1000
# By how much the clocks of two machines may differ.
_CLOCK_ERROR_MS = 600 * 1000


class QdrantRebuild:
    """A Rebuild over a server. Made by `open`, ended by `close`."""

    handover_seconds = _HANDOVER_SECONDS

    def __init__(
        self, layout: QdrantLayout, store: QdrantVectorStore, old: str | None, new: str
    ) -> None:
        self._layout = layout
        self._store = store
        self._old = old
        self._new = new
        self._markers_since_ms = 0

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        api_key: str | None,
        alias: str,
        embedder_name: str,
        dimension: int,
        log_id: str,
    ) -> "QdrantRebuild":
        """Go on with the collection of an interrupted run, or make the next one.

        Raises StoreUnavailable.
        """
        layout = QdrantLayout(url, api_key, alias)
        try:
            old = await layout.current_name()
            numbers = await layout.numbers()
            wanted = (LAYOUT, embedder_name, dimension, log_id)
            made = None
            for number in numbers:
                if number > layout.number(old) and made is None:
                    made = await _unfinished(layout, number, wanted)
            if made is None:
                number = max([layout.number(old), *numbers]) + 1
                made = await layout.create(number, embedder_name, dimension, log_id)
        except BaseException:
            await layout.close()
            raise
        store = QdrantVectorStore.of(url, api_key, alias, made)
        return cls(layout, store, old, made.name)

    @property
    def store(self) -> QdrantVectorStore:
        """The collection to fill."""
        return self._store

    async def copy_markers(self) -> int:
        """Take over the deletion markers of the collection behind the alias.

        Raises StoreUnavailable.
        """
        if self._old is None:
            return 0
        try:
            return await self._copy_markers_of(self._old)
        except (StoreMismatch, StoreRefused) as error:
            # It is the way out of a collection that somebody changed, so it goes on without them.
            log.error("markers_not_copied", collection=self._old, reason=str(error))
            return 0

    async def _copy_markers_of(self, name: str) -> int:
        old = await self._layout.read_meta(name)
        if (old.layout, old.log_id) != (LAYOUT, self._store.log_id):
            # Its revisions mean nothing here.
            return 0
        if old.scattered:
            await self._store.keep_markers(f"{name} keeps its markers")
        if old.partitions:
            await self._store.note_partitions(old.partitions)
        since_ms, started_ms = self._markers_since_ms, unix_ms()
        copied = await self._store.copy_markers(name, since_ms)
        self._markers_since_ms = started_ms - _CLOCK_ERROR_MS
        log.info("markers_copied", collection=name, markers=copied)
        return copied

    async def switch(self) -> str:
        """Move the alias. Raises StoreUnavailable."""
        await self._layout.point_alias_to(self._new)
        kept = f"; {self._old} is still there" if self._old is not None else ""
        return f"Searches see {self._new} now{kept}."

    async def drop_old(self) -> None:
        """Remove the collection that the alias was moved from. Raises StoreUnavailable."""
        if self._old is not None:
            await self._layout.drop(self._old)

    async def close(self) -> None:
        """Release the connections."""
        await self._store.close()
        await self._layout.close()


async def _unfinished(
    layout: QdrantLayout, number: int, wanted: tuple[int, str, int, str]
) -> Collection | None:
    """Return the collection with this number if it is one that was begun for the same."""
    try:
        found = await layout.read(layout.name(number))
    except StoreMismatch:
        return None
    meta = found.meta
    has = (meta.layout, meta.embedder, meta.dimension, meta.log_id)
    young = meta.made_ms > unix_ms() - _RESUMED_MOST_MS
    return found if has == wanted and young else None
