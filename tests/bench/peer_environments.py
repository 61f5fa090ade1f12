"""The environments that the peers run in: one each, with the versions in `peer_NAME.txt`.

They are not the project's: Quix Streams holds confluent-kafka and pydantic at older versions than
ours. Made on first use, under the Makefile's cache, by its uv.
"""

import fcntl
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from cache import cache
from processes import Process, clean_environment

_BENCH = Path(__file__).parent
_ROOT = _BENCH.parents[1]


def peer_process(peer: str, log: Path, *arguments: str) -> Process:
    """Return the program `bench.peer_NAME` as a process that is yet to be started."""
    environment = clean_environment() | {
        "PYTHONPATH": f"{_BENCH.parent}:{_ROOT / 'services/ai-gateway/src'}"
    }
    return Process([str(_python(peer)), "-m", f"bench.peer_{peer}", *arguments], environment, log)


def pinned(peer: str) -> dict[str, str]:
    """Return the version of each package in the environment of a peer."""
    lines = (_BENCH / f"peer_{peer}.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def described(peer: str, *packages: str) -> str:
    """Return these packages with the versions that a peer runs with."""
    versions = pinned(peer)
    return ", ".join(f"{package} {versions[package]}" for package in packages)


def _python(peer: str) -> Path:
    pins = _BENCH / f"peer_{peer}.txt"
    key = sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = cache() / "bench-peers" / f"{peer}-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            sys.stderr.write(f"Making the environment of {peer} in {folder} ...\n")
            shutil.rmtree(folder, ignore_errors=True)
            _uv("venv", "--python", sys.executable, str(folder))
            _uv(
                "pip",
                "install",
                "--compile-bytecode",
                "--no-deps",
                "--python",
                str(folder),
                "--requirement",
                str(pins),
            )
            (folder / "complete").touch()
    return folder / "bin" / "python"


def _uv(*arguments: str) -> None:
    # In the project's folder: there uv finds how old a release has to be.
    command = shutil.which("uv") or str(cache() / "uv" / "bin" / "uv")
    subprocess.run([command, "--quiet", *arguments], check=True, cwd=_ROOT)
