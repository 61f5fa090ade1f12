"""A replica that is told to stop serves on until its callers have gone over to another one."""

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from mesh_process import healthy, unlimited, write_tenant
from processes import Process, clean_environment, free_ports, installed
from waiting import eventually

CLIENTS = 8
TENANT = {"X-Tenant-Id": "tenant-a"}


@pytest.fixture
def service(tmp_path: Path) -> Process:
    """user-service on the embedded log, which drains for two seconds."""
    write_tenant(tmp_path / "tenants", unlimited("tenant-a"))
    port, admin = free_ports(2)
    environment = clean_environment(
        TENANTS=str(tmp_path / "tenants"),
        DATA_DIR=str(tmp_path / "data"),
        USER_SERVICE_PORT=str(port),
        ADMIN_PORT=str(admin),
        DRAIN_SECONDS="2",
        LOG_FORMAT="json",
    )
    return Process([installed("user-service")], environment, tmp_path / "log")


def address(service: Process, port: str) -> str:
    return f"http://127.0.0.1:{service.environment[f'MESH_{port}_PORT']}"


async def write_until_sent_away(service: Process, http: aiohttp.ClientSession) -> int:
    """Write users over one connection until an answer closes it; return how many were accepted."""
    url = f"{address(service, 'USER_SERVICE')}/users"
    accepted = 0
    while True:
        async with http.post(url, headers=TENANT, json={"name": "A", "email": "a@b.c"}) as answer:
            assert answer.status == 202, await answer.text()
            accepted += 1
            if answer.headers.get("Connection") == "close":
                return accepted


async def test_no_request_fails_while_a_replica_leaves(service: Process) -> None:
    service.spawn()
    try:
        connector = aiohttp.TCPConnector(limit=0)
        async with asyncio.timeout(25), aiohttp.ClientSession(connector=connector) as http:
            while not await healthy(http, address(service, "USER_SERVICE")):
                await asyncio.sleep(0.05)
            clients = [
                asyncio.create_task(write_until_sent_away(service, http)) for _ in range(CLIENTS)
            ]
            await asyncio.sleep(0.5)
            assert not any(client.done() for client in clients), "closed before it was to leave"
            os.kill(service.pid, signal.SIGTERM)
            accepted = await asyncio.gather(*clients)
            async with http.get(f"{address(service, 'ADMIN')}/readyz") as answer:
                assert answer.status == 503
                checks = (await answer.json())["checks"]
            assert checks["stopping"] == "this replica is being stopped"
        assert min(accepted) > 0
        await eventually(lambda: not service.running)
        assert service.stop() == 0
    finally:
        service.kill()
