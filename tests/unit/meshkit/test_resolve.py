"""From what people wrote to what holds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import make_plan, make_tenant
from meshkit.tenancy.documents import InvalidDocument, parse_tenant
from meshkit.tenancy.policy import Provenance, TenantPolicy, TenantState
from meshkit.tenancy.resolve import DEFAULTS, ResolutionError, resolve

PLAN = make_plan(
    defaults={
        "weight": 2,
        "rateLimits": [{"name": "users.write", "requests": 30, "burst": 60}],
        "quotas": [{"name": "storedUsers", "limit": 500}],
    },
    ceilings={
        "weight": 5,
        "rateLimits": [{"name": "users.write", "requests": 100, "burst": 150}],
        "quotas": [{"name": "storedUsers", "limit": 1000}],
    },
)


LIMITS = "spec.rateLimits"


def write_limited(**limit: Any) -> dict[str, Any]:
    return {"rateLimits": [{"name": "users.write"} | limit]}


def write_limit(policy: TenantPolicy) -> tuple[int, int, int, bool, str]:
    limit = policy.rate_limit("users.write")
    return (
        limit.requests,
        limit.window_seconds,
        limit.burst,
        limit.unlimited,
        limit.provenance.value,
    )


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        pytest.param(None, (30, 1, 60, False, "plan"), id="absent leaves it to the plan"),
        pytest.param({"requests": 50}, (50, 1, 50, False, "override"), id="burst is the requests"),
        pytest.param({"requests": 0}, (0, 1, 0, False, "override"), id="zero is a real limit"),
        pytest.param(
            {"requests": 80, "burst": 300}, (80, 1, 150, False, "ceiling"), id="burst is capped"
        ),
        pytest.param({"requests": 101}, (100, 1, 101, False, "ceiling"), id="rate is capped"),
        pytest.param(
            {"unlimited": True}, (100, 1, 150, False, "ceiling"), id="unlimited is capped"
        ),
        pytest.param(
            {"requests": 6000, "windowSeconds": 60, "burst": 6000},
            (6000, 60, 150, False, "ceiling"),
            id="rates over other windows compare exactly",
        ),
    ],
)
def test_rate_limit(limit: dict[str, Any] | None, expected: tuple[Any, ...]) -> None:
    entries = [{"name": "users.write"} | limit] if limit else []
    assert write_limit(resolve(make_tenant(plan="gold", rateLimits=entries), PLAN)) == expected


def test_without_any_opinion_the_defaults_hold() -> None:
    policy = resolve(make_tenant(), None)
    assert {limit.name: limit.requests for limit in policy.rate_limits} == {
        limit.name: limit.requests for limit in DEFAULTS.rate_limits
    }
    assert {limit.provenance for limit in policy.rate_limits} == {Provenance.DEFAULT}
    assert policy.llm.models == ("builtin/extractive",)


def test_weight_and_quota_are_capped_and_say_so() -> None:
    quota = {"name": "storedUsers", "unlimited": True}
    policy = resolve(make_tenant(plan="gold", weight=50, quotas=[quota]), PLAN)
    assert (policy.weight.value, policy.weight.provenance) == (5, Provenance.CEILING)
    stored = next(q for q in policy.quotas if q.name == "storedUsers")
    assert (stored.limit, stored.unlimited, stored.provenance) == (1000, False, Provenance.CEILING)


def test_unknown_plan_does_not_resolve() -> None:
    with pytest.raises(ResolutionError, match="'gold'") as caught:
        resolve(make_tenant(plan="gold"), None)
    assert caught.value.path == "spec.plan"


def test_models_are_cut_to_the_ceiling() -> None:
    plan = make_plan(ceilings={"llm": {"models": ["a", "b"]}})
    policy = resolve(make_tenant(plan="gold", llm={"models": ["b", "c"]}), plan)
    assert (policy.llm.models, policy.llm.default_model) == (("b",), "b")
    assert policy.llm.provenance is Provenance.CEILING


def test_default_model_that_is_not_allowed_is_an_error_where_the_tenant_chose_it() -> None:
    with pytest.raises(ResolutionError) as caught:
        resolve(make_tenant(llm={"models": ["a"], "defaultModel": "b"}), None)
    assert caught.value.path == "spec.llm.defaultModel"


def test_no_allowed_model_left_is_an_error() -> None:
    plan = make_plan(ceilings={"llm": {"models": ["a"]}})
    with pytest.raises(ResolutionError, match="none of these"):
        resolve(make_tenant(plan="gold", llm={"models": ["x"]}), plan)


def test_suspended_is_a_state() -> None:
    assert resolve(make_tenant(suspended=True), None).state is TenantState.SUSPENDED


def test_uid_follows_object_then_annotation_then_name() -> None:
    annotated = make_tenant(metadata={"annotations": {"mesh.distributedai.io/uid": "noted"}})
    given = make_tenant(metadata={"uid": "given"})
    assert resolve(given, None).tenant_uid == "given"
    assert resolve(annotated, None).tenant_uid == "noted"
    assert resolve(make_tenant(), None).tenant_uid == resolve(make_tenant(), None).tenant_uid
    assert resolve(make_tenant(adoptUid="old"), None).tenant_uid == "old"


def test_equal_policies_have_equal_revisions() -> None:
    assert resolve(make_tenant(weight=1), None).revision != resolve(make_tenant(), None).revision
    one, other = resolve(make_tenant(weight=3), None), resolve(make_tenant(weight=3), None)
    assert one.revision == other.revision != ""


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"wieght": 3}, "spec.wieght"),
        ({"weight": 0}, "spec.weight"),
        ({"weight": 101}, "spec.weight"),
        ({"weight": True}, "spec.weight"),
        ({"weight": "3"}, "spec.weight"),
        ({"weight": float("nan")}, "spec.weight"),
        ({"suspended": "yes"}, "spec.suspended"),
        ({"plan": "No Such"}, "spec.plan"),
        ({"rateLimits": {}}, "spec.rateLimits"),
        ({"rateLimits": [{"name": "users.delete", "requests": 1}]}, f"{LIMITS}[users.delete].name"),
        ({"rateLimits": [{"requests": 1}]}, f"{LIMITS}[0].name"),
        (write_limited(), f"{LIMITS}[users.write]"),
        (write_limited(requests=-1), f"{LIMITS}[users.write].requests"),
        (write_limited(requests=2**31), f"{LIMITS}[users.write].requests"),
        (write_limited(requests=5, burst=0), f"{LIMITS}[users.write]"),
        (write_limited(requests=5, unlimited=True), f"{LIMITS}[users.write]"),
        (write_limited(requests=5, windowSeconds=0), f"{LIMITS}[users.write].windowSeconds"),
        ({"quotas": [{"name": "storedUsers"}]}, "spec.quotas[storedUsers]"),
        ({"quotas": [{"name": "storedUsers", "limit": 2**63}]}, "spec.quotas[storedUsers].limit"),
        ({"llm": {"models": []}}, "spec.llm.models"),
        ({"llm": {"models": ["x"], "tokens": 1}}, "spec.llm.tokens"),
    ],
)
def test_bad_value_is_refused_with_its_path(spec: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        make_tenant(**spec)
    assert [problem.path for problem in caught.value.problems] == [path]


def test_limit_given_twice_is_refused() -> None:
    twice = [{"name": "users.write", "requests": 1}] * 2
    with pytest.raises(InvalidDocument, match=r"users\.write is given more than once"):
        make_tenant(rateLimits=twice)


@pytest.mark.parametrize("document", [{}, {"kind": "Tenant"}, {"metadata": 3}, {"spec": []}])
def test_document_of_another_shape_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocument):
        parse_tenant(document)


rates = st.fixed_dictionaries(
    {"requests": st.integers(0, 10_000), "windowSeconds": st.integers(1, 3600)}
).flatmap(
    lambda rate: st.integers(rate["requests"], 20_000).map(lambda burst: rate | {"burst": burst})
)
opinions = st.none() | st.just({"unlimited": True}) | rates


@given(opinions, opinions, rates)
def test_resolved_never_exceeds_the_ceiling(
    default: dict[str, Any] | None, override: dict[str, Any] | None, ceiling: dict[str, Any]
) -> None:
    def entries(opinion: dict[str, Any] | None) -> list[dict[str, Any]]:
        return [{"name": "users.write"} | opinion] if opinion else []

    plan = make_plan(
        defaults={"rateLimits": entries(default)}, ceilings={"rateLimits": entries(ceiling)}
    )
    tenant = make_tenant(plan="gold", rateLimits=entries(override))
    limit = resolve(tenant, plan).rate_limit("users.write")
    assert not limit.unlimited
    assert limit.requests * ceiling["windowSeconds"] <= ceiling["requests"] * limit.window_seconds
    assert limit.burst <= ceiling["burst"]
    source = override or default
    if source and limit.provenance is not Provenance.CEILING:
        assert (limit.requests, limit.burst) == (source["requests"], source["burst"])
        expected = Provenance.OVERRIDE if override else Provenance.PLAN
        assert limit.provenance is expected


ANNOTATION = "mesh.distributedai.io/uid"


@pytest.mark.parametrize(
    ("path", "metadata", "spec"),
    [
        ("spec.adoptUid", {}, {"adoptUid": "a b/c"}),
        ("spec.adoptUid", {}, {"adoptUid": ""}),
        ("metadata.uid", {"uid": "../x"}, {}),
        (f"metadata.annotations[{ANNOTATION}]", {"annotations": {ANNOTATION: "a b"}}, {}),
        (f"metadata.annotations[{ANNOTATION}]", {"annotations": {ANNOTATION: "é"}}, {}),
    ],
)
def test_uid_that_no_point_could_carry_does_not_resolve(
    path: str, metadata: dict[str, Any], spec: dict[str, Any]
) -> None:
    with pytest.raises(ResolutionError, match="1 to 128 letters") as refused:
        resolve(make_tenant("tenant-a", metadata, **spec), None)
    assert refused.value.path == path


@given(st.text(max_size=12))
def test_policy_that_resolves_always_has_a_context(uid: str) -> None:
    try:
        policy = resolve(make_tenant("tenant-a", {"annotations": {ANNOTATION: uid}}), None)
    except ResolutionError:
        return
    assert policy.context.tenant_uid == policy.tenant_uid == uid


def test_document_with_very_many_problems_names_some_and_counts_the_rest() -> None:
    unknown: dict[str, Any] = {f"field{n}": 1 for n in range(5_000)}
    with pytest.raises(InvalidDocument) as refused:
        make_tenant("tenant-a", **unknown)
    assert len(refused.value.problems) == 21
    assert refused.value.problems[-1].message == "has 4980 further problems"
