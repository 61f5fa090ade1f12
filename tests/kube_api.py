"""A Kubernetes API server for tests: etcd and kube-apiserver as processes here, nothing else.

No kubelet and no controllers: objects are stored, checked, watched and refused as in a cluster, and
nothing happens to them by itself. The binaries are those of KUBEBUILDER_ASSETS, else those that
kube_binaries.py has built.
"""

import json
import os
import shutil
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
# Who may nothing that no role says.
USERS = ("guest", "operator", "member")
CRDS = Path(__file__).parents[1] / "charts/tenant-operator/files/crds"


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
def serving(folder: Path, *, crds: bool = True) -> "Iterator[KubeApi]":
    """An API server that knows our kinds, unless it is not to. Skips the test where this machine
    has none."""
    if lack := missing():
        pytest.skip(f"no API server: {lack}")
    api = KubeApi(folder)
    try:
        api.start()
        if crds:
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
        self._cache = folder / "kubectl"
        folder.mkdir(parents=True, exist_ok=True)
        others = "".join(f"{_token(user)},{user},{user}\n" for user in USERS)
        (folder / "tokens.csv").write_text(f"{TOKEN},tests,tests,system:masters\n{others}")
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (folder / "accounts.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        for user in ("tests", *USERS):
            self.kubeconfig_of(user).write_text(yaml.safe_dump(_kubeconfig(self.url, user)))
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

    def kubeconfig_of(self, user: str) -> Path:
        """The kubeconfig in which somebody else than the master is the current context."""
        return self.kubeconfig if user == "tests" else self.kubeconfig.with_suffix(f".{user}")

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
        applied = self.kubectl("apply", "-f", str(CRDS))
        assert applied.returncode == 0, applied.stderr
        for crd in CRDS.glob("*.yaml"):
            name = f"crd/{crd.stem}.mesh.distributedai.io"
            waited = self.kubectl("wait", name, "--for=condition=Established", "--timeout=30s")
            assert waited.returncode == 0, waited.stderr
        # Established is not yet listed: kubectl would remember for hours what is missing now.
        deadline = time.monotonic() + START_SECONDS
        while not self._lists_kinds():
            assert time.monotonic() < deadline, "the kinds are not listed"
            time.sleep(0.05)

    def connection(self, namespace: str = "default", user: str = "tests") -> KubeConnection:
        """How to reach it, as its master or as somebody else."""
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE

        async def token() -> str:
            return TOKEN if user == "tests" else _token(user)

        return KubeConnection(self.url, tls, namespace, token)

    def kubectl(
        self, *arguments: str, text: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run kubectl; `text` goes to its standard input."""
        options = (f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self._cache}")
        command = [self._kubectl, *options, *arguments]
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)

    def apply(self, document: dict[str, Any]) -> "subprocess.CompletedProcess[str]":
        """`kubectl apply` of one object."""
        return self.kubectl("apply", "-f", "-", text=json.dumps(document))

    def _lists_kinds(self) -> bool:
        shutil.rmtree(self._cache, ignore_errors=True)
        return all(self.kubectl("explain", p.stem).returncode == 0 for p in CRDS.glob("*.yaml"))

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


def _token(user: str) -> str:
    return f"token-of-{user}"


def _kubeconfig(url: str, current: str) -> dict[str, Any]:
    """The users besides the master may nothing that no role says."""
    tokens = {"tests": TOKEN} | {user: _token(user) for user in USERS}
    cluster = {"server": url, "insecure-skip-tls-verify": True}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}} for name, token in tokens.items()],
        "contexts": [
            {"name": name, "context": {"cluster": "tests", "user": name}} for name in tokens
        ],
        "current-context": current,
    }
