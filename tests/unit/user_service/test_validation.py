"""What is a name, an e-mail address, a set of attributes."""

from typing import Any

import pytest
from email_validator import validate_email
from hypothesis import given
from hypothesis import strategies as st

from meshkit.errors import InvalidRequest
from user_service.schemas import UserInput
from user_service.validation import _PLAIN_EMAIL, validated


def user(name: str = "Alice Doe", email: str = "alice@example.com", **more: Any) -> UserInput:
    return UserInput(name, email, **more)


def paths(given: UserInput) -> list[str]:
    with pytest.raises(InvalidRequest) as caught:
        validated(given)
    return [problem.path for problem in caught.value.fields]


@pytest.mark.parametrize(
    "name",
    [
        "Alice Doe",
        "Søren Ångström",
        "李小龍",
        "محمد علي",
        "O'Neil-Smith Jr.",
        "नीरज",
        "A",
        "👩‍💻 Ada",
        "葛\U000e0100飾",  # with a variation selector
        "\U00031350明",  # assigned in Unicode 15.0
        "\U0002ebf0明",  # assigned in Unicode 15.1
        "\U00032000明",  # unassigned in 16.0: it may be a letter by now
        "\ue001明",  # private use
    ],
)
def test_names_of_any_script_are_taken(name: str) -> None:
    assert validated(user(name)).name == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "   ", "a\x00b", "a\nb", "\u202eecila", "a\u2066b", "\x1b[31mred", "a\u2028b"),
        *("a\ud800b", "a\ufffeb", "a\U0010ffffb", "a\ufdd0b", "\ufeffa", "a\U000e0041b"),
        *("a\u00adb", "a\u200bb"),
    ],
)
def test_blank_names_and_control_characters_are_refused(name: str) -> None:
    assert "name" in paths(user(name))


def test_name_is_normalised() -> None:
    assert validated(user("  Zoe\u0308 ")).name == "Zoë"


@pytest.mark.parametrize(
    "email",
    [
        "alice@example.com",
        "a.b+tag@sub.example.co.uk",
        "用户@例子.广告",
        "a@b-c.io",
        "x_y@test.org",
    ],
)
def test_addresses_are_taken(email: str) -> None:
    assert validated(user(email=email)).email


@pytest.mark.parametrize(
    "email",
    ["alice", "alice@", "@example.com", "a b@example.com", "a@b", "a..b@example.com", "a@-b.com"],
)
def test_what_is_no_address_is_refused(email: str) -> None:
    assert paths(user(email=email)) == ["email"]


def test_domain_is_lower_cased() -> None:
    assert validated(user(email="Alice@EXAMPLE.com")).email == "Alice@example.com"


@given(st.from_regex(_PLAIN_EMAIL, fullmatch=True).filter(lambda email: "--" not in email))
def test_short_cut_takes_nothing_that_the_library_refuses(email: str) -> None:
    checked = validate_email(email, check_deliverability=False, test_environment=True)
    assert checked.normalized == email


def test_every_bad_field_is_named_at_once() -> None:
    assert paths(user("\x00", "nobody", attributes={"n": 2**70})) == [
        "name",
        "email",
        "attributes.n",
    ]


def test_attributes_are_bounded_in_depth_and_size() -> None:
    deep: Any = "leaf"
    for _ in range(12):
        deep = {"x": deep}
    assert paths(user(attributes={"deep": deep}))[0].startswith("attributes.deep")
    assert paths(user(attributes={"long": "x" * 20_000})) == ["attributes"]
