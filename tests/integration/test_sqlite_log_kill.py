"""A process that is killed while it publishes loses nothing that it had acknowledged."""

import asyncio
import signal
import sys
from pathlib import Path

from meshkit.events.log import USER_EVENTS
from meshkit.events.sqlite_log import SqliteEventLog

# Publishes for ever from eight tasks (with a pass of compaction every now and then), and says each
# record aloud only after the log has acknowledged it. Every record has a key of its own, so that
# compaction may remove none of them.
PUBLISHER = """
import asyncio, sys
from itertools import count
from pathlib import Path
from meshkit.events.log import USER_EVENTS, NewRecord
from meshkit.events.sqlite_log import SqliteEventLog

async def main():
    log = await SqliteEventLog.open(Path(sys.argv[1]))
    async def publish(name):
        for number in count():
            key = b"%d-%d" % (name, number)
            place = await log.publish(USER_EVENTS, NewRecord(key, key * 20))
            print(key.decode(), place.offset, flush=True)
    async def compact():
        while True:
            await log.compact()
    await asyncio.gather(compact(), *(publish(name) for name in range(8)))

asyncio.run(main())
"""


async def test_kill_loses_no_acknowledged_record(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    acknowledged: dict[bytes, int] = {}
    for kills in range(1, 4):
        publisher = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PUBLISHER, str(path), stdout=asyncio.subprocess.PIPE
        )
        assert publisher.stdout is not None
        mine: dict[bytes, int] = {}
        while len(mine) < 150 * kills:
            key, offset = (await publisher.stdout.readline()).split()
            mine[key] = int(offset)
        publisher.send_signal(signal.SIGKILL)
        # What the dying process had already said counts too, but for a line cut in two.
        for line in (await publisher.stdout.read()).splitlines(keepends=True):
            if line.endswith(b"\n"):
                key, offset = line.split()
                mine[key] = int(offset)
        assert await publisher.wait() == -signal.SIGKILL
        assert min(mine.values()) > max(acknowledged.values(), default=0)
        acknowledged = mine
        kept = await _kept(path)
        assert mine.items() <= kept.items()


async def _kept(path: Path) -> dict[bytes, int]:
    log = await SqliteEventLog.open(path)
    consumer = log.consumer(USER_EVENTS, "check")
    kept: dict[bytes, int] = {}
    while records := await consumer.consume(1000, 0):
        for record in records:
            assert record.value == record.key * 20
            kept[record.key] = record.offset
    await log.close()
    return kept
