"""docs/benchmarks.md from the result lines: the newest of each row.

A run of some benchmarks leaves the rows of the others as they were published.
"""

import json
from pathlib import Path
from typing import Any

from bench.harness import RESULTS

DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
_HEAD = """# Benchmarks

Each figure is a median with its range over interleaved rounds of one run (`make bench`), and a
ratio to a baseline measured in the same run wherever the target is one: absolute times move from
machine to machine. CPU time is that of the whole process tree. What misses its target says so.

| row | what | target | measured | met | when | machine |
|---|---|---|---|---|---|---|
"""


def write_document() -> None:
    """Render the document from what has been measured since, and what was published before."""
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    if (RESULTS / "results.jsonl").exists():
        for line in (RESULTS / "results.jsonl").read_text().splitlines():
            result = json.loads(line)
            newest[result["row"], result["what"]] = result
    rows = [_rendered(result) for result in newest.values()]
    rows += [line for line in _published() if not any(_is_of(line, *key) for key in newest)]
    DOCUMENT.write_text(_HEAD + "\n".join(sorted(rows, key=_place)) + "\n")


def _rendered(result: dict[str, Any]) -> str:
    detail = f"; {result['detail']}" if result["detail"] else ""
    cells = (
        result["row"],
        result["what"] + detail,
        result["target"],
        result["measured"],
        "yes" if result["met"] else "**no**",
        result["at"][:10],
        result["machine"],
    )
    return f"| {' | '.join(cells)} |"


def _published() -> list[str]:
    lines = DOCUMENT.read_text().splitlines() if DOCUMENT.exists() else []
    return [line for line in lines if line.startswith("| ")][1:]


def _is_of(line: str, row: str, what: str) -> bool:
    published = line.split(" | ")
    return published[0] == f"| {row}" and published[1].partition("; ")[0] == what.partition("; ")[0]


def _place(line: str) -> tuple[int, str]:
    row, what = line.removeprefix("| ").split(" | ")[:2]
    return (int(row) if row.isdecimal() else 100, what)
