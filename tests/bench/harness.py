"""Measuring side by side: interleaved rounds, medians with their range, CPU of whole processes.

Absolute times move between machines and minutes; the ratio of two things measured in turn in one
run does not. CPU time is that of the process tree, from the operating system.
"""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
console = Console()


@dataclass(frozen=True, slots=True)
class Figure:
    """A median with its range over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        """Return the figure of some rounds."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.3g} [{self.least:.3g} - {self.most:.3g}]"


@dataclass(frozen=True, slots=True)
class Result:
    """One row of docs/benchmarks.md."""

    row: str
    what: str
    target: str
    measured: str
    met: bool
    detail: str = ""


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Return the ratio of two series, round by round."""
    return Figure.of([a / b for a, b in zip(ours, theirs, strict=True)])


def cpu_seconds(pid: int) -> float:
    """Return user and system time that a process and its living children have used."""
    process = psutil.Process(pid)
    tree = [process, *process.children(recursive=True)]
    return sum(times.user + times.system for times in (one.cpu_times() for one in tree))


def pin(pid: int, core: int) -> None:
    """Keep a process on one core where there are two to choose from."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(pid, {core})


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def report(results: Sequence[Result]) -> None:
    """Print results and keep them for the document."""
    table = Table("row", "what", "target", "measured", "met")
    for result in results:
        table.add_row(
            result.row, result.what, result.target, result.measured, "yes" if result.met else "NO"
        )
        if result.detail:
            table.add_row("", result.detail, "", "", "")
    console.print(table)
    RESULTS.mkdir(exist_ok=True)
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    with (RESULTS / "results.jsonl").open("a") as lines:
        for result in results:
            lines.write(json.dumps({"at": stamp, "machine": machine(), **asdict(result)}) + "\n")


def machine() -> str:
    """Return what this was measured on."""
    memory = psutil.virtual_memory().total // 2**30
    return f"{os.cpu_count()} cores, {memory} GiB, Python {platform.python_version()}"
