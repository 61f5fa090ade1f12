"""Clients that write down what they were promised, and hold the mesh to it.

Each user is written by one client, in versions 1, 2, 3, …, through user-service and, where there is
one, through another team's producer in turn; a deletion takes a version, too. What is
found has to be the last version that was acknowledged, or a later one that was only tried. While
all this goes on, nobody may see a user go back to an older version.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from foreign_producer import ForeignProducer

GONE = None
TENANTS = ("tenant-a", "tenant-b", "tenant-c")
_READS_AT_ONCE = 32
# Of the writes, where there is another producer.
_FOREIGN_SHARE = 0.3


@dataclass
class Line:
    """What is known of one user: the state after each version, and how far it got."""

    tenant: str
    user_id: str
    tried: list[int | None] = field(default_factory=list)
    acknowledged: int = 0
    seen: int = 0
    seen_gone: bool = False

    @property
    def allowed(self) -> set[int | None]:
        """The states that may be found once everything is worked off."""
        last = self.tried[self.acknowledged - 1] if self.acknowledged else GONE
        return {last, *self.tried[self.acknowledged :]}


class Ledger:
    """All clients' lines, over a user-service and an ai-gateway."""

    def __init__(
        self,
        users_url: str,
        gateway_url: str,
        http: aiohttp.ClientSession,
        tenants: Sequence[str] = TENANTS,
        foreign: ForeignProducer | None = None,
    ) -> None:
        self._users_url = users_url
        self._gateway_url = gateway_url
        self._http = http
        self._tenants = tenants
        self._foreign = foreign
        self.by_foreign = 0
        self.lines: list[Line] = []
        self.acknowledged = 0
        self.refused = 0
        self.reads = 0

    async def write(self, client: int, tenant: str, rng: random.Random, users: int = 400) -> None:
        """Write users until cancelled: again and again the same ones, now and then deleted."""
        own = [Line(tenant, f"u-{client}-{number}") for number in range(users)]
        self.lines += own
        while True:
            line = rng.choice(own)
            delete = bool(line.tried) and rng.random() < 0.1
            version = len(line.tried) + 1
            line.tried.append(GONE if delete else version)
            try:
                foreign = self._foreign if rng.random() < _FOREIGN_SHARE else None
                if foreign is None:
                    status = await self._send(line, version, delete=delete)
                else:
                    status = await self._send_past(foreign, line, version, delete=delete)
            except (aiohttp.ClientError, TimeoutError):
                status = 0
            if status == 202:
                line.acknowledged = version
                self.acknowledged += 1
            else:
                assert status in (0, 503), f"{status} for a write"
                self.refused += 1
                await asyncio.sleep(0.02)

    async def write_batches(
        self, client: int, tenant: str, rng: random.Random, users: int = 2000, batch: int = 250
    ) -> None:
        """Write users in batches until cancelled."""
        own = [Line(tenant, f"b-{client}-{number}") for number in range(users)]
        self.lines += own
        while True:
            lines = rng.sample(own, batch)
            for line in lines:
                line.tried.append(len(line.tried) + 1)
            try:
                foreign = self._foreign if rng.random() < _FOREIGN_SHARE else None
                if foreign is None:
                    taken = await self._send_batch(tenant, lines)
                else:
                    taken = await self._send_batch_past(foreign, tenant, lines)
            except (aiohttp.ClientError, TimeoutError):
                taken = []
            for line in taken:
                line.acknowledged = len(line.tried)
            self.acknowledged += len(taken)
            self.refused += len(lines) - len(taken)
            if not taken:
                await asyncio.sleep(0.05)

    async def watch(self, rng: random.Random) -> None:
        """Look at users until cancelled; fails where one goes back, or is another tenant's."""
        while True:
            await asyncio.sleep(0.002)
            if self.lines:
                line = rng.choice(self.lines)
                with suppress(aiohttp.ClientError, TimeoutError):
                    await self._look(line)

    @asynccontextmanager
    async def clients(
        self, count: int, rng: random.Random, users: int = 400
    ) -> AsyncIterator[None]:
        """Have so many clients write, and one look, for as long as the block lasts.

        Raises the AssertionError of whoever saw something wrong.
        """
        tenants = self._tenants
        tasks = [
            asyncio.create_task(
                self.write(n, tenants[n % len(tenants)], random.Random(rng.random()), users)
            )
            for n in range(count)
        ]
        tasks.append(asyncio.create_task(self.watch(random.Random(rng.random()))))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for one in ended:
            if isinstance(one, AssertionError):
                raise one

    async def settle(self, seconds: float) -> None:
        """Return once every user is what it has to be. Raises AssertionError after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                wrong, pause = self.lines, 0.2
                while wrong := await self._wrong(wrong):
                    await asyncio.sleep(pause)
                    # Looking costs the mesh, too: after a long run it has much to work off.
                    pause = min(10.0, pause * 1.5)
                assert not await self._wrong(self.lines), "a user changed after it was right"
                while await self._stored() != await self._live():
                    await asyncio.sleep(0.2)
        except TimeoutError:
            examples = [(one, await self._state(one)) for one in wrong[:3]]
            stored, live = await self._stored(), await self._live()
            raise AssertionError(
                f"{len(wrong)} of {len(self.lines)} users are wrong, such as {examples};"
                f" stored {stored}, live {live}"
            ) from None

    async def _wrong(self, lines: list[Line]) -> list[Line]:
        wrong = []
        for start in range(0, len(lines), _READS_AT_ONCE):
            some = lines[start : start + _READS_AT_ONCE]
            states = await asyncio.gather(*(self._state(line) for line in some))
            wrong += [line for line, s in zip(some, states, strict=True) if s not in line.allowed]
        return wrong

    async def _live(self) -> dict[str, int]:
        live = dict.fromkeys(self._tenants, 0)
        for line in self.lines:
            live[line.tenant] += await self._state(line) is not GONE
        return live

    async def _stored(self) -> dict[str, int]:
        stored = {}
        for tenant in self._tenants:
            url = f"{self._gateway_url}/tenants/self"
            async with self._http.get(url, headers={"X-Tenant-Id": tenant}) as answer:
                quotas = (await answer.json()).get("quotas", ())
            stored[tenant] = next(
                (int(quota["used"]) for quota in quotas if quota["name"] == "storedUsers"), -1
            )
        return stored

    async def _look(self, line: Line) -> None:
        version = await self._state(line)
        self.reads += 1
        if version is GONE:
            line.seen_gone = True
            return
        if version == -1:
            return
        back = version <= line.seen if line.seen_gone else version < line.seen
        assert not back, f"{line} went back to {version}"
        line.seen, line.seen_gone = version, False

    async def _state(self, line: Line) -> int | None:
        """The version that is found, GONE where there is none, -1 where nobody answers."""
        url = f"{self._gateway_url}/ai/users/{line.user_id}"
        try:
            async with self._http.get(url, headers={"X-Tenant-Id": line.tenant}) as answer:
                if answer.status == 404:
                    return GONE
                if answer.status == 503:
                    return -1
                assert answer.status == 200, await answer.text()
                user = await answer.json()
        except (aiohttp.ClientError, TimeoutError):
            return -1
        assert user["name"] == f"{line.tenant} {line.user_id}", f"{line} shows {user}"
        version: int = user["attributes"]["version"]
        return version

    async def _send_batch(self, tenant: str, lines: list[Line]) -> list[Line]:
        """Send the newest version of each; return those that were accepted."""
        url, headers = f"{self._users_url}/users:batch", {"X-Tenant-Id": tenant}
        users = [_user(line, len(line.tried)) | {"userId": line.user_id} for line in lines]
        async with self._http.post(url, headers=headers, json=users) as answer:
            if answer.status == 503:
                return []
            assert answer.status in (202, 207), await answer.text()
            results = (await answer.json())["results"]
        return [lines[one["index"]] for one in results if one["status"] == "accepted"]

    async def _send_batch_past(
        self, foreign: ForeignProducer, tenant: str, lines: list[Line]
    ) -> list[Line]:
        users = [_user(line, len(line.tried)) | {"userId": line.user_id} for line in lines]
        sent = zip(lines, await foreign.put(tenant, users), strict=True)
        taken = [line for line, acknowledged in sent if acknowledged]
        self.by_foreign += len(taken)
        return taken

    async def _send_past(
        self, foreign: ForeignProducer, line: Line, version: int, *, delete: bool
    ) -> int:
        if delete:
            taken = await foreign.delete(line.tenant, line.user_id)
        else:
            user = _user(line, version) | {"userId": line.user_id}
            (taken,) = await foreign.put(line.tenant, [user])
        self.by_foreign += taken
        return 202 if taken else 503

    async def _send(self, line: Line, version: int, *, delete: bool) -> int:
        url = f"{self._users_url}/users/{line.user_id}"
        headers = {"X-Tenant-Id": line.tenant}
        if delete:
            async with self._http.delete(url, headers=headers) as answer:
                return answer.status
        async with self._http.put(url, headers=headers, json=_user(line, version)) as answer:
            return answer.status


def _user(line: Line, version: int) -> dict[str, Any]:
    return {
        "name": f"{line.tenant} {line.user_id}",
        "email": f"{line.user_id}@example.com",
        "attributes": {"version": version},
    }
