"""A whole mesh as a process of its own, for tests that kill things."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import yaml

from builders import tenant_document

START_SECONDS = 30


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


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
    return tenant_document(name, rateLimits=rates)


class MeshProcess:
    """`mesh up` in a folder of its own: started, killed, started again on the same data."""

    def __init__(self, folder: Path, *tenants: dict[str, Any]) -> None:
        self.folder = folder
        self.tenants = folder / "tenants"
        self.tenants.mkdir(exist_ok=True)
        for tenant in tenants:
            self.write_tenant(tenant)
        users, gateway = free_ports(2)
        self.admin_port = free_admin_port()
        self.users_url = f"http://127.0.0.1:{users}"
        self.gateway_url = f"http://127.0.0.1:{gateway}"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("MESH_")},  # noqa: TID251
            "MESH_DATA_DIR": str(folder / "data"),
            "MESH_TENANTS": str(self.tenants),
            "MESH_USER_SERVICE_PORT": str(users),
            "MESH_AI_GATEWAY_PORT": str(gateway),
            "MESH_ADMIN_PORT": str(self.admin_port),
            "MESH_LOG_FORMAT": "json",
        }
        self.log = folder / "mesh.log"
        self._process: subprocess.Popen[bytes] | None = None

    def write_tenant(self, document: dict[str, Any]) -> None:
        """Save a tenant's file, as an editor would."""
        path = self.tenants / f"{document['metadata']['name']}.yaml"
        draft = path.with_suffix(".tmp")
        draft.write_text(yaml.safe_dump(document))
        draft.replace(path)

    @property
    def command(self) -> list[str]:
        """How the mesh is started."""
        return [str(Path(sys.executable).with_name("mesh")), "up"]

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it, without waiting."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self._process

    async def start(self, http: aiohttp.ClientSession) -> None:
        """Start it and wait until both services answer."""
        process = self.spawn()
        async with asyncio.timeout(START_SECONDS):
            for url in (self.users_url, self.gateway_url):
                while not await self.healthy(http, url):
                    if process.poll() is not None:
                        raise AssertionError(f"the mesh ended: {self.log.read_text()[-2000:]}")
                    await asyncio.sleep(0.02)

    async def healthy(self, http: aiohttp.ClientSession, url: str) -> bool:
        """Whether the service at `url` answers."""
        try:
            async with http.get(f"{url}/health") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    def engine_pid(self) -> int | None:
        """The process id of the vector engine, None while there is none."""
        assert self._process is not None
        children = psutil.Process(self._process.pid).children(recursive=True)
        return children[0].pid if children else None

    def kill_engine(self) -> bool:
        """kill -9 the vector engine alone; returns whether there was one."""
        pid = self.engine_pid()
        if pid is None:
            return False
        os.kill(pid, signal.SIGKILL)
        return True

    def kill(self) -> None:
        """kill -9 the whole tree."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """Ask it to stop, as Ctrl-C does, and return its exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
