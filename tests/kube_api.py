"""A Kubernetes API server for tests: etcd and kube-apiserver as processes here, nothing else.

No kubelet and no controllers: objects are stored, checked, watched and refused as in a cluster, and
nothing happens to them by itself. The binaries are those of KUBEBUILDER_ASSETS, else those that
kube_binaries.py has built.
"""

import json
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import kube_binaries
from meshkit.kube.connection import KubeConnection
from processes import Process, clean_environment, free_ports

START_SECONDS = 60
TOKEN = "tests-are-masters"
_CRDS = Path(__file__).parents[1] / "charts/tenant-operator/files/crds"


def assets() -> Path | None:
    """Where the binaries are, None where there are none."""
    given = os.environ.get("KUBEBUILDER_ASSETS")  # noqa: TID251
    return Path(given) if given else kube_binaries.built()


def missing() -> str | None:
    """What this machine lacks to run an API server, None where it can."""
    if assets() is not None:
        return None
    return f"KUBEBUILDER_ASSETS is not set, and {kube_binaries.missing() or 'make test builds it'}"


@contextmanager
def serving(folder: Path) -> "Iterator[KubeApi]":
    """An API server that knows our kinds. Skips the test where this machine has none."""
    if lack := missing():
        pytest.skip(f"no API server: {lack}")
    api = KubeApi(folder)
    try:
        api.start()
        api.install_crds()
        yield api
    finally:
        api.stop()


class KubeApi:
    """One API server with its data in `folder`. Data survives `kill`."""

    def __init__(self, folder: Path) -> None:
        binaries = assets()
        assert binaries is not None, missing()
        self._kubectl = str(binaries / "kubectl")
        client, peer, self.port = free_ports(3)
        self.url = f"https://127.0.0.1:{self.port}"
        self.kubeconfig = folder / "kubeconfig"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokens.csv").write_text(f"{TOKEN},tests,tests,system:masters\n")
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (folder / "accounts.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        self.kubeconfig.write_text(yaml.safe_dump(_kubeconfig(self.url)))
        etcd = f"http://127.0.0.1:{client}"
        self.etcd = Process(
            [
                str(binaries / "etcd"),
                f"--data-dir={folder / 'etcd'}",
                f"--listen-client-urls={etcd}",
                f"--advertise-client-urls={etcd}",
                f"--listen-peer-urls=http://127.0.0.1:{peer}",
                f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
                f"--initial-cluster=default=http://127.0.0.1:{peer}",
                "--unsafe-no-fsync",
            ],
            clean_environment(),
            folder / "etcd.log",
        )
        self.server = Process(
            [
                str(binaries / "kube-apiserver"),
                f"--etcd-servers={etcd}",
                f"--cert-dir={folder / 'certificates'}",
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                f"--secure-port={self.port}",
                f"--token-auth-file={folder / 'tokens.csv'}",
                "--authorization-mode=RBAC",
                f"--service-account-key-file={folder / 'accounts.pem'}",
                f"--service-account-signing-key-file={folder / 'accounts.pem'}",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-cluster-ip-range=10.0.0.0/24",
                # Nobody makes the default service account here.
                "--disable-admission-plugins=ServiceAccount",
                "--watch-cache=true",
            ],
            clean_environment(),
            folder / "apiserver.log",
        )

    def start(self) -> None:
        """Start both and wait until requests are answered."""
        if not self.etcd.running:
            self.etcd.spawn()
        self.server.spawn()
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if not self.server.running or time.monotonic() > deadline:
                raise AssertionError(f"no API server: {self.server.log.read_text()[-2000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Kill both: their data is of no use to anybody."""
        self.server.kill()
        self.etcd.kill()

    def install_crds(self) -> None:
        """Apply our CRDs and wait until their kinds are served."""
        applied = self.kubectl("apply", "-f", str(_CRDS))
        assert applied.returncode == 0, applied.stderr
        for crd in _CRDS.glob("*.yaml"):
            name = f"crd/{crd.stem}.mesh.distributedai.io"
            waited = self.kubectl("wait", name, "--for=condition=Established", "--timeout=30s")
            assert waited.returncode == 0, waited.stderr

    def connection(self, namespace: str = "default") -> KubeConnection:
        """How to reach it, as its master."""
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE

        async def token() -> str:
            return TOKEN

        return KubeConnection(self.url, tls, namespace, token)

    def kubectl(
        self, *arguments: str, text: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run kubectl; `text` goes to its standard input."""
        command = [self._kubectl, f"--kubeconfig={self.kubeconfig}", *arguments]
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)

    def apply(self, document: dict[str, Any]) -> "subprocess.CompletedProcess[str]":
        """`kubectl apply` of one object."""
        return self.kubectl("apply", "-f", "-", text=json.dumps(document))

    def _ready(self) -> bool:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/readyz", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=2, context=context):  # noqa: S310
                return True
        except (OSError, urllib.error.URLError):
            return False


def _kubeconfig(url: str) -> dict[str, Any]:
    cluster = {"server": url, "insecure-skip-tls-verify": True}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "tests", "user": {"token": TOKEN}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        "current-context": "tests",
    }
