"""The embedder that needs no model."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_gateway.embedding import features
from ai_gateway.embedding.features import FeatureExtractor, extract
from ai_gateway.embedding.hash import HashEmbedder
from ai_gateway.embedding.lexical import LexicalEncoder
from ai_gateway.embedding.vectorizer import Vectorizer
from builders import DENSE, LEXICAL

_spec = importlib.util.spec_from_file_location(
    "naive_features", Path(__file__).with_name("naive_features.py")
)
assert _spec is not None
assert _spec.loader is not None
naive = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(naive)

texts = st.lists(st.text(max_size=60), min_size=1, max_size=6)


@given(texts)
def test_batch_gives_what_each_text_gives_alone(batch: list[str]) -> None:
    together = DENSE.vectors(batch)
    for text, vector in zip(batch, together, strict=True):
        assert np.array_equal(DENSE.vectors([text])[0], vector)


@given(texts)
def test_vectorised_features_are_the_plain_ones(batch: list[str]) -> None:
    found = extract(batch)
    for number, text in enumerate(batch):
        mine = found.text == number
        assert dict(
            zip(
                found.hash[mine].tolist(),
                zip(found.base_weight[mine].tolist(), found.weight[mine].tolist(), strict=True),
                strict=True,
            )
        ) == naive.features(text)


@given(texts)
def test_vectors_are_the_plain_ones(batch: list[str]) -> None:
    expected = np.array([naive.embed(text, 256) for text in batch], np.float32)
    # The last bit: numpy sums the squares of the norm in another order.
    np.testing.assert_allclose(DENSE.vectors(batch), expected, rtol=1e-6, atol=1e-7)


@given(texts)
def test_vectors_have_unit_length_or_none(batch: list[str]) -> None:
    norms = np.linalg.norm(DENSE.vectors(batch), axis=1)
    assert np.all((np.abs(norms - 1) < 1e-5) | (norms == 0))


@given(st.text(max_size=60))
def test_query_of_a_users_own_text_is_covered_whole(text: str) -> None:
    query, document = LEXICAL.query(text), LEXICAL.documents([text])[0]
    covered = float(query.values @ document.values)
    assert covered == pytest.approx(1.0, abs=1e-5) if len(query.values) else covered == 0
    assert len(set(query.indices.tolist())) == len(query.indices)


@pytest.mark.parametrize("other", ["ALICE doe", "Álice Dòe", "alice  doe!", "Doe Alice"])
def test_case_accents_order_and_punctuation_do_not_matter(other: str) -> None:
    assert np.array_equal(DENSE.vectors(["Alice Doe"]), DENSE.vectors([other]))


@pytest.mark.parametrize(
    "text", ["", "   ", "…!?", "\ud800", "\x00", "e" * 100_000, "👩‍💻", "李小龍"]
)
def test_any_text_can_be_embedded(text: str) -> None:
    assert np.isfinite(DENSE.vectors([text])).all()
    assert np.isfinite(LEXICAL.query(text).values).all()


def test_same_text_gives_the_same_vector_in_another_process() -> None:
    code = (
        "from ai_gateway.embedding.features import *; from ai_gateway.embedding.hash import *;"
        "embedder = HashEmbedder(FeatureExtractor());"
        "print(embedder.vectors(['Søren 李 alice@example.com']).tobytes().hex())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = DENSE.vectors(["Søren 李 alice@example.com"]).tobytes().hex()
    assert run.stdout.strip() == here


def test_unrelated_texts_stay_under_the_noise_floor() -> None:
    rng = np.random.default_rng(7)
    words = ["".join(rng.choice(list("bcdfgaeiou"), 8)) for _ in range(400)]
    vectors = DENSE.vectors(words)
    cosines = (vectors @ vectors.T)[np.triu_indices(len(words), 1)]
    assert np.mean(cosines > DENSE.noise_floor) < 0.01


async def test_features_of_a_query_are_taken_once_for_both_spaces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[list[str]] = []

    def counted(texts: list[str]) -> features.Features:
        taken.append(texts)
        return extract(texts)

    monkeypatch.setattr(features, "extract", counted)
    extractor = FeatureExtractor()
    vectorizer = Vectorizer(HashEmbedder(extractor), LexicalEncoder(extractor))
    query = await vectorizer.query("alise")
    assert taken == [["alise"]]
    other = await vectorizer.query("bob")
    assert taken == [["alise"], ["bob"]]
    assert not np.array_equal(query.dense, other.dense)
