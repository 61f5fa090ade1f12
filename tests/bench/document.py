"""docs/benchmarks.md from the result lines: the newest of each row."""

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
    """Render the document from what has been measured so far."""
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for line in (RESULTS / "results.jsonl").read_text().splitlines():
        result = json.loads(line)
        newest[result["row"], result["what"]] = result
    rows = []
    for (row, what), result in sorted(
        newest.items(),
        key=lambda item: (int(item[0][0]) if item[0][0].isdecimal() else 100, item[0][1]),
    ):
        detail = f"; {result['detail']}" if result["detail"] else ""
        met = "yes" if result["met"] else "**no**"
        rows.append(
            f"| {row} | {what}{detail} | {result['target']} | {result['measured']} | {met}"
            f" | {result['at'][:10]} | {result['machine']} |"
        )
    DOCUMENT.write_text(_HEAD + "\n".join(rows) + "\n")
