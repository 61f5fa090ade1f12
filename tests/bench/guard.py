"""What the revision guard of an upsert costs the server, by its form and the size of the batch.

No row of TARGETS: it says which form `qdrant_guard` should have. The bodies differ in their
`update_filter` alone; each form lets a point pass exactly if the stored revision is older:

    none            no guard: what storing costs by itself
    flat            one clause a point
    each            one or two a point, by partition: what the product does with the few held up
    all             one for the whole batch: the product's first

One request is under way at a time, and every request is acknowledged (`wait=true`). New points are
removed after each request, so that the size of the collection stays what it is.
"""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import uvloop

from ai_gateway.vector_store import qdrant_wire as wire
from ai_gateway.vector_store.port import Change, Upsert, User, point_text
from ai_gateway.vector_store.qdrant_guard import older_than_all, older_than_each
from ai_gateway.vector_store.qdrant_http import QdrantHttp
from bench.engines import QdrantServer, lacking_server, own_collection, running_server
from bench.harness import Figure, Result, console, cpu_seconds, ratios, report
from builders import DENSE, LEXICAL, make_context
from meshkit.clock import unix_ms
from meshkit.events.log import Position

SIZES = (128, 256, 512, 1000)
_POINTS_A_CELL = 1024
_TENANTS = [make_context(f"tenant-{n}") for n in range(4)]
_GREEN_SECONDS = 1800
_PARTITIONS = 12

Guarded = Sequence[tuple[str, Change]]
"""Points with what is to be stored of them."""


def flat(changes: Guarded) -> bytes:
    """One clause a point."""
    clauses = [orjson.loads(older_than_each([change]))["should"][0] for change in changes]
    return orjson.dumps({"should": clauses})


FORMS: Mapping[str, Callable[[Guarded], bytes | None]] = {
    "none": lambda _: None,
    "flat": flat,
    "each": older_than_each,
    "all": older_than_all,
}


@dataclass(frozen=True, slots=True)
class Cell:
    """What is measured under one name: requests of one size, kind and form."""

    size: int
    kind: str
    form: str


class Users:
    """Users with their vectors, as the indexer stores them; each call gives later revisions."""

    def __init__(self) -> None:
        self._revision = 0

    def changes(self, numbers: Sequence[int]) -> list[tuple[str, Change]]:
        """Return the users of these numbers and their points."""
        names = [f"Person Number {n}" for n in numbers]
        texts = [f"{name}\nperson.{n}@example.com" for name, n in zip(names, numbers, strict=True)]
        vectors = zip(DENSE.vectors(texts), LEXICAL.documents(texts), strict=True)
        made: list[tuple[str, Change]] = []
        for number, name, (dense, lexical) in zip(numbers, names, vectors, strict=True):
            self._revision += 1
            tenant = _TENANTS[number % len(_TENANTS)]
            user = User(f"p{number}", f"person.{number}@example.com", name, {})
            revision = Position(number % _PARTITIONS, self._revision, self._revision)
            change = Upsert(tenant, user, revision, dense, lexical)
            made.append((point_text(tenant, user.user_id), change))
        return made


def body(changes: Guarded, form: str) -> bytes:
    """Return the product's body with another guard."""
    document = orjson.loads(wire.apply_body(changes, unix_ms(), b"{}"))
    upsert = document["operations"][0]["upsert"]
    del upsert["update_filter"]
    if (condition := FORMS[form](changes)) is not None:
        upsert["update_filter"] = orjson.Fragment(condition)
    return orjson.dumps(document)


class Collection:
    """A collection with users in it, and the requests that are measured."""

    def __init__(self, server: QdrantServer, http: QdrantHttp, name: str, stored: int) -> None:
        self._server = server
        self._http = http
        self._path = f"/collections/{name}"
        self._stored = stored
        self._users = Users()
        self._next_new = stored
        self._next_old = 0

    async def fill(self) -> None:
        """Store the users and wait until the server has nothing more to do with them."""
        for start in range(0, self._stored, 500):
            numbers = range(start, min(start + 500, self._stored))
            await self._upsert(body(self._users.changes(numbers), "none"))
        deadline = time.monotonic() + _GREEN_SECONDS
        while (await self._info())["status"] != "green":
            assert time.monotonic() < deadline, "the server goes on optimising"
            await asyncio.sleep(0.5)

    async def measure(self, cell: Cell) -> tuple[float, float]:
        """Return the seconds a point, and the server's CPU seconds a point (0 where unknown)."""
        requests = max(1, _POINTS_A_CELL // cell.size)
        batches = [self._users.changes(numbers) for numbers in self._numbers(cell, requests)]
        bodies = [body(batch, cell.form) for batch in batches]
        before, started = self._cpu(), time.perf_counter()
        for one in bodies:
            await self._upsert(one)
        took, used = time.perf_counter() - started, self._cpu() - before
        await self._check(batches[-1][-1])
        if cell.kind == "new":
            points = [point for batch in batches for point, _ in batch]
            removal = orjson.dumps({"points": points})
            await self._http.call("POST", f"{self._path}/points/delete?wait=true", removal)
        return took / (requests * cell.size), used / (requests * cell.size)

    def _numbers(self, cell: Cell, requests: int) -> Iterator[list[int]]:
        for _ in range(requests):
            if cell.kind == "new":
                yield list(range(self._next_new, self._next_new + cell.size))
                self._next_new += cell.size
            else:
                # Far apart, as a log brings them: not those that were stored side by side.
                yield [(self._next_old + n * 7919) % self._stored for n in range(cell.size)]
                self._next_old += 1

    async def _check(self, stored: tuple[str, Change]) -> None:
        """The guard let the last point of the cell pass."""
        point, change = stored
        asked = orjson.dumps({"ids": [point], "with_payload": ["revision"]})
        answer = orjson.loads(await self._http.call("POST", f"{self._path}/points", asked))
        assert answer["result"][0]["payload"]["revision"]["offset"] == change.revision.offset

    async def _upsert(self, one: bytes) -> None:
        await self._http.call("POST", f"{self._path}/points/batch?wait=true", one)

    async def _info(self) -> dict[str, Any]:
        answer = orjson.loads(await self._http.call("GET", self._path, b""))
        info: dict[str, Any] = answer["result"]
        return info

    def _cpu(self) -> float:
        return cpu_seconds(self._server.pid) if self._server.pid is not None else 0.0


async def measure(server: QdrantServer, stored: int, rounds: int) -> list[Result]:
    """Return a row for each size and kind of points, in a collection of so many users."""
    cells = [
        Cell(size, kind, form) for size in SIZES for kind in ("new", "existing") for form in FORMS
    ]
    wall: dict[Cell, list[float]] = defaultdict(list)
    cpu: dict[Cell, list[float]] = defaultdict(list)
    http = QdrantHttp(server.url, None)
    try:
        async with own_collection(server) as name:
            collection = Collection(server, http, name, stored)
            await collection.fill()
            for number in range(rounds + 1):
                turn = number % len(FORMS)
                for cell in sorted(cells, key=lambda c: (c.size, c.kind)):
                    # The form that begins is another one in each round.
                    forms = list(FORMS)
                    form = forms[(forms.index(cell.form) + turn) % len(forms)]
                    rotated = Cell(cell.size, cell.kind, form)
                    seconds, used = await collection.measure(rotated)
                    if number:
                        wall[rotated].append(seconds)
                        cpu[rotated].append(used)
    finally:
        await http.close()
    return [
        row(size, kind, stored, server.name, wall, cpu)
        for kind in ("new", "existing")
        for size in SIZES
    ]


def row(
    size: int,
    kind: str,
    stored: int,
    server: str,
    wall: Mapping[Cell, Sequence[float]],
    cpu: Mapping[Cell, Sequence[float]],
) -> Result:
    """Return the row of a size and kind: each form against none."""
    none = Cell(size, kind, "none")
    against = [
        f"{form} {ratios(wall[Cell(size, kind, form)], wall[none])}"
        for form in FORMS
        if form != "none"
    ]
    micros = [
        f"{form} {Figure.of(wall[cell]).median * 1e6:.0f} ({Figure.of(cpu[cell]).median * 1e6:.0f})"
        for form in FORMS
        for cell in (Cell(size, kind, form),)
    ]
    return Result(
        "guard",
        f"upsert of {size} {kind} points into {stored:,}, time by the form of the guard",
        "for comparison",
        ", ".join(against),
        True,
        f"µs a point (CPU of the server): {', '.join(micros)}; {server}",
    )


async def run(server: QdrantServer, sizes: Sequence[int], rounds: int) -> list[Result]:
    """Measure collections of several sizes, one after the other."""
    return [one for stored in sizes for one in await measure(server, stored, rounds)]


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    if lack := lacking_server():
        console.print(f"guard is left out: {lack}")
        return
    with running_server() as server:
        console.print(f"guard: {server.name}")
        report(uvloop.run(run(server, [2_000] if quick else [20_000, 200_000], 1 if quick else 5)))


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
