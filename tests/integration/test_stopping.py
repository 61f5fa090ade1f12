"""A stop is a matter of seconds, whoever does not answer."""

import asyncio
import random
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from engine_mesh import under_load
from mesh_process import unlimited, write_tenant
from processes import Process, clean_environment, free_ports, installed
from waiting import eventually

COMMANDS = ["ai-gateway-indexer", "ai-gateway", "user-service"]


@pytest.fixture
def silent() -> Iterator[list[int]]:
    """Two ports that take connections and never answer."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
            one.listen(100)
        yield [one.getsockname()[1] for one in sockets]


@pytest.mark.parametrize("command", COMMANDS)
async def test_stop_does_not_wait_for_engines_that_never_answer(
    command: str, silent: list[int], tmp_path: Path
) -> None:
    kafka, qdrant = silent
    write_tenant(tmp_path / "tenants", unlimited("tenant-a"))
    port, admin = free_ports(2)
    settings = {
        "TENANTS": str(tmp_path / "tenants"),
        "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{kafka}",
        "QDRANT_URL": f"http://127.0.0.1:{qdrant}",
        "USER_SERVICE_PORT": str(port),
        "AI_GATEWAY_PORT": str(port),
        "ADMIN_PORT": str(admin),
        "POSITION_KEY": "A" * 43 + "=",
        "LOG_FORMAT": "json",
    }
    log = tmp_path / "log"
    process = Process([installed(command)], clean_environment(**settings), log)
    process.spawn()
    try:
        await eventually(lambda: "tenant_policies_changed" in log.read_text())
        # Long enough to be in the middle of asking.
        await asyncio.sleep(1)
        assert await asyncio.to_thread(process.stop) == 0
    finally:
        process.kill()


@pytest.mark.timeout(480)
async def test_indexer_stops_while_the_brokers_hang(tmp_path: Path) -> None:
    async with under_load(tmp_path, random.Random(11)) as (mesh, ledger):
        await eventually(lambda: ledger.acknowledged > 200)
        mesh.broker.signal(signal.SIGSTOP)
        await asyncio.sleep(1)
        leaving = mesh.services["indexer-0"]
        assert await asyncio.to_thread(leaving.stop) == 0
        mesh.broker.signal(signal.SIGCONT)
        leaving.spawn()


async def test_process_that_is_aborted_tells_where_it_was(tmp_path: Path) -> None:
    """Also one that answers nothing, whatever holds it: no Python code runs for that."""
    write_tenant(tmp_path / "tenants", unlimited("tenant-a"))
    port, admin = free_ports(2)
    settings = {
        "TENANTS": str(tmp_path / "tenants"),
        "DATA_DIR": str(tmp_path / "data"),
        "USER_SERVICE_PORT": str(port),
        "ADMIN_PORT": str(admin),
    }
    process = Process([installed("user-service")], clean_environment(**settings), tmp_path / "log")
    process.spawn()
    try:
        await eventually(lambda: "tenant_policies_changed" in process.log.read_text())
        process.send(signal.SIGABRT)
        await eventually(lambda: not process.running)
        assert "Fatal Python error: Aborted" in process.log.read_text()
        assert "runtime.py" in process.log.read_text()
    finally:
        process.kill()
