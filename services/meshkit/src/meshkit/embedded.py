"""The data folder of the embedded mesh: what is where, and who may use it.

    .mesh/events.db      the event log (SQLite, with its -wal and -shm files)
    .mesh/vectors/       the vector engine's collection
    .mesh/position.key   the key that seals positions, made once

Several processes may share the log; the vector engine's child holds a lock on its folder.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from meshkit.errors import StartError
from meshkit.events.position import KEY_BYTES, PositionSealer
from meshkit.events.sqlite_log import SqliteEventLog

_LOG = "events.db"


def has_event_log(path: Path) -> bool:
    """Whether there is an event log in the data folder at `path`; makes nothing."""
    return (path / _LOG).exists()


class EmbeddedData:
    """The data folder at `path`, made where it is missing. Raises StartError if it cannot be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(
                f"the data folder {path} cannot be made: {error.strerror}. Choose another with"
                " MESH_DATA_DIR."
            ) from None

    @property
    def vectors(self) -> Path:
        """The folder of the vector engine."""
        return self._path / "vectors"

    def position_sealer(self) -> PositionSealer:
        """Return the sealer over this folder's key, made on first use."""
        return PositionSealer(self._position_key())

    @asynccontextmanager
    async def event_log(self) -> AsyncIterator[SqliteEventLog]:
        """Open the event log for as long as the block lasts. Raises StartError."""
        log = await SqliteEventLog.open(self._path / _LOG)
        try:
            yield log
        finally:
            await log.close()

    def _position_key(self) -> bytes:
        path = self._path / "position.key"
        if not path.exists():
            draft = path.with_suffix(f".{os.getpid()}")
            draft.touch(mode=0o600)
            draft.write_bytes(os.urandom(KEY_BYTES))
            # Whichever of two processes links first has made the key for both.
            with suppress(FileExistsError):
                os.link(draft, path)
            draft.unlink()
        key = path.read_bytes()
        if len(key) != KEY_BYTES:
            raise StartError(
                f"{path} is damaged: move it away and start again; positions given out"
                " before will be refused."
            )
        return key


__all__ = ["EmbeddedData", "has_event_log"]
