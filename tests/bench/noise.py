"""A noisy tenant in a process of its own: `python -m bench.noise USERS_PORT GATEWAY_PORT RATE`.

From its "ready" until its standard input ends it sends RATE creates and RATE searches a second, by
the clock and whatever the answers are: that is what 429 does not stop. Then it waits for the
answers that are due, and tells in a line of JSON what it sent, for how long, what it was answered,
and the CPU that it took.

In life it would run elsewhere. Here it is on the cores of the services, so it is served after them
(`nice`): it sends late rather than take their turn, and what it sent is counted.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle

import uvloop

from bench.load import Flood, flood, get, post

TENANT = "noisy"
NICE = 10
_CONNECTIONS = 32
# The same users again and again: what is stored does not grow from round to round.
_USERS = 100
# The loop's clock ticks so, and would spin over less.
_TICK_SECONDS = 0.001
_ANSWERED_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Told:
    """What a noisy tenant sent to each service within `seconds`, the last answer coming after
    `answered` of them, and the answers by status."""

    sent: int
    seconds: float
    answered: float
    writes: dict[str, int]
    searches: dict[str, int]
    cpu: float


def creates() -> list[bytes]:
    """Return the requests that create its users."""
    return [
        post(
            "/users/create",
            json.dumps(
                {"name": f"Noisy Number {n}", "email": f"n{n}@example.com", "userId": f"n{n}"}
            ).encode(),
            TENANT,
        )
        for n in range(_USERS)
    ]


async def make_noise(users_port: int, gateway_port: int, rate: float) -> Told:
    """Be noisy until standard input ends."""
    writers = [await flood(users_port) for _ in range(_CONNECTIONS)]
    readers = [await flood(gateway_port) for _ in range(_CONNECTIONS)]
    search = get("/ai/users/search?query=noisy+number&limit=5", TENANT)
    prepared = creates()
    turns = zip(cycle(writers), cycle(readers), cycle(prepared), strict=False)
    asked_to_end = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    print("ready", flush=True)
    began, cpu, sent = time.perf_counter(), time.process_time(), 0
    while not asked_to_end.done():
        due = int((time.perf_counter() - began) * rate) + 1
        for _, (writer, reader, create) in zip(range(due - sent), turns, strict=False):
            writer.send(create)
            reader.send(search)
        sent = due
        await asyncio.sleep(max(began + sent / rate - time.perf_counter(), _TICK_SECONDS))
    ended = time.perf_counter()
    await _all_answered([*writers, *readers])
    answered = time.perf_counter()
    return Told(
        sent,
        ended - began,
        answered - began,
        _answers(writers),
        _answers(readers),
        time.process_time() - cpu,
    )


async def _all_answered(floods: Sequence[Flood]) -> None:
    async with asyncio.timeout(_ANSWERED_SECONDS):
        while any(one.answers.total() < one.sent for one in floods):
            await asyncio.sleep(0.005)


def _answers(floods: Sequence[Flood]) -> dict[str, int]:
    answers: Counter[str] = Counter()
    for one in floods:
        answers += one.answers
    return dict(answers)


if __name__ == "__main__":
    os.nice(NICE)
    users, gateway, times = sys.argv[1:]
    print(json.dumps(asdict(uvloop.run(make_noise(int(users), int(gateway), float(times))))))
