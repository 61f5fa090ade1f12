"""The picture of the namespace: whatever comes late or twice never takes it back."""

import json
import tracemalloc
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from builders import make_policy
from tenant_operator.observed import Kept, Objects, Observed


def thing(name: str, version: int, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "resourceVersion": str(version), "uid": f"uid-{name}"}
    return {"metadata": metadata, "spec": spec}


def versions(objects: Objects) -> dict[str, int]:
    found = {}
    for name in objects.names():
        one = objects.get(name)
        assert one is not None
        found[name] = int(one["metadata"]["resourceVersion"])
    return found


def test_older_version_of_an_object_changes_nothing() -> None:
    objects = Objects()
    assert objects.saw(thing("a", 5))
    assert not objects.saw(thing("a", 4))
    assert not objects.saw(thing("a", 5))
    assert versions(objects) == {"a": 5}


def test_late_news_of_a_removed_object_does_not_bring_it_back() -> None:
    objects = Objects()
    objects.saw(thing("a", 5))
    assert objects.removed(thing("a", 7))
    assert not objects.saw(thing("a", 6))
    assert versions(objects) == {}
    assert objects.saw(thing("a", 8))


def test_late_removal_does_not_take_what_was_made_anew() -> None:
    objects = Objects()
    objects.saw(thing("a", 9))
    assert not objects.removed(thing("a", 7))
    assert versions(objects) == {"a": 9}


def test_list_removes_what_it_lacks_but_not_what_came_after_it() -> None:
    objects = Objects()
    objects.saw(thing("gone", 3))
    objects.saw(thing("later", 12))
    assert objects.listed([Kept.of(thing("new", 4))], 10) == {"gone", "new"}
    assert versions(objects) == {"later": 12, "new": 4}


def test_what_a_reader_does_to_an_object_is_its_own_affair() -> None:
    objects = Objects()
    objects.saw(thing("a", 5, plan="gold"))
    read = objects.get("a")
    assert read == thing("a", 5, plan="gold")
    read["spec"]["plan"] = "tin"
    assert objects.get("a") == thing("a", 5, plan="gold")


def test_who_wrote_which_field_is_not_kept() -> None:
    objects, found = Objects(), thing("a", 5)
    found["metadata"]["managedFields"] = [{"manager": "people"}]
    objects.saw(found)
    assert objects.get("a") == thing("a", 5)


def test_policies_are_found_by_the_uids_of_their_tenants() -> None:
    objects = Objects()
    for name in ("a", "b", "c"):
        objects.saw(thing(name, 1, tenantUid=f"uid-{name}"))
    objects.saw(thing("b", 2, tenantUid="uid-c"))
    assert objects.names_with_uids({"uid-c", "uid-b"}) == {"b", "c"}


def test_object_takes_little_more_memory_than_its_json() -> None:
    found = [thing(f"t-{n}", 1, **make_policy(f"t-{n}").document()) for n in range(500)]
    as_json = sum(len(json.dumps(one, separators=(",", ":"))) for one in found)
    objects = Objects()
    tracemalloc.start()
    try:
        for one in found:
            objects.saw(one)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 1.3 * as_json


# A history of one name: what it was after each step, None where it was removed.
histories = st.lists(st.booleans(), min_size=1, max_size=8)


@given(history=histories, data=st.data())
def test_any_order_and_repetition_of_events_ends_in_the_newest_state(
    history: list[bool], data: st.DataObject
) -> None:
    events = [(exists, thing("a", version)) for version, exists in enumerate(history, start=1)]
    delivered = data.draw(st.permutations(events + events[: len(events) // 2]))
    objects = Objects()
    for exists, one in delivered:
        if exists:
            objects.saw(one)
        else:
            objects.removed(one)
    # A removal that nobody was there for leaves no trace; a list then says what is.
    newest = [Kept.of(events[-1][1])] if history[-1] else []
    objects.listed(newest, len(history))
    assert versions(objects) == ({"a": len(history)} if history[-1] else {})


def test_plan_knows_its_tenants_as_they_move() -> None:
    observed = Observed()
    for name, plan in (("a", "gold"), ("b", "gold"), ("c", None)):
        observed.tenants.saw(thing(name, 1, **({"plan": plan} if plan else {})))
        observed.tenant_changed(name)
    assert observed.on_plan("gold") == {"a", "b"}
    assert observed.on_plan("default") == {"c"}
    observed.tenants.saw(thing("b", 2, plan="tin"))
    observed.tenant_changed("b")
    observed.tenants.removed(thing("a", 3))
    observed.tenant_changed("a")
    assert observed.on_plan("gold") == set()
    assert observed.on_plan("tin") == {"b"}


def test_news_of_a_tenant_concerns_those_that_ask_for_its_uid() -> None:
    observed = Observed()
    observed.tenants.saw(thing("owner", 1))
    assert observed.tenant_changed("owner") == {"owner"}
    observed.tenants.saw(thing("thief", 2, adoptUid="uid-owner"))
    assert observed.tenant_changed("thief") == {"thief", "owner"}
    assert set(observed.claimants("uid-owner")) == {"owner", "thief"}
    observed.tenants.removed(thing("owner", 3))
    assert observed.tenant_changed("owner") == {"owner", "thief"}
    assert set(observed.claimants("uid-owner")) == {"thief"}
