"""From method and path to an operation: each user id can be reached, however it is spelled."""

from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshkit.errors import MethodNotAllowed, RouteNotFound
from meshkit.user_ids import USER_ID_PATTERN, is_user_id
from meshkit.web.operation import Operation
from meshkit.web.routing import Router


def operation(method: str, path: str) -> Operation:
    nothing: Any = None
    return Operation(method, path, f"{method} {path}", "", "", "", nothing, 200, nothing, nothing)


ROUTER = Router(
    [
        operation("POST", "/users/create"),
        operation("POST", "/users:batch"),
        operation("PUT", "/users/{userId}"),
        operation("DELETE", "/users/{userId}"),
        operation("GET", "/ai/users/search"),
        operation("GET", "/ai/users/{userId}"),
    ]
)


def find(method: str, raw: str) -> tuple[str, dict[str, str]]:
    found, parameters = ROUTER.find(method, unquote(raw), raw.encode())
    return found.name, dict(parameters)


@given(st.from_regex(USER_ID_PATTERN, fullmatch=True).filter(is_user_id))
def test_each_user_id_can_be_reached(user_id: str) -> None:
    # As a client has to write it where it is the name of a route.
    first, rest = f"%{ord(user_id[0]):02X}", quote(user_id[1:], safe="")
    found = find("GET", f"/ai/users/{first}{rest}")
    assert found == ("GET /ai/users/{userId}", {"userId": user_id})
    for method in ("PUT", "DELETE"):
        expected = (f"{method} /users/{{userId}}", {"userId": user_id})
        assert find(method, f"/users/{quote(user_id, safe='')}") == expected


@pytest.mark.parametrize("user_id", ["create", "search"])
def test_user_called_like_a_route_can_be_written_and_deleted(user_id: str) -> None:
    for method in ("PUT", "DELETE"):
        assert find(method, f"/users/{user_id}")[1] == {"userId": user_id}


def test_route_called_like_a_user_is_served() -> None:
    assert find("GET", "/ai/users/search") == ("GET /ai/users/search", {})
    assert find("POST", "/users/create") == ("POST /users/create", {})
    assert find("POST", "/users/cre%61te") == ("POST /users/create", {})
    assert find("POST", "/users%3Abatch") == ("POST /users:batch", {})
    assert find("HEAD", "/ai/users/u-1")[1] == {"userId": "u-1"}


def test_doubly_encoded_separator_is_not_decoded_twice() -> None:
    assert find("PUT", "/users/a%252Fb")[1] == {"userId": "a%2Fb"}


@pytest.mark.parametrize("path", ["/users/", "/users/a/b", "/ai/users", "/ai%2Fusers%2Fu-1", "//"])
def test_other_paths_lead_nowhere(path: str) -> None:
    with pytest.raises(RouteNotFound):
        find("PUT", path)


def test_refused_method_names_those_of_all_that_fit() -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        find("GET", "/users/create")
    assert caught.value.extra == {"allow": ["DELETE", "POST", "PUT"]}
