"""What publishing to the embedded log costs: `python tests/bench/event_log.py [folder]`.

Each of N publishers sends one record after the other. CPU is that of the whole process (event loop,
writer thread, the publishers themselves) per record; the latency is until the record is durable.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import structlog

from meshkit.events.log import USER_EVENTS, NewRecord
from meshkit.events.sqlite_log import SqliteEventLog

SECONDS = 3.0
VALUE = b'{"tenantId":"tenant-a","userId":"u","email":"a@example.org","name":"Alice"}' * 3
HEADERS = (
    ("ce_id", b"0b7f9a52-6f1b-4b8e-9d0a-111111111111"),
    ("ce_source", b"/user-service"),
    ("ce_specversion", b"1.0"),
    ("ce_type", b"user.created"),
    ("ce_time", b"2026-01-01T00:00:00Z"),
    ("ce_subject", b"11111111-1111-1111-1111-111111111111"),
    ("ce_tenantid", b"tenant-a"),
    ("ce_tenantuid", b"22222222-2222-2222-2222-222222222222"),
)


async def measure(folder: Path, publishers: int) -> str:
    log = await SqliteEventLog.open(folder / f"{publishers}.db")
    latencies: list[float] = []
    end = time.perf_counter() + SECONDS

    async def publish(name: int) -> None:
        number = 0
        while (began := time.perf_counter()) < end:
            number += 1
            key = b"uid/%d-%d" % (name, number)
            await log.publish(USER_EVENTS, NewRecord(key, VALUE, HEADERS))
            latencies.append(time.perf_counter() - began)

    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(publish(name) for name in range(publishers)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    await log.close()
    latencies.sort()
    p50, p99 = (latencies[int(len(latencies) * share)] * 1000 for share in (0.5, 0.99))
    count = len(latencies)
    return f"{publishers:10} {count / wall:10.0f} {cpu / count * 1e6:14.1f} {p50:8.2f} {p99:8.2f}"


def main() -> None:
    # The log compacts itself meanwhile, which belongs to the cost; its messages do not.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    print("publishers  records/s  CPU us/record   p50 ms   p99 ms")
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        for publishers in (1, 16, 64, 256):
            print(asyncio.run(measure(Path(folder), publishers)))


if __name__ == "__main__":
    main()
