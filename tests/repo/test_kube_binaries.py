"""The API server for tests is built once, whole or not at all, and says why where it is not."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import kube_api
import kube_binaries
from kube_binaries import NotBuilt

# Stands in for Go: it notes what it is asked, and what it "builds" are empty files.
_GO = """#!/bin/sh
cd "$(dirname "$0")" || exit 1
echo "$1" >> asked
case $1 in
env) cat version ;;
list) echo "$PWD/theirs.mod" ;;
build)
  cp "$OLDPWD/go.mod" "built-with-$(basename "$OLDPWD").mod"
  [ ! -e refuse ] || { printf 'main.go:1: no such thing\\ngo: downloading x v1\\n' >&2; exit 1; }
  while [ "$1" != -o ]; do shift; done
  if [ -d "$2" ]; then touch "$2/kube-apiserver" "$2/kubectl"; else touch "$2"; fi ;;
esac
"""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a Go that builds at once, on a machine with an empty cache."""
    folder = tmp_path / "go"
    folder.mkdir()
    (folder / "go").write_text(_GO)
    (folder / "go").chmod(0o755)
    (folder / "version").write_text("go1.25.3\n")
    (folder / "theirs.mod").write_text(
        "replace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n\tx.io/y => x.io/z v1.2.3\n)\n"
    )
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return folder


def asked(go: Path, command: str) -> int:
    return (go / "asked").read_text().split().count(command)


def test_built_binaries_are_those_that_tests_take(go: Path) -> None:
    folder = kube_binaries.build()
    assert kube_api.assets() == folder
    assert kube_api.missing() is None
    assert {file.name for file in folder.iterdir()} == {"etcd", "kube-apiserver", "kubectl"}


def test_named_binaries_go_before_built_ones(go: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kube_binaries.build()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", "/named")
    assert kube_api.assets() == Path("/named")


def test_modules_are_pinned_and_staging_ones_are_the_published(go: Path) -> None:
    kube_binaries.build()
    module = (go / "built-with-kubernetes.mod").read_text()
    assert f"require k8s.io/kubernetes v{kube_binaries.KUBERNETES}\n" in module
    staged = f"v0{kube_binaries.KUBERNETES.removeprefix('1')}"
    assert [line for line in module.splitlines() if line.startswith("replace")] == [
        f"replace k8s.io/api => k8s.io/api {staged}"
    ]


def test_two_runs_at_once_build_once(go: Path) -> None:
    with ThreadPoolExecutor() as threads:
        one, other = (threads.submit(kube_binaries.build) for _ in range(2))
    assert one.result() == other.result()
    assert asked(go, "build") == 2  # Kubernetes and etcd


def test_build_that_fails_leaves_nothing_but_the_reason(go: Path) -> None:
    (go / "refuse").touch()
    with pytest.raises(NotBuilt):
        kube_binaries.build()
    assert kube_api.assets() is None
    assert kube_api.missing() == (
        "KUBEBUILDER_ASSETS is not set, and go build failed: main.go:1: no such thing"
    )
    assert [file for file in (go.parent / "cache").glob("*/*") if file.is_dir()] == []


def test_build_that_failed_is_tried_again(go: Path) -> None:
    (go / "refuse").touch()
    with pytest.raises(NotBuilt):
        kube_binaries.build()
    (go / "refuse").unlink()
    assert kube_binaries.build() == kube_api.assets()


def test_older_go_is_told_its_version_and_asked_nothing_else(go: Path) -> None:
    (go / "version").write_text("go1.19.8\n")
    with pytest.raises(NotBuilt, match=r"^Go is 1\.19, and 1\.24 is needed$"):
        kube_binaries.build()
    assert asked(go, "list") == asked(go, "build") == 0


def test_without_go_that_is_the_reason(go: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(go / "nothing"))
    assert kube_api.missing() == "KUBEBUILDER_ASSETS is not set, and go is not installed"
