"""The embedded collection that follows the one in use, and how it takes its place.

    vectors/         in use, perhaps by a running mesh
    vectors.next/    being filled; a file `complete` says that it is to take over

A running mesh holds its collection open, so the change-over is at the next opening, done by the
engine process under the folder's lock. Each of its steps may be the last one before a crash: the
next opening goes on from there.
"""

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

import msgspec

from meshkit.clock import unix_ms

COMPLETE = "complete"
# The log keeps the deletions that a collection has not seen for as long as its consumer group
# lives, which is a week after the last commit. What is older might bring deleted users back.
_DRAFT_LIVES_MS = 6 * 24 * 3600 * 1000


def next_folder(folder: Path) -> Path:
    """Return where the collection that follows the one in `folder` is made."""
    return folder.with_name(f"{folder.name}.next")


def discard_unless(draft: Path, embedder: str, dimension: int, log_id: str) -> None:
    """Remove a draft that was begun for something else or too long ago, unless it is in use."""
    try:
        meta = msgspec.json.decode((draft / "meta.json").read_bytes())
        stored = (meta["embedder"], meta["dimension"], meta["logId"])
    except FileNotFoundError:
        return
    except (msgspec.DecodeError, KeyError, TypeError):
        stored = None
    if stored == (embedder, dimension, log_id) and not _outdated(draft):
        return
    lock = os.open(draft / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # Whoever has it in use is named when it is opened.
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(draft)
    finally:
        os.close(lock)


def take_over(folder: Path) -> bool:
    """Put a complete next collection in the place of the one in the locked `folder`.

    Returns whether there was one. What it replaces is kept aside until the next time.
    """
    draft = next_folder(folder)
    if not (draft / COMPLETE).exists() or _outdated(draft):
        return False
    replaced = folder / "shard.replaced"
    if (draft / "shard").exists():
        if (folder / "shard").exists():
            shutil.rmtree(replaced, ignore_errors=True)
            (folder / "shard").rename(replaced)
        if (draft / "meta.json").exists():
            (draft / "meta.json").replace(folder / "meta.json")
        (draft / "shard").rename(folder / "shard")
    shutil.rmtree(draft)
    return True


def _outdated(draft: Path) -> bool:
    """Whether nobody has worked on a draft for too long."""
    marks = (draft / COMPLETE, draft / "lock")
    worked_on = max((mark.stat().st_mtime for mark in marks if mark.exists()), default=0.0)
    return worked_on * 1000 < unix_ms() - _DRAFT_LIVES_MS
