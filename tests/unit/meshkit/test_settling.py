"""Files that are read while they are written: what is missing from them is not deleted at once."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders import plan_document, tenant_document
from meshkit.tenancy.catalogue import Catalogue, Outcome
from meshkit.tenancy.folder import look
from meshkit.tenancy.settling import GONE_SECONDS, LOST_SECONDS, SHRUNK_SECONDS, Settling
from meshkit.tenancy.yaml_files import TenantFile

EMPTY_LIST = {"apiVersion": "v1", "kind": "List", "items": []}


class Folder:
    """A folder that is looked at when a test says so, on a clock that stands until it is set."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 0.0
        self._read: dict[str, TenantFile] = {}
        self._settling = Settling()
        self._catalogue = Catalogue()

    def put(self, file: str, *documents: Any) -> None:
        self.write(file, yaml.safe_dump_all(documents))

    def write(self, file: str, text: str) -> None:
        (self.path / file).write_text(text)

    def look(self, after: float = 0.0) -> Outcome:
        self.now += after
        self._read = look(self.path, self._read)
        return self._catalogue.update(self._settling.settle(self._read, self.now))

    def tenants(self, after: float = 0.0) -> list[str]:
        return sorted(self.look(after).policies)

    @property
    def wait(self) -> float | None:
        return self._settling.wait(self.now)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path)
    folder.put("a.yaml", tenant_document("one"), tenant_document("two"), tenant_document("three"))
    folder.put("b.yaml", tenant_document("other"))
    assert folder.tenants() == ["one", "other", "three", "two"]
    return folder


@pytest.mark.parametrize(
    "text", ["", " \n\n", "# one\n# two\n", "---\n", "---\n---\n# x\n", "null"]
)
def test_file_that_is_empty_now_keeps_its_tenants_and_says_so(folder: Folder, text: str) -> None:
    folder.write("a.yaml", text)
    assert folder.look().problems == ()
    outcome = folder.look(after=SHRUNK_SECONDS)
    for _ in range(3):
        assert sorted(outcome.policies) == ["one", "other", "three", "two"]
        (problem,) = outcome.problems
        assert (problem.source, problem.kept) == ("a.yaml", True)
        assert "delete the file" in problem.message
        outcome = folder.look(after=3600)
    folder.put("a.yaml", tenant_document("one"))
    assert folder.look().problems == ()
    assert folder.tenants(after=LOST_SECONDS) == ["one", "other"]


def test_emptied_file_that_is_written_in_time_was_never_a_problem(folder: Folder) -> None:
    folder.write("b.yaml", "")
    assert folder.look().problems == ()
    folder.put("b.yaml", tenant_document("other", weight=7))
    outcome = folder.look(after=SHRUNK_SECONDS / 2)
    assert outcome.problems == ()
    assert outcome.policies["other"].weight.value == 7


def test_emptied_file_that_is_removed_takes_its_tenants_along(folder: Folder) -> None:
    folder.write("b.yaml", "")
    folder.look()
    folder.look(after=SHRUNK_SECONDS)
    (folder.path / "b.yaml").unlink()
    folder.look()
    outcome = folder.look(after=GONE_SECONDS)
    assert "other" not in outcome.policies
    assert outcome.problems == ()


def test_empty_list_deletes_what_was_in_the_file(folder: Folder) -> None:
    folder.put("a.yaml", EMPTY_LIST)
    assert len(folder.tenants()) == 4
    outcome = folder.look(after=LOST_SECONDS)
    assert list(outcome.policies) == ["other"]
    assert outcome.problems == ()


def test_list_whose_items_are_all_comments_deletes_nothing(folder: Folder) -> None:
    folder.write("a.yaml", "apiVersion: v1\nkind: List\nitems:\n# - kind: Tenant\n")
    folder.look()
    outcome = folder.look(after=3600)
    assert len(outcome.policies) == 4
    assert outcome.problems[0].path == "items"


def test_file_cut_between_documents_keeps_the_last_ones_until_it_is_still(folder: Folder) -> None:
    whole = (folder.path / "a.yaml").read_text()
    for end in range(0, len(whole), 7):
        folder.write("a.yaml", whole[:end])
        assert len(folder.tenants(after=LOST_SECONDS / 2)) == 4, whole[:end]
    folder.write("a.yaml", whole)
    assert len(folder.tenants(after=LOST_SECONDS)) == 4
    assert folder.look().problems == ()
    assert folder.wait is None


def test_object_that_stays_missing_is_deleted(folder: Folder) -> None:
    folder.put("a.yaml", tenant_document("one"), tenant_document("new", weight=3))
    assert folder.tenants() == ["one", "other", "three", "two"]
    assert folder.wait == LOST_SECONDS
    assert folder.tenants(after=LOST_SECONDS - 0.1) == ["one", "other", "three", "two"]
    assert folder.tenants(after=0.1) == ["new", "one", "other"]
    assert folder.wait is None


def test_file_that_goes_on_changing_deletes_nothing(folder: Folder) -> None:
    for number in range(5):
        folder.put("a.yaml", tenant_document("one", weight=number + 1))
        assert len(folder.tenants(after=LOST_SECONDS / 2)) == 4
    assert folder.tenants(after=LOST_SECONDS) == ["one", "other"]


def test_object_that_moves_to_another_file_is_not_missing(folder: Folder) -> None:
    folder.put("a.yaml", tenant_document("one"), tenant_document("two"))
    folder.put("c.yaml", tenant_document("three", weight=9))
    outcome = folder.look()
    assert outcome.problems == ()
    assert outcome.policies["three"].weight.value == 9
    assert folder.wait is None


def test_plan_that_is_cut_off_holds_like_a_tenant(folder: Folder) -> None:
    folder.put(
        "b.yaml",
        tenant_document("other", plan="gold"),
        plan_document("gold", defaults={"weight": 9}),
    )
    folder.look()
    folder.put("b.yaml", tenant_document("other", plan="gold"))
    outcome = folder.look()
    assert outcome.policies["other"].weight.value == 9
    assert outcome.problems == ()


def test_file_written_in_place_counts_once_it_no_longer_grows(folder: Folder) -> None:
    folder.write("b.yaml", yaml.safe_dump(tenant_document("other"), sort_keys=False))
    long = yaml.safe_dump(tenant_document("other", weight=7, suspended=True), sort_keys=False)
    folder.write("b.yaml", long)
    assert folder.look().policies["other"].weight.value == 7
    folder.write("b.yaml", long[: long.index("  suspended")])
    assert folder.look().policies["other"].state == "Suspended"
    assert folder.wait == SHRUNK_SECONDS
    assert folder.look(after=SHRUNK_SECONDS).policies["other"].state == "Active"


def test_file_renamed_into_place_is_whole_and_counts_at_once(folder: Folder) -> None:
    folder.put("b.yaml", tenant_document("other", weight=7, suspended=True))
    folder.look()
    folder.put(".new", tenant_document("other", weight=3))
    os.replace(folder.path / ".new", folder.path / "b.yaml")
    assert folder.look().policies["other"].weight.value == 3
    assert folder.wait is None


def test_file_that_is_away_for_a_moment_deletes_nothing(folder: Folder) -> None:
    (folder.path / "b.yaml").rename(folder.path / "b.yaml~")
    assert "other" in folder.tenants()
    (folder.path / "b.yaml~").rename(folder.path / "b.yaml")
    assert "other" in folder.tenants(after=1)
    (folder.path / "b.yaml").unlink()
    assert "other" in folder.tenants()
    assert "other" not in folder.tenants(after=GONE_SECONDS)


def test_file_replaced_by_a_folder_keeps_its_tenants(folder: Folder) -> None:
    (folder.path / "b.yaml").unlink()
    (folder.path / "b.yaml").mkdir()
    folder.look()
    outcome = folder.look(after=3600)
    assert "other" in outcome.policies
    assert outcome.problems[0].source == "b.yaml"


def test_link_that_points_to_nothing_keeps_its_tenants(folder: Folder) -> None:
    (folder.path / "b.yaml").unlink()
    (folder.path / "b.yaml").symlink_to("gone.yaml")
    folder.look()
    outcome = folder.look(after=3600)
    assert "other" in outcome.policies
    assert "No such file" in outcome.problems[0].message


def test_mounted_configmap_is_swapped_without_losing_a_tenant(tmp_path: Path) -> None:
    def version(number: int, **files: dict[str, Any]) -> None:
        """As the kubelet does it: a folder for each version, one link that is swapped."""
        (tmp_path / f"..v{number}").mkdir()
        for name, document in files.items():
            path = tmp_path / f"..v{number}" / f"{name}.yaml"
            path.write_text(yaml.safe_dump(document))
        (tmp_path / "..new").symlink_to(f"..v{number}")
        os.replace(tmp_path / "..new", tmp_path / "..data")

    def link(name: str) -> None:
        (tmp_path / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")

    folder = Folder(tmp_path)
    version(1, a=tenant_document("one"), b=tenant_document("two"))
    link("a")
    link("b")
    assert folder.tenants() == ["one", "two"]
    # `two` moves to another file, whose link comes after the swap.
    version(2, a=tenant_document("one", weight=4), c=tenant_document("two", weight=5))
    assert folder.tenants() == ["one", "two"]
    link("c")
    (tmp_path / "b.yaml").unlink()
    outcome = folder.look(after=0.01)
    assert {n: p.weight.value for n, p in outcome.policies.items()} == {"one": 4, "two": 5}
    version(3, c=tenant_document("two"))
    (tmp_path / "a.yaml").unlink()
    folder.look()
    assert folder.tenants(after=GONE_SECONDS) == ["two"]
