"""Two rankings made one."""

from hypothesis import given
from hypothesis import strategies as st

from ai_gateway.fusion import Ranked, fuse
from ai_gateway.vector_store.port import Hit, User


def hit(name: str, dense: float | None, lexical: float | None) -> Hit:
    return Hit(User(name, f"{name}@example.com", name, {}), dense, lexical)


def fused(hits: list[Hit], limit: int, noise_floor: float = 0.2) -> list[Ranked]:
    return fuse(hits, limit, noise_floor=noise_floor, dense_weight=0.5)


def names(hits: list[Hit], limit: int = 10, noise_floor: float = 0.2) -> list[str]:
    return [ranked.user.user_id for ranked in fused(hits, limit, noise_floor)]


def test_first_in_both_spaces_comes_first() -> None:
    hits = [hit("b", 0.5, 0.9), hit("a", 0.9, 0.95), hit("c", 0.6, 0.1)]
    assert names(hits)[0] == "a"


def test_user_of_both_spaces_beats_one_of_a_single_space() -> None:
    assert (
        names([hit("one", 0.9, None), hit("both", 0.5, 0.5), hit("other", None, 0.9)])[0] == "both"
    )


def test_chance_similarity_is_no_result() -> None:
    assert names([hit("stranger", 0.19, None), hit("syllable", None, 0.1)]) == []


def test_score_is_the_higher_similarity() -> None:
    assert fused([hit("a", 0.4, 0.7)], 1)[0].score == 0.7


def test_ties_are_broken_the_same_way_each_time() -> None:
    hits = [hit("b", 0.5, 0.5), hit("a", 0.5, 0.5)]
    assert names(hits) == names(hits[::-1])


similarities = st.none() | st.floats(0, 1)


@given(st.lists(st.tuples(similarities, similarities), max_size=40), st.integers(1, 20))
def test_scores_lie_in_0_to_1_and_never_rise(
    pairs: list[tuple[float | None, float | None]], limit: int
) -> None:
    ranked = fused([hit(f"u{i}", d, x) for i, (d, x) in enumerate(pairs)], limit)
    scores = [r.score for r in ranked]
    assert len(ranked) <= limit
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
