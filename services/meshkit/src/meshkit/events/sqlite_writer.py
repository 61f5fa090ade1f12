"""The one thread that writes to the embedded log: group commit.

Whatever was handed over while the disk was busy, or a moment later, goes into the next transaction
together: one fsync for all of it, one call back into the event loop for all of its futures. Handing
over costs the loop an append to a list; the list is passed on once per turn of the loop.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from meshkit.errors import LogUnavailable

QUEUE_MOST = 20_000
TRANSACTION_MOST = 2_000
RETRY_AFTER_SECONDS = 1.0
# A transaction costs as much as a dozen rows. Where several came while the last one was written,
# more are on their way, and a moment's wait has them share the next one; who comes alone waits for
# nobody. Half of that wait makes an accepted user a tenth dearer, and answers nobody sooner.
_GATHER_SECONDS = 0.002
_GATHER_FROM = 4

Row = tuple[int, int, bytes, bytes, bytes | None, int]
"""Topic id, partition, key, headers, value, timestamp."""

_INSERT = (
    "INSERT INTO records (topic, partition, key, headers, value, timestamp_ms)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)


class Append:
    """Rows of one topic to insert together, at least one; the future gets the offset of the
    first."""

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
    that appended records, with their number by topic id."""

    def __init__(
        self, connection: sqlite3.Connection, on_commit: Callable[[Mapping[int, int]], None]
    ) -> None:
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
        # A batch larger than the queue is taken when it is alone: else it could never be.
        if self._waiting and self._waiting + len(rows) > QUEUE_MOST:
            raise _unavailable("too many events wait for the disk")
        future: asyncio.Future[int] = self._loop.create_future()
        self._submit(Append(rows, future))
        self._waiting += len(rows)
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
        backlog: deque[Task] = deque()
        open_ = True
        busy = False
        while open_ or backlog:
            if busy and open_ and not backlog:
                time.sleep(_GATHER_SECONDS)
            # Wait only where nothing is left to do; then take all there is.
            while open_ and (not backlog or not self._handovers.empty()):
                handed = self._handovers.get()
                if handed is None:
                    open_ = False
                else:
                    backlog.extend(handed)
            if backlog:
                batch = _next_batch(backlog)
                busy = len(batch) >= _GATHER_FROM
                self._transact(batch)
        self._connection.close()

    def _transact(self, tasks: list[Task]) -> None:
        # Appends first: they are inserted together.
        tasks.sort(key=_is_call)
        results = self._attempt(tasks)
        # The loop may be gone at the end of the process; then nobody waits for the results.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._resolve, tasks, results)

    def _attempt(self, tasks: list[Task]) -> list[Any]:
        """Run tasks in one transaction. What the disk refuses fails them all as unavailable; a
        task that is wrong in itself is found by running each alone, and only that one fails."""
        connection = self._connection
        try:
            # Left over where the last roll-back failed with the disk.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            results = self._perform(tasks)
            connection.execute("COMMIT")
        except Exception as error:
            # A thread that must survive: whatever the disk says now, it may take the next batch.
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            appends = sum(isinstance(task, Append) for task in tasks)
            if 0 < appends < len(tasks):
                # A step of compaction that fails (for want of temporary space, say) must not
                # take publishers with it.
                return self._attempt(tasks[:appends]) + self._attempt(tasks[appends:])
            if _is_of_the_disk(error):
                return [_unavailable(f"the disk refused: {error}")] * len(tasks)
            if len(tasks) == 1:
                return [error]
            return [result for task in tasks for result in self._attempt([task])]
        return results

    def _perform(self, tasks: list[Task]) -> list[Any]:
        connection = self._connection
        rows = [row for task in tasks if isinstance(task, Append) for row in task.rows]
        offset = 0
        if rows:
            connection.executemany(_INSERT, rows)
            # Within an exclusive transaction rowids of one table are given out without gaps.
            last: int = connection.execute("SELECT last_insert_rowid()").fetchone()[0]
            offset = last - len(rows) + 1
        results: list[Any] = []
        for task in tasks:
            if isinstance(task, Append):
                results.append(offset)
                offset += len(task.rows)
            else:
                results.append(task.action(connection))
        return results

    def _resolve(self, tasks: list[Task], results: list[Any]) -> None:
        appended: dict[int, int] = {}
        for task, result in zip(tasks, results, strict=True):
            failed = isinstance(result, BaseException)
            if isinstance(task, Append):
                self._waiting -= len(task.rows)
                if not failed:
                    topic = task.rows[0][0]
                    appended[topic] = appended.get(topic, 0) + len(task.rows)
            if task.future.done():
                continue
            if failed:
                task.future.set_exception(result)
            else:
                task.future.set_result(result)
        if appended:
            self._on_commit(appended)


def _next_batch(backlog: deque[Task]) -> list[Task]:
    """Take the next transaction's tasks: whole ones, so that a batch stays all or none."""
    tasks = [backlog.popleft()]
    size = _size(tasks[0])
    while backlog and size + _size(backlog[0]) <= TRANSACTION_MOST:
        tasks.append(backlog.popleft())
        size += _size(tasks[-1])
    return tasks


def _is_call(task: Task) -> bool:
    return isinstance(task, Call)


def _size(task: Task) -> int:
    return len(task.rows) if isinstance(task, Append) else 1


def _is_of_the_disk(error: Exception) -> bool:
    # The other kinds of sqlite3.Error (a value of the wrong type, one too big) are the caller's.
    return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError


def _unavailable(detail: str) -> LogUnavailable:
    return LogUnavailable(detail, retry_after=RETRY_AFTER_SECONDS)


__all__ = ["GroupCommitWriter", "Row"]
