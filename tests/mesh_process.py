"""A whole mesh as a process of its own, for tests that kill things."""

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import yaml

from builders import tenant_document
from processes import Process, clean_environment, free_ports, installed

START_SECONDS = 30


def free_admin_port() -> int:
    """A port that is free together with the one ten above it."""
    while True:
        (port,) = free_ports(1)
        with socket.socket() as other:
            try:
                other.bind(("127.0.0.1", port + 10))
            except OSError:
                continue
            return port


def unlimited(name: str) -> dict[str, Any]:
    """The document of a tenant that nothing holds back."""
    rates = [{"name": n, "unlimited": True} for n in ("users.write", "users.search")]
    quotas = [{"name": n, "unlimited": True} for n in ("storedUsers", "eventsPerDay")]
    return tenant_document(name, rateLimits=rates, quotas=quotas)


def write_tenant(folder: Path, document: dict[str, Any]) -> None:
    """Save a tenant's file, as an editor would."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{document['metadata']['name']}.yaml"
    draft = path.with_suffix(".tmp")
    draft.write_text(yaml.safe_dump(document))
    draft.replace(path)


async def healthy(http: aiohttp.ClientSession, url: str) -> bool:
    """Whether the service at `url` answers."""
    try:
        async with http.get(f"{url}/health") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


class MeshProcess(Process):
    """`mesh up` in a folder of its own: started, killed, started again on the same data."""

    def __init__(self, folder: Path, *tenants: dict[str, Any], **settings: str) -> None:
        self.folder = folder
        self.tenants = folder / "tenants"
        self.tenants.mkdir(exist_ok=True)
        for tenant in tenants:
            self.write_tenant(tenant)
        users, gateway = free_ports(2)
        self.admin_port = free_admin_port()
        self.users_url = f"http://127.0.0.1:{users}"
        self.gateway_url = f"http://127.0.0.1:{gateway}"
        environment = clean_environment(
            DATA_DIR=str(folder / "data"),
            TENANTS=str(self.tenants),
            USER_SERVICE_PORT=str(users),
            AI_GATEWAY_PORT=str(gateway),
            ADMIN_PORT=str(self.admin_port),
            LOG_FORMAT="json",
            **settings,
        )
        super().__init__([installed("mesh"), "up"], environment, folder / "mesh.log")

    def write_tenant(self, document: dict[str, Any]) -> None:
        """Save a tenant's file, as an editor would."""
        write_tenant(self.tenants, document)

    async def start(self, http: aiohttp.ClientSession) -> None:
        """Start it and wait until both services answer."""
        self.spawn()
        async with asyncio.timeout(START_SECONDS):
            for url in (self.users_url, self.gateway_url):
                while not await healthy(http, url):
                    if not self.running:
                        raise AssertionError(f"the mesh ended: {self.log.read_text()[-2000:]}")
                    await asyncio.sleep(0.02)

    def engine_pid(self) -> int | None:
        """The process id of the vector engine, None while there is none."""
        children = psutil.Process(self.pid).children(recursive=True)
        return children[0].pid if children else None

    def kill_engine(self) -> bool:
        """kill -9 the vector engine alone; returns whether there was one."""
        pid = self.engine_pid()
        if pid is None:
            return False
        os.kill(pid, signal.SIGKILL)
        return True
