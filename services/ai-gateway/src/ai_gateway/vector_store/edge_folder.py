"""The folder of the embedded collection: whose it is, what is in it, and who has it open.

    vectors/lock          held (flock) by the engine process
    vectors/meta.json     embedder, dimension, layout, and the log that the points came from
    vectors/shard/        the engine's files

The points can always be made again from the event log. So a shard that the engine cannot open is
moved aside, not mended; but one that belongs to another embedder, layout or log is refused, since
deciding between them is a person's business.
"""

import fcntl
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import msgspec

from ai_gateway.vector_store.checks import mismatch
from ai_gateway.vector_store.edge_collection import EdgeCollection

LAYOUT = 2
_LOCK_PATIENCE_SECONDS = 5.0


class Refused(Exception):
    """The folder cannot be used; the message says why and the way out."""


class Meta(msgspec.Struct, rename="camel"):
    """What the points in the folder are."""

    collection_id: str
    layout: int
    embedder: str
    dimension: int
    log_id: str


@dataclass(frozen=True, slots=True)
class Opened:
    """An open collection; `created` where it starts empty."""

    collection: EdgeCollection
    collection_id: str
    created: bool


def take_lock(folder: Path) -> int:
    """Lock the folder for this process and return the lock's descriptor. Raises Refused.

    Waits a moment: the holder may be an engine process that is just noticing its parent's death.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.02)
                continue
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
            raise Refused(
                f"{folder} is in use by another mesh (process {holder}): stop that one, or choose"
                " another data folder with MESH_DATA_DIR"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        return lock


def open_collection(folder: Path, embedder: str, dimension: int, log_id: str) -> Opened:
    """Open the collection in a locked folder, made where there is none. Raises Refused."""
    meta = _read_meta(folder)
    shard = folder / "shard"
    if meta is not None and shard.exists():
        _check(folder, meta, Meta(meta.collection_id, LAYOUT, embedder, dimension, log_id))
        try:
            return Opened(EdgeCollection.load(shard), meta.collection_id, created=False)
        except Exception:
            # Whatever the engine says of files that are broken: the log has all they held.
            _move_aside(shard)
    return _create(folder, Meta(str(uuid4()), LAYOUT, embedder, dimension, log_id))


def _create(folder: Path, meta: Meta) -> Opened:
    """Make an empty collection: first whole under another name, so that no half of one counts."""
    draft, shard = folder / "shard.new", folder / "shard"
    shutil.rmtree(draft, ignore_errors=True)
    if shard.exists():
        _move_aside(shard)
    draft.mkdir()
    EdgeCollection.create(draft, meta.dimension).close()
    _write(folder / "meta.json", msgspec.json.encode(meta))
    draft.rename(shard)
    return Opened(EdgeCollection.load(shard), meta.collection_id, created=True)


def _read_meta(folder: Path) -> Meta | None:
    try:
        return msgspec.json.decode((folder / "meta.json").read_bytes(), type=Meta)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:
        raise Refused(
            f"{folder / 'meta.json'} is damaged: run `mesh reindex`, it is made again from the log"
        ) from None


def _check(folder: Path, meta: Meta, wanted: Meta) -> None:
    stored = (meta.layout, meta.embedder, meta.dimension, meta.log_id)
    wants = (wanted.layout, wanted.embedder, wanted.dimension, wanted.log_id)
    if (reason := mismatch(str(folder), stored, wants)) is not None:
        raise Refused(reason)


def _move_aside(shard: Path) -> None:
    number = 1
    while (aside := shard.with_name(f"shard.broken-{number}")).exists():
        number += 1
    shard.rename(aside)


def _write(path: Path, content: bytes) -> None:
    draft = path.with_suffix(".tmp")
    with draft.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
