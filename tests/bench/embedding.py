"""TARGETS row 4: embedding in batches against the same function in plain Python."""

import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from faker import Faker

from ai_gateway.embedding.features import FeatureExtractor
from ai_gateway.embedding.hash import HashEmbedder
from ai_gateway.embedding.text import user_text
from bench.harness import Figure, Result, console, ratios, report

BATCHES = (64, 256)
NAIVE = Path(__file__).parents[1] / "unit/ai_gateway/naive_features.py"


def load_naive() -> Any:
    """Load the plain implementation that the tests compare with."""
    spec = importlib.util.spec_from_file_location("naive_features", NAIVE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(*, quick: bool = False) -> None:
    """Measure and report."""
    naive = load_naive()
    faker = Faker()
    faker.seed_instance(7)
    texts = [
        user_text(faker.name(), faker.email(), {"job": faker.job()})
        for _ in range(512 if quick else 2048)
    ]
    embedder = HashEmbedder(FeatureExtractor())
    results = []
    for batch in BATCHES:
        ours: list[float] = []
        plain: list[float] = []
        for number in range(6):
            started = time.process_time()
            vectors = np.concatenate(
                [embedder.vectors(texts[at : at + batch]) for at in range(0, len(texts), batch)]
            )
            middle = time.process_time()
            expected = [naive.embed(text, embedder.dimension) for text in texts]
            ended = time.process_time()
            np.testing.assert_allclose(
                vectors, np.array(expected, np.float32), rtol=1e-6, atol=1e-7
            )
            if number:
                ours.append((middle - started) / len(texts) * 1e6)
                plain.append((ended - middle) / len(texts) * 1e6)
        console.print(f"batch of {batch}: {Figure.of(ours)} µs a text, plain {Figure.of(plain)} µs")
        ratio = ratios(plain, ours)
        results.append(
            Result(
                "4",
                f"embedding in batches of {batch} (hash), times faster than plain Python",
                "≥ 3, identical vectors",
                str(ratio),
                ratio.median >= 3,
            )
        )
    report(results)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
