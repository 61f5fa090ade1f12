"""The grammar of user ids: what identity providers give out, and what a path can carry."""

import re
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshkit.user_ids import USER_ID_PATTERN, is_user_id

USER_IDS = st.from_regex(USER_ID_PATTERN, fullmatch=True).filter(is_user_id)
EARLIER_GRAMMAR = r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}"


@pytest.mark.parametrize(
    "user_id",
    [
        "auth0|5f7c8ec7",
        "google-oauth2|103547991597142817347",
        "ana+x@example.com",
        "f:2b9e1c1e-3f0a:ana",
        "cn=Ana First,ou=people,dc=example,dc=com",
        "ana_example.com#EXT#@example.onmicrosoft.com",
        "4ZJR/V3Fx+8kQ==",
        "https://idp.example.com/users/42",
        "EXAMPLE\\ana",
        "did:key:z6MkhaXg",
        "-_",
        "a/b",
        "a..b",
        "...",
        "x" * 255,
    ],
)
def test_ids_of_identity_providers_are_valid(user_id: str) -> None:
    assert is_user_id(user_id)
    assert re.search(USER_ID_PATTERN, user_id)


@pytest.mark.parametrize(
    "user_id",
    [
        *("", " ", " a", "a ", "a%2Fb", "\t", "a\n", "\x7f", "é", "x" * 256),
        *(".", "..", "../a", "a/..", "a/./b", "..\\a"),
    ],
)
def test_ids_that_do_not_survive_a_path_are_invalid(user_id: str) -> None:
    assert not is_user_id(user_id)


@given(st.from_regex(EARLIER_GRAMMAR, fullmatch=True))
def test_ids_of_the_earlier_grammar_stay_valid(user_id: str) -> None:
    assert is_user_id(user_id)


@given(USER_IDS)
def test_id_survives_percent_encoding(user_id: str) -> None:
    assert unquote(quote(user_id, safe="")) == user_id


@given(st.text(max_size=40) | st.text(st.characters(max_codepoint=0x7F), max_size=40))
def test_valid_id_matches_the_documented_pattern(text: str) -> None:
    if is_user_id(text):
        assert re.fullmatch(USER_ID_PATTERN, text)
