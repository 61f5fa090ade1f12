"""Processes that tests start, kill and start again, and the ports they listen on."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

STOP_SECONDS = 20
_LAST_WORDS = 8_000


_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on just now, and that this run of tests was not given before: two
    processes that are started one after the other might both have been told the same."""
    found: list[int] = []
    with ExitStack() as stack:
        while len(found) < count:
            one = stack.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            if port not in _given:
                _given.add(port)
                found.append(port)
    return found


def installed(command: str) -> str:
    """Where a command of this environment is."""
    return str(Path(sys.executable).with_name(command))


def clean_environment(**settings: str) -> dict[str, str]:
    """The environment without any settings of the mesh but these."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MESH_")}  # noqa: TID251
    return kept | {f"MESH_{name}": value for name, value in settings.items()}


class Process:
    """A command with its log, in a process group of its own."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.command = list(command)
        self.environment = environment
        self.log = log
        self.group: int | None = None
        """The group of the system that it runs in, where that is not ours."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id, of the last start."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def spawn(self) -> None:
        """Start it, without waiting."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                group=self.group,
            )

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9 the whole group."""
        if self._process is not None:
            if self.running:
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> int:
        """Ask it to stop, as Ctrl-C does, and return its exit status. Raises AssertionError where
        it does not, with where it hangs."""
        assert self._process is not None
        if self.running:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # Its last words are where each of its threads is.
            self.send(signal.SIGABRT)
            self._process.wait(timeout=STOP_SECONDS)
            words = self.log.read_text()[-_LAST_WORDS:]
            raise AssertionError(f"{self.command} does not stop:\n{words}") from None
