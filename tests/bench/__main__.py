"""`make bench`: run every benchmark and write docs/benchmarks.md. `--quick` takes a minute."""

import sys

from bench import (
    accept,
    consume,
    embedding,
    fairness,
    freshness,
    guard,
    ingest,
    kills,
    limiter,
    neighbour,
    operator_cost,
    operator_faults,
    operator_start,
    peers,
    propagation,
    shared_limit,
    sizing,
    upsert,
)
from bench.document import write_document

BENCHMARKS = (
    embedding,
    limiter,
    shared_limit,
    accept,
    consume,
    upsert,
    guard,
    ingest,
    peers,
    fairness,
    neighbour,
    freshness,
    sizing,
    kills,
    operator_cost,
    propagation,
    operator_start,
    operator_faults,
)


def main() -> None:
    """Run them all, each with its own report, then render the document."""
    wanted = [word for word in sys.argv[1:] if not word.startswith("-")]
    for benchmark in BENCHMARKS:
        if not wanted or benchmark.__name__.rpartition(".")[2] in wanted:
            benchmark.main(quick="--quick" in sys.argv)
    write_document()


if __name__ == "__main__":
    main()
