"""What YAML and JSON mean in a tenant file: what they mean to kubectl, without a server.

tests/integration/test_tenant_files.py holds the same against kubectl itself.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshkit.tenancy.folder import look
from meshkit.tenancy.yaml_files import TenantFile
from meshkit.tenancy.yaml_text import InvalidYaml, load_documents

HEAD = "apiVersion: mesh.distributedai.io/v1alpha1\nkind: Tenant\nmetadata: {name: one}\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5.0", 5),
        ("1e3", 1000),
        ("1e+3", 1000),
        ("0o10", 8),
        ("0x10", 16),
        ("010", 8),
        ("1_000", 1000),
        ("+5", 5),
        ("1:30", "1:30"),
        ('"5"', "5"),
        ("y", True),
        ("yes", True),
        ("on", True),
        ("True", True),
        ("off", False),
        ("2026-01-01", "2026-01-01"),
        ("12:30:45", "12:30:45"),
        ("12e03", 12000),
        ("1.10", 1.1),
        ("0123", 83),
        ("~", None),
        ("", None),
        ("1e400", "1e400"),
        ("9" * 22, 1e22),
        ("9" * 5000, "9" * 5000),
        ("! 5", "5"),
        ("!!str 5", "5"),
        ("=", "="),
        ('"\\U0001F600"', "\U0001f600"),
    ],
)
def test_scalar_means_what_it_means_to_kubectl(text: str, value: Any) -> None:
    (document,) = load_documents(f"a: {text}\n")
    assert document == {"a": value}
    assert type(document["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\na: 2\n", "line 2, column 1: the key 'a' is given twice"),
        ('{"a": 1,\n "a": 2}', "line 2, column 2: the key 'a' is given twice"),
        ('{"a": "\\ud83d\\ude00", "b": 1, "b": 2}', "the key 'b' is given twice"),
        ("yes: 1\n'true': 2\n", "the key 'true' is given twice"),
        ("limits: {a: 1,000}", "line 1, column 15: 000 has no value; a number is written without"),
        ("a: &b {c: 1}\nd: {c: 2, <<: *b}", "line 2, column 11: << has to stand before 'c'"),
        ("a: {<<: 5}", "<< takes a map"),
        ("a: 1\n--- {b: 1}\n", "line 2: a document begins on the line after ---"),
        ("a: 1\n...\nb: 1\n", "line 2: kubectl reads nothing after"),
        ("%YAML 1.2\n---\na: 1\n", "directive"),
        ("a: !custom x", "the tag !custom is not read here"),
        ("a: !!python/object:os.system x", "is not read here"),
        ("a: !!int x", "'x' is no int"),
        ("a: .inf", "no number in JSON"),
        ("? [a]\n: b\n", "a key has to be plain text"),
        ("1.5: b\n", "a key has to be plain text"),
        ('a: "b\\/c"', "is an escape of JSON"),
        ("[" * 40, "nested deeper"),
        ('{"a":' * 40 + "1" + "}" * 40, "nested deeper"),
        ('{"a": "\\ud83d"}', "line 1"),
    ],
)
def test_text_that_kubectl_would_read_otherwise_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidYaml) as refused:
        load_documents(text)
    assert reason in str(refused.value)


def test_merge_key_is_merged_in_the_order_of_kubectl() -> None:
    text = "a: &a {x: 1, w: 1}\nb: {<<: [*a, {w: 2, z: 2}], z: 3}\n"
    assert load_documents(text)[0]["b"] == {"x": 1, "w": 1, "z": 3}


def test_json_file_may_hold_surrogate_pairs_and_several_documents() -> None:
    assert load_documents('{"a": "\\ud83d\\ude00"}\n{"b": 5.0}') == [{"a": "\U0001f600"}, {"b": 5}]


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InvalidYaml):
        load_documents(text)


@given(st.text(alphabet="{}[]:,-#&*!|>'\"%@`? \n\t0123456789abc<_.~\\/", max_size=60))
def test_any_punctuation_is_read_or_refused(text: str) -> None:
    with suppress(InvalidYaml):
        load_documents(text)


def read(folder: Path, text: str, file: str = "a.yaml") -> TenantFile:
    (folder / file).write_text(text)
    return look(folder, {})[file]


@pytest.mark.parametrize(
    "text",
    [
        "spec:\n  quotas: ~\n",
        "spec:\n  rateLimits:\n  # - {name: users.write, requests: 5}\n",
        "spec:\n",
        "spec: {suspended: null, weight: ~, llm: {models: ~}}\n",
        "status:\n",
    ],
)
def test_field_without_a_value_is_left_out(tmp_path: Path, text: str) -> None:
    file = read(tmp_path, HEAD + text)
    assert file.problems == ()
    assert file.tenants["one"].spec.model_dump(exclude_defaults=True).keys() <= {"llm"}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("spec: {display_name: x}", "spec.display_name"),
        ("spec: {rate_limits: []}", "spec.rate_limits"),
        ("spec: {foo: ~}", "spec.foo"),
        ("status: {foo: 1}", "status.foo"),
        ("spec: {displayName: 1.10}", "spec.displayName"),
        ("spec: {displayName: y}", "spec.displayName"),
        ('spec: {displayName: "a\\x07"}', "spec.displayName"),
        ("spec: {rateLimits: [{name: users.write, requests: 1:30}]}", "requests"),
        ("spec: {quotas: [{name: storedUsers, limit: 5.5}]}", "limit"),
    ],
)
def test_what_the_cluster_refuses_names_its_field(tmp_path: Path, text: str, path: str) -> None:
    file = read(tmp_path, HEAD + text)
    assert file.tenants == {}
    assert path in file.problems[0].path


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ("foo: 1", "metadata.foo"),
        ("labels: {a: 1}", "metadata.labels[a]"),
        ("labels: {a: 'b c'}", "metadata.labels[a]"),
        ("annotations: {a: yes}", "metadata.annotations[a]"),
        ("annotations: {'a b': x}", "metadata.annotations[a b]"),
        ("annotations: [a]", "metadata.annotations"),
        ("finalizers: [A/b/c]", "metadata.finalizers"),
    ],
)
def test_metadata_that_the_cluster_refuses_is_refused(
    tmp_path: Path, metadata: str, path: str
) -> None:
    file = read(tmp_path, HEAD.replace("name: one", f"name: one, {metadata}"))
    assert file.tenants == {}
    assert [problem.path for problem in file.problems] == [path]


def test_dates_and_nothing_are_texts_in_annotations(tmp_path: Path) -> None:
    text = HEAD.replace("name: one", "name: 2026-01-01, annotations: {a: 2026-01-01, b: ~}")
    file = read(tmp_path, text)
    assert file.tenants["2026-01-01"].metadata.annotations == {"a": "2026-01-01", "b": ""}


def test_list_of_tenants_gives_its_items_their_kind(tmp_path: Path) -> None:
    text = (
        "apiVersion: mesh.distributedai.io/v1alpha1\nkind: TenantList\n"
        "items: [{metadata: {name: one}}, {metadata: {name: two}}]\n"
    )
    assert set(read(tmp_path, text).tenants) == {"one", "two"}
