"""A process under the flood of one tenant: it is refused beyond its place, and only it is."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mesh_process import MeshProcess, unlimited
from meshkit.events.log import Position
from meshkit.events.position import PositionSealer
from meshkit.tenancy.directory import DirectoryTenantSource

MOST, FLOOD = 16, 120
ROUNDS = 150


class Flood:
    """Searches of tenant A that each wait for a write that never comes, as many as it can."""

    def __init__(self, mesh: MeshProcess, after: str) -> None:
        self._url = f"{mesh.gateway_url}/ai/users/search"
        self._query = {"tenant_id": "tenant-a", "query": "a", "after": after}
        self.answers: Counter[str] = Counter()
        self.problems: list[dict[str, Any]] = []

    async def run(self, http: aiohttp.ClientSession) -> None:
        while True:
            async with http.get(self._url, params=self._query) as answer:
                body = await answer.json()
            self.answers[f"{answer.status} {body.get('code', '')}".strip()] += 1
            if answer.status != 200:
                assert 1 <= int(answer.headers["retry-after"]) <= 3
                self.problems.append(body)
                await asyncio.sleep(0.01)


async def position_that_never_comes(mesh: MeshProcess, folder: Path) -> str:
    """Return a place of tenant A that the log will not reach while the test runs."""
    key = (folder / "data" / "position.key").read_bytes()
    async with DirectoryTenantSource(mesh.tenants) as tenants:
        policy = tenants.get("tenant-a")
    assert policy is not None
    return PositionSealer(key).seal(policy.context, "nobody", Position(0, 1 << 40))


@pytest.mark.timeout(120)
async def test_flood_of_one_tenant_turns_no_request_of_another_into_a_503(tmp_path: Path) -> None:
    mesh = MeshProcess(
        tmp_path,
        unlimited("tenant-a"),
        unlimited("tenant-b"),
        REQUESTS_MOST=str(MOST),
        AFTER_TIMEOUT_SECONDS="3",
    )
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        await mesh.start(http)
        try:
            flood = Flood(mesh, await position_that_never_comes(mesh, tmp_path))
            floods = [asyncio.create_task(flood.run(http)) for _ in range(FLOOD)]
            async with asyncio.timeout(30):
                while len(flood.problems) < FLOOD:
                    await asyncio.sleep(0.01)
            quiet: Counter[int] = Counter()
            for number in range(ROUNDS):
                for status in await asyncio.gather(
                    _search(http, mesh, "tenant-b"),
                    _search(http, mesh, "tenant-b"),
                    _create(http, mesh, "tenant-b", number),
                    _ready(http, mesh.admin_port),
                    _ready(http, mesh.admin_port + 10),
                    # Without a tenant there is no place to hold.
                    _search(http, mesh, None),
                ):
                    quiet[status] += 1
            assert quiet == {200: 4 * ROUNDS, 202: ROUNDS, 401: ROUNDS}
            async with http.get(f"http://127.0.0.1:{mesh.admin_port}/metrics") as answer:
                metrics = await answer.text()
            assert "mesh_http_overloaded_total 0.0" not in metrics
            for task in floods:
                assert not task.done()
                task.cancel()
            await asyncio.gather(*floods, return_exceptions=True)
            assert set(flood.answers) <= {"503 overloaded", "200"}
            async with asyncio.timeout(30):
                while await _search(http, mesh, "tenant-a") != 200:
                    await asyncio.sleep(0.05)
        finally:
            assert mesh.stop() == 0


@pytest.mark.timeout(60)
async def test_strangers_connections_leave_room_for_tenants_and_for_the_admin_port(
    tmp_path: Path,
) -> None:
    mesh = MeshProcess(tmp_path, unlimited("tenant-b"))
    # As few files as a careless machine gives: less than strangers open.
    mesh.command = ["bash", "-c", 'ulimit -n 700; exec "$0" "$@"', *mesh.command]
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(force_close=True)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        await mesh.start(http)
        try:
            host, port = mesh.gateway_url.removeprefix("http://").split(":")
            for number in range(900):
                _, writer = await asyncio.open_connection(host, int(port))
                stack.callback(writer.close)
                # Half a head, or nothing at all.
                writer.write(b"GET /health HTTP/1.1\r\nHost:" if number % 2 else b"")
            for number in range(20):
                assert await _search(http, mesh, "tenant-b") == 200
                assert await _create(http, mesh, "tenant-b", number) == 202
                assert await _ready(http, mesh.admin_port) == 200
                assert await _ready(http, mesh.admin_port + 10) == 200
        finally:
            assert mesh.stop() == 0


@pytest.mark.timeout(60)
async def test_head_without_an_end_is_cut_off(tmp_path: Path) -> None:
    mesh = MeshProcess(tmp_path, unlimited("tenant-b"))
    async with aiohttp.ClientSession() as http:
        await mesh.start(http)
        try:
            host, port = mesh.gateway_url.removeprefix("http://").split(":")
            for piece in (b"x" * 1024, b"\r\nX-More: " + b"y" * 1000):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(b"GET /health HTTP/1.1\r\nX-Long: ")
                with suppress(ConnectionError):
                    for _ in range(10_000):
                        writer.write(piece)
                        await writer.drain()
                with suppress(ConnectionError):
                    answer = await reader.read()
                    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
                assert writer.transport.is_closing()
                writer.close()
            assert await _search(http, mesh, "tenant-b") == 200
        finally:
            assert mesh.stop() == 0


async def _search(http: aiohttp.ClientSession, mesh: MeshProcess, tenant: str | None) -> int:
    query = {"query": "b"} | ({"tenant_id": tenant} if tenant else {})
    async with http.get(f"{mesh.gateway_url}/ai/users/search", params=query) as answer:
        await answer.read()
        return answer.status


async def _create(http: aiohttp.ClientSession, mesh: MeshProcess, tenant: str, number: int) -> int:
    user = {"name": "Bob", "email": "bob@example.com", "userId": f"u{number}"}
    headers = {"X-Tenant-Id": tenant}
    async with http.post(f"{mesh.users_url}/users", headers=headers, json=user) as answer:
        await answer.read()
        return answer.status


async def _ready(http: aiohttp.ClientSession, port: int) -> int:
    async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
        await answer.read()
        return answer.status
