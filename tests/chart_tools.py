"""Both majors of Helm, helm-unittest and kubeconform: from the PATH, else built by Go, pinned.

    python tests/chart_tools.py [TOOL ...]     builds what is missing, once a version

`lack(tool)` says why there is none. A build that fails is no error here: the tests that need it are
skipped by name. Modules come from where this machine's Go takes them, checked as it checks them.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from functools import cache as once
from pathlib import Path

from cache import cache

HELMS = ("helm3", "helm4")
"""The majors of Helm that the charts work with."""
MODULES = {
    "helm3": ("helm.sh/helm/v3", "cmd/helm", "v3.22.0"),
    "helm4": ("helm.sh/helm/v4", "cmd/helm", "v4.3.2"),
    "helm-unittest": ("github.com/helm-unittest/helm-unittest", "cmd/helm-unittest", "v1.1.2"),
    "kubeconform": ("github.com/yannh/kubeconform", "cmd/kubeconform", "v0.8.0"),
}
# What they replace themselves, which Go heeds only in the module that it builds in.
_REPLACED = {
    "helm-unittest": "github.com/vmware-labs/yaml-jsonpath =>"
    " github.com/helm-unittest/yaml-jsonpath v0.4.0"
}
_ENVIRONMENT = {
    "CGO_ENABLED": "0",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
    "GOFLAGS": "-mod=mod -buildvcs=false",
}


def tool(name: str) -> Path | None:
    """Where a tool is, None where it is not."""
    ours = _folder(name) / _program(name)
    found = shutil.which(_program(name))
    if found and (name not in HELMS or _major(found) == name):
        return Path(found)
    return ours if ours.exists() else None


def lack(name: str) -> str | None:
    """Why a tool is not there, None where it is."""
    if tool(name):
        return None
    failure = _failure(name)
    if failure.exists():
        return f"no {name}: {failure.read_text()}"
    return f"no {name}: {'make test builds it' if shutil.which('go') else 'nor Go to build it'}"


def build(name: str) -> None:
    """Build a tool that is missing, and note why where that cannot be."""
    folder = _folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if tool(name) or shutil.which("go") is None:
            return
        sys.stderr.write(f"Building {name} for tests into {folder}, once ...\n")
        module, package, version = MODULES[name]
        # With a version of Go only what is needed of all that these require is looked at.
        lines = ["module event-mesh/tools-for-tests", "go 1.24.0", f"require {module} {version}"]
        lines += [f"replace {_REPLACED[name]}"] if name in _REPLACED else []
        (folder / "go.mod").write_text("\n".join(lines) + "\n")
        program = ["-o", _program(name), f"{module}/{package}"]
        command = ["go", "build", "-trimpath", "-ldflags=-s -w", *program]
        environment = os.environ | _ENVIRONMENT  # noqa: TID251
        ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if ran.returncode == 0:
            _failure(name).unlink(missing_ok=True)
        else:
            _failure(name).write_text(ran.stderr.strip().splitlines()[-1])


@once
def _major(program: str) -> str | None:
    """Which of HELMS a program on the PATH is."""
    ran = subprocess.run([program, "version", "--short"], capture_output=True, text=True)
    return f"helm{ran.stdout[1:2]}" if ran.stdout.startswith("v") else None


def _program(name: str) -> str:
    return "helm" if name in HELMS else name


def _folder(name: str) -> Path:
    return cache() / f"{_program(name)}-{MODULES[name][2]}"


def _failure(name: str) -> Path:
    return _folder(name) / "failed"


if __name__ == "__main__":
    for each in sys.argv[1:] or MODULES:
        build(each)
        if reason := lack(each):
            sys.stderr.write(f"{reason}. Tests that need it are skipped.\n")
