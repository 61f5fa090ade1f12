"""A cluster with the mesh in it, for tests/e2e: kubectl, and the Services from outside.

Tests kill pods and delete tenants, so they name their context in every call and never take the one
that kubectl happens to point at: `kind-event-mesh`, or what MESH_E2E_CONTEXT says.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml

DISPOSABLE = "kind-event-mesh"
NAMESPACE = "event-mesh"
RELEASE = "mesh"
USERS_PORT, GATEWAY_PORT = 30081, 30090
_CALL_SECONDS = 300

MakeTenant = Callable[..., Awaitable[str]]
"""Makes a tenant with what is said in its spec, waits until it is Ready, and returns its name."""


class KubectlError(Exception):
    """kubectl, or helm, ended with a failure; the message is what it said."""


@dataclass(frozen=True)
class Cluster:
    """A context of kubectl, and the namespace of the mesh in it."""

    context: str
    namespace: str = NAMESPACE

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Call kubectl and return what it prints. Raises KubectlError."""
        place = ("--context", self.context, "--namespace", self.namespace)
        return _called(["kubectl", *place, *arguments], stdin)

    async def call(self, *arguments: str) -> str:
        """Call kubectl while the loop goes on. Raises KubectlError."""
        return await asyncio.to_thread(self.kubectl, *arguments)

    async def helm(self, *arguments: str, program: str = "helm") -> str:
        """Call helm while the loop goes on. Raises KubectlError."""
        place = ("--kube-context", self.context, "--namespace", self.namespace)
        return await asyncio.to_thread(_called, [program, *place, *arguments], None)

    def get(self, *arguments: str) -> Any:
        """Return objects as the API server has them. Raises KubectlError."""
        return json.loads(self.kubectl("get", "-o", "json", *arguments))

    def selector(self, workload: str) -> str:
        """Return what selects the pods of a workload, such as `deployment/mesh-user-service`."""
        labels = self.get(workload)["spec"]["selector"]["matchLabels"]
        return ",".join(f"{name}={value}" for name, value in labels.items())

    def apply(self, *documents: dict[str, Any]) -> None:
        """Apply objects. Raises KubectlError."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))


@contextmanager
def port_forward(cluster: Cluster, target: str, port: int) -> Iterator[str]:
    """Forward a free port to one pod of `target` while the block lasts, and give its URL. Raises
    KubectlError where kubectl ends instead."""
    place = ("--context", cluster.context, "--namespace", cluster.namespace)
    command = ["kubectl", *place, "port-forward", target, f":{port}"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as forward:
        assert forward.stdout is not None
        try:
            line = forward.stdout.readline()
            found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) ", line)
            if found is None:
                raise KubectlError(line + forward.stdout.read())
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            forward.terminate()


def e2e_context() -> str:
    """The context that these tests may do anything to."""
    return os.environ.get("MESH_E2E_CONTEXT") or DISPOSABLE  # noqa: TID251


def current_context() -> str | None:
    """The context that kubectl points at, None where there is none."""
    try:
        return _called(["kubectl", "config", "current-context"], None).strip()
    except KubectlError:
        return None


def lack(context: str) -> str | None:
    """Why there is no mesh to be tested in this context; None where there is."""
    if shutil.which("kubectl") is None:
        return "kubectl is not on the PATH"
    try:
        Cluster(context).kubectl("--request-timeout=10s", "get", f"service/{RELEASE}-user-service")
    except KubectlError as error:
        return f"no mesh in the context {context} (make cluster-up): {error}"
    return None


def refusal(context: str, current: str | None) -> str | None:
    """Why `make e2e` is not to run; None where it may."""
    if "MESH_E2E_CONTEXT" in os.environ or current in (None, context):  # noqa: TID251
        return lack(context)
    return (
        f"kubectl points at {current}, and these tests kill pods and delete tenants. Point it at a"
        f" cluster of make cluster-up (kubectl config use-context {DISPOSABLE}), or name one that"
        " may be taken apart with MESH_E2E_CONTEXT"
    )


def _called(command: Sequence[str], stdin: str | None) -> str:
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=_CALL_SECONDS
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise KubectlError(str(error)) from None
    if done.returncode:
        raise KubectlError(f"{' '.join(command[5:])}: {(done.stdout + done.stderr).strip()}")
    return done.stdout


if __name__ == "__main__":
    if problem := refusal(e2e_context(), current_context()):
        sys.exit(f"error: {problem}")
