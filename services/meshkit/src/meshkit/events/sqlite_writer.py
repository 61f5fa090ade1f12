"""The one thread that writes to the embedded log: group commit.

Whatever was handed over while the disk was busy goes into the next transaction together: one
fsync for all of it, one call back into the event loop for all of its futures. Handing over costs
the loop an append to a list; the list is passed on once per turn of the loop.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

from meshkit.errors import LogUnavailable

QUEUE_MOST = 20_000
TRANSACTION_MOST = 2_000
RETRY_AFTER_SECONDS = 1.0

Row = tuple[int, int, bytes, bytes, bytes | None, int]
"""Topic id, partition, key, headers, value, timestamp."""

_INSERT = (
    "INSERT INTO records (topic, partition, key, headers, value, timestamp_ms)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)


class Append:
    """Rows to insert together; the future gets the offset of the first."""

    __slots__ = ("future", "rows")

    def __init__(self, rows: list[Row], future: asyncio.Future[Any]) -> None:
        self.rows = rows
        self.future = future


class Call:
    """Something else to do on the write connection, inside the transaction."""

    __slots__ = ("action", "future")

    def __init__(
        self, action: Callable[[sqlite3.Connection], Any], future: asyncio.Future[Any]
    ) -> None:
        self.action = action
        self.future = future


Task = Append | Call


class GroupCommitWriter:
    """Owns the write connection. `on_commit` is called in the event loop after each transaction
    that appended records."""

    def __init__(self, connection: sqlite3.Connection, on_commit: Callable[[], None]) -> None:
        self._connection = connection
        self._on_commit = on_commit
        self._loop = asyncio.get_running_loop()
        self._pending: list[Task] = []
        self._waiting = 0
        self._closed = False
        self._handovers: queue.SimpleQueue[list[Task] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="event-log-writer", daemon=True)
        self._thread.start()

    def append(self, rows: list[Row]) -> asyncio.Future[int]:
        """Insert rows; the future gets the first offset once they are durable, or LogUnavailable.

        Raises LogUnavailable at once where too much is waiting already.
        """
        if self._waiting + len(rows) > QUEUE_MOST:
            raise _unavailable("too many events wait for the disk")
        future: asyncio.Future[int] = self._loop.create_future()
        self._waiting += len(rows)
        self._submit(Append(rows, future))
        return future

    def call(self, action: Callable[[sqlite3.Connection], Any]) -> asyncio.Future[Any]:
        """Run `action` within the next transaction; the future gets its result once durable."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._submit(Call(action, future))
        return future

    async def close(self) -> None:
        """Finish everything handed over, then close the connection."""
        if self._closed:
            return
        self._closed = True
        self._hand_over()
        self._handovers.put(None)
        await asyncio.to_thread(self._thread.join)

    def _submit(self, task: Task) -> None:
        if self._closed:
            raise _unavailable("the event log is closed")
        if not self._pending:
            self._loop.call_soon(self._hand_over)
        self._pending.append(task)

    def _hand_over(self) -> None:
        if self._pending:
            self._handovers.put(self._pending)
            self._pending = []

    def _run(self) -> None:
        open_ = True
        while open_:
            first = self._handovers.get()
            if first is None:
                break
            tasks = first
            size = sum(_size(task) for task in tasks)
            while size < TRANSACTION_MOST and not self._handovers.empty():
                more = self._handovers.get()
                if more is None:
                    open_ = False
                    break
                size += sum(_size(task) for task in more)
                tasks = tasks + more
            self._transact(tasks)
        self._connection.close()

    def _transact(self, tasks: list[Task]) -> None:
        """Run tasks in one transaction. If it fails, appends fail with it, each as unavailable."""
        results: list[Any] = []
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = [self._perform(task) for task in tasks]
            connection.execute("COMMIT")
        except Exception as error:
            # A thread that must survive: whatever the disk says now, it may take the next batch.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            refusal = _unavailable(f"the disk refused: {error}")
            ours = isinstance(error, sqlite3.Error)
            results = [refusal if ours or isinstance(t, Append) else error for t in tasks]
        self._loop.call_soon_threadsafe(self._resolve, tasks, results)

    def _perform(self, task: Task) -> Any:
        if isinstance(task, Call):
            return task.action(self._connection)
        self._connection.executemany(_INSERT, task.rows)
        last: int = self._connection.execute("SELECT last_insert_rowid()").fetchone()[0]
        # Within an exclusive transaction rowids of one table are given out without gaps.
        return last - len(task.rows) + 1

    def _resolve(self, tasks: list[Task], results: list[Any]) -> None:
        appended = False
        for task, result in zip(tasks, results, strict=True):
            if isinstance(task, Append):
                self._waiting -= len(task.rows)
                appended = True
            if task.future.done():
                continue
            if isinstance(result, BaseException):
                task.future.set_exception(result)
            else:
                task.future.set_result(result)
        if appended:
            self._on_commit()


def _size(task: Task) -> int:
    return len(task.rows) if isinstance(task, Append) else 1


def _unavailable(detail: str) -> LogUnavailable:
    return LogUnavailable(detail, retry_after=RETRY_AFTER_SECONDS)


__all__ = ["GroupCommitWriter", "Row"]
