"""Services as processes with their tenants from an API server."""

import socket
from pathlib import Path

from kube_api import KubeApi
from mesh_process import free_admin_port
from processes import Process, clean_environment, free_ports, installed

LEASE_SECONDS = 3


class Replica(Process):
    """A service that takes its tenants from a namespace."""

    def __init__(
        self, api: KubeApi, namespace: str, folder: Path, *command: str, **settings: str
    ) -> None:
        folder.mkdir()
        users, gateway = free_ports(2)
        self.admin_port = free_admin_port()
        self.users_url = f"http://127.0.0.1:{users}"
        self.gateway_url = f"http://127.0.0.1:{gateway}"
        given = {"DATA_DIR": str(folder / "data")} | settings
        environment = clean_environment(
            TENANTS=f"kubernetes:{namespace}",
            USER_SERVICE_PORT=str(users),
            AI_GATEWAY_PORT=str(gateway),
            ADMIN_PORT=str(self.admin_port),
            MEMBER_LEASE_SECONDS=str(LEASE_SECONDS),
            LOG_FORMAT="json",
            **given,
        )
        environment["KUBECONFIG"] = str(api.kubeconfig)
        service, *arguments = command
        super().__init__([installed(service), *arguments], environment, folder / "log")

    @property
    def identity(self) -> str:
        """Who it is among the members."""
        return f"{socket.gethostname()}-{self.admin_port}"
