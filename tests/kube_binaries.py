"""kube-apiserver, kubectl and etcd for tests, built by Go from their published modules.

    python tests/kube_binaries.py       builds them, once a version, and says how long that takes

Used where KUBEBUILDER_ASSETS names none. Needs Go; `missing()` says what is not there, or why the
last build failed. A build that fails is no error here: the tests that need it are skipped by name.
Modules come from where this machine's Go takes them, checked as it checks them.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cache import cache

KUBERNETES = "1.34.4"
ETCD = "3.6.5"
# What both of their go.mod files ask for.
GO = (1, 24)
_ENVIRONMENT = {
    "CGO_ENABLED": "0",
    # Neither another Go nor another workspace than what is here: no toolchain is fetched.
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
    "GOFLAGS": "-mod=mod -buildvcs=false",
}
_MAJOR, _MINOR, _PATCH = KUBERNETES.split(".")
# Without these the API server takes itself for v0.0.0-master, and reckons from that what it serves.
_STAMPS = {
    "k8s.io/component-base/version.gitVersion": f"v{KUBERNETES}",
    "k8s.io/component-base/version.gitMajor": _MAJOR,
    "k8s.io/component-base/version.gitMinor": _MINOR,
    "k8s.io/component-base/version.gitTreeState": "clean",
    "k8s.io/client-go/pkg/version.gitVersion": f"v{KUBERNETES}",
}


class NotBuilt(Exception):
    """Why there are no binaries, in one line."""


def built() -> Path | None:
    """The folder with the binaries, None where they have not been built."""
    folder = _folder()
    return folder if folder.exists() else None


def missing() -> str | None:
    """What this machine lacks to have the binaries, None where nothing keeps Go from building."""
    if built():
        return None
    if shutil.which("go") is None:
        return "go is not installed"
    if (version := _go_version()) < GO:
        return f"Go is {_dotted(version)}, and {_dotted(GO)} is needed"
    reason = _failure()
    return reason.read_text() if reason.exists() else None


def build() -> Path:
    """The folder with the binaries, built on first use; `NotBuilt` where that cannot be."""
    folder = _folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f"{folder.name}.lock")):
        if folder.exists():
            return folder
        # What the last attempt died of may be gone.
        _failure().unlink(missing_ok=True)
        if lack := missing():
            raise NotBuilt(lack)
        work = folder.with_name(f"{folder.name}.building")
        shutil.rmtree(work, ignore_errors=True)
        _say(f"Building Kubernetes' API server for tests into {folder}")
        _say("once: 4 minutes of two idle cores, and 3 GB in Go's own caches ...")
        started = time.monotonic()
        try:
            _build_kubernetes(work)
            _build_etcd(work)
            (work / "bin").rename(folder)
        except NotBuilt as error:
            _failure().write_text(str(error))
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
        _say(f"built in {time.monotonic() - started:.0f} s.")
    return folder


def _build_kubernetes(work: Path) -> None:
    """Build in a module of our own, as `go install` refuses a module that replaces others."""
    module, version = "k8s.io/kubernetes", f"v{KUBERNETES}"
    project = work / "kubernetes"
    _write_module(project)
    _say(f"  kube-apiserver and kubectl {KUBERNETES} ...")
    theirs = Path(_go(project, "list", "-m", "-f", "{{.GoMod}}", f"{module}@{version}"))
    # Its staging modules are folders to it; published, they are v0 where it is v1.
    staged = re.findall(r"^\s*(?:replace )?(\S+) => \./staging/", theirs.read_text(), re.MULTILINE)
    published = {name: f"v0.{_MINOR}.{_PATCH}" for name in staged}
    _write_module(project, {module: version}, published)
    stamps = " ".join(f"-X {name}={value}" for name, value in _STAMPS.items())
    commands = [f"{module}/cmd/{command}" for command in ("kube-apiserver", "kubectl")]
    _go_build(project, work / "bin", *commands, stamps=stamps)


def _build_etcd(work: Path) -> None:
    """Build in a module of its own too: together, each would raise what the other depends on."""
    module = "go.etcd.io/etcd/server/v3"
    project = work / "etcd"
    _write_module(project, {module: f"v{ETCD}"})
    _say(f"  etcd {ETCD} ...")
    _go_build(project, work / "bin" / "etcd", module)


def _write_module(
    project: Path, required: dict[str, str] | None = None, replaced: dict[str, str] | None = None
) -> None:
    project.mkdir(parents=True, exist_ok=True)
    lines = [
        "module event-mesh/binaries-for-tests",
        f"go {_dotted(GO)}.0",
        *(f"require {name} {version}" for name, version in (required or {}).items()),
        *(f"replace {name} => {name} {version}" for name, version in (replaced or {}).items()),
    ]
    (project / "go.mod").write_text("\n".join(lines) + "\n")


def _go_build(project: Path, output: Path, *packages: str, stamps: str = "") -> None:
    if len(packages) > 1:
        output.mkdir()
    flags = ["-trimpath", "-ldflags", f"-s -w {stamps}".strip(), "-o", str(output)]
    _go(project, "build", *flags, *packages)


def _go(project: Path, *arguments: str) -> str:
    environment = os.environ | _ENVIRONMENT  # noqa: TID251
    ran = subprocess.run(
        ["go", *arguments], cwd=project, env=environment, capture_output=True, text=True
    )
    if ran.returncode != 0:
        raise NotBuilt(f"go {arguments[0]} failed: {_last_word(ran.stderr)}")
    return ran.stdout.strip()


def _last_word(output: str) -> str:
    """The line that says why: the last one that is not about a download."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("go: downloading", "go: found"))]
    return telling[-1] if telling else "it does not say why"


def _go_version() -> tuple[int, ...]:
    environment = os.environ | _ENVIRONMENT  # noqa: TID251
    ran = subprocess.run(
        ["go", "env", "GOVERSION"], env=environment, capture_output=True, text=True
    )
    found = re.match(r"go(\d+)\.(\d+)", ran.stdout)
    # A Go without a number was built from its sources: newer than any release.
    return tuple(int(number) for number in found.groups()) if found else GO


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _folder() -> Path:
    return cache() / f"kubernetes-{KUBERNETES}-etcd-{ETCD}"


def _failure() -> Path:
    folder = _folder()
    return folder.with_name(f"{folder.name}.failed")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("Waiting for another run that builds Kubernetes' API server ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    try:
        build()
    except (NotBuilt, OSError) as error:
        print(f"No API server for tests here: {error} (KUBEBUILDER_ASSETS names a folder of one).")  # noqa: T201
