"""`make up`, for real: Tilt brings the mesh up on kind, and a saved file runs in the pods that are
there. On a copy of the repository, because files of it are edited."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cluster import DISPOSABLE, Cluster
from processes import Process, clean_environment

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]
USERS_URL, GATEWAY_URL = "http://127.0.0.1:8081", "http://127.0.0.1:8090"
SHARED = "services/meshkit/src/meshkit/web/openapi.py"
READY_SECONDS = 420
SAVED_SECONDS = 60


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout as it is now, without what Git ignores, elsewhere."""
    if shutil.which("tilt") is None:
        pytest.skip("tilt is not on the PATH")
    copy = tmp_path_factory.mktemp("repository")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def everything_is_up(repository: Path) -> None:
    """All resources of the Tiltfile are ready, or `tilt ci` would not have ended well."""
    done = subprocess.run(
        ["tilt", "ci", "--port", "0", "--timeout", f"{READY_SECONDS}s"],
        cwd=repository,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@pytest.fixture
def tilt_up(everything_is_up: None, repository: Path, tmp_path: Path) -> Iterator[Path]:
    """`tilt up` runs; where its log is."""
    log = tmp_path / "tilt.log"
    command = ["tilt", "up", "--stream", "--port", "0"]
    process = Process(["env", "-C", str(repository), *command], clean_environment(), log)
    process.spawn()
    try:
        yield log
        process.stop()
    finally:
        process.kill()


def test_tilt_ci_ends_with_every_tenant_enforced(everything_is_up: None) -> None:
    tenants = Cluster(DISPOSABLE).get("tenants")["items"]
    assert {one["metadata"]["name"] for one in tenants} == {"tenant-a", "tenant-b"}
    for tenant in tenants:
        conditions = {one["type"]: one["status"] for one in tenant["status"]["conditions"]}
        assert conditions["Ready"] == "True"


def test_saved_file_runs_in_the_pods_that_are_there(repository: Path, tilt_up: Path) -> None:
    _until_said("Apache-2.0", READY_SECONDS, tilt_up)
    pods = _pods()
    saved = repository / SHARED
    source = saved.read_text()
    assert source.count('"name": "Apache-2.0"') == 1
    saved.write_text(source.replace('"name": "Apache-2.0"', '"name": "Edited"'))
    _until_said("Edited", SAVED_SECONDS, tilt_up)
    assert _pods() == pods


def _until_said(license_name: str, seconds: float, log: Path) -> None:
    """Wait until both services name this licence."""
    deadline = time.monotonic() + seconds
    said: list[str] = []
    while time.monotonic() < deadline:
        said = [_license(url) for url in (USERS_URL, GATEWAY_URL)]
        if said == [license_name, license_name]:
            return
        time.sleep(0.2)
    raise AssertionError(f"they say {said}\n{log.read_text()[-8000:]}")


def _license(url: str) -> str:
    try:
        info = httpx.get(f"{url}/openapi.json", timeout=5).json()["info"]
    except httpx.HTTPError as error:
        return repr(error)
    return str(info["license"]["name"])


def _pods() -> set[str]:
    """The uids of the services' pods."""
    found = Cluster(DISPOSABLE).get(
        "pods", "-l", "app.kubernetes.io/name in (user-service,ai-gateway)"
    )
    return {
        one["metadata"]["uid"]
        for one in found["items"]
        if one["metadata"]["labels"]["app.kubernetes.io/component"] != "topics"
    }
