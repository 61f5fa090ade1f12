"""Cutting one process off from some ports of others on this machine, as a split network does: what
is sent is lost without a word, also on connections that are open.

The kernel tells whose packets they are by the group of the process that sends them, so one that is
to be cut off runs in a group of its own. Needs root and iptables; `lack` says what is missing.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

GROUP = 54321


def lack() -> str | None:
    """Why nobody can be cut off on this machine, None where it can be done."""
    if os.geteuid() != 0:
        return "only root can cut a process off from the network"
    if shutil.which("iptables") is None:
        return "iptables is not installed"
    try:
        with _lost(1, "--gid-owner", str(GROUP)):
            return None
    except subprocess.CalledProcessError as error:
        return f"iptables cannot tell processes apart here: {error.stderr.strip()}"


@contextmanager
def cut_off(port: int, others: Sequence[int]) -> Iterator[None]:
    """Lose what the process in GROUP sends to `others`, and what others send to its `port`."""
    with ExitStack() as stack:
        stack.enter_context(_lost(port, "!", "--gid-owner", str(GROUP)))
        for other in others:
            stack.enter_context(_lost(other, "--gid-owner", str(GROUP)))
        yield


@contextmanager
def _lost(port: int, *owner: str) -> Iterator[None]:
    rule = ["OUTPUT", "-o", "lo", "-p", "tcp", "--dport", str(port)]
    rule += ["-m", "owner", *owner, "-j", "DROP"]
    _iptables("-I", *rule)
    try:
        yield
    finally:
        _iptables("-D", *rule)


def _iptables(*arguments: str) -> None:
    command = ["iptables", "-w", *arguments]
    subprocess.run(command, capture_output=True, text=True, check=True)
