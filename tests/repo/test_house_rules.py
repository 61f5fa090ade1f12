"""The rules of the house, kept by a machine rather than by a reviewer."""

import ast
import importlib
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from meshkit.settings import settings_markdown
from meshkit.web.problem import errors_markdown

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    [*(ROOT / "services").glob("*/src/**/*.py"), *(ROOT / "k8s-operator/src").glob("**/*.py")]
)
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tenants/*.md")]
TRACKED = [
    ROOT / line
    for line in subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


KAFKA_MODULES = ("consumer", "log", "messages", "producer", "reader", "topics", "watch")


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_module_tells_its_story_within_600_lines(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= 600
    if path.name != "__init__.py":
        assert ast.get_docstring(ast.parse(source)), "a module opens with its story"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_public_functions_and_classes_say_what_they_do(path: Path) -> None:
    silent = [
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        # What an error means is said by its class attributes, and shown to people from there.
        and path.name != "errors.py"
    ]
    assert silent == []


@pytest.mark.parametrize("path", [p for p in MODULES if "/meshkit/" in str(p)], ids=name)
def test_library_modules_declare_what_is_public(path: Path) -> None:
    if path.name == "__init__.py":
        assert path.read_text() == ""
        return
    package = path.relative_to(ROOT / "services/meshkit/src").with_suffix("")
    module = importlib.import_module(".".join(package.parts))
    assert module.__all__ == sorted(module.__all__, key=_ruffs_order)
    for public in module.__all__:
        assert hasattr(module, public)


def _ruffs_order(word: str) -> tuple[int, str]:
    return (0 if word.isupper() else 1 if word[0].isupper() else 2, word)


def test_every_make_target_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE))
    explained = set(re.findall(r"^([a-z0-9-]+):.*## ", makefile, re.MULTILINE))
    assert phony == explained


def test_no_file_names_a_registry_or_a_machine() -> None:
    hosts = re.compile(r"pypi\.org|registry\.npmjs|crates\.io|proxy\.golang|docker\.io|quay\.io")
    paths = re.compile(r"/(?:work|root|farm)/[a-z.]")
    for path in TRACKED:
        if path.name in {"uv.lock", "LICENSE", Path(__file__).name} or not path.exists():
            continue
        text = path.read_text(errors="replace")
        assert not hosts.search(text), path
        assert not paths.search(text), path


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/decisions/0*.md")), ids=name)
def test_decision_has_every_section(path: Path) -> None:
    text = path.read_text()
    for section in ("Context", "Decision", "Consequences", "Alternatives", "What holds it"):
        assert f"\n## {section}\n" in text


@pytest.mark.parametrize(
    ("path", "render"), [("errors.md", errors_markdown), ("settings.md", settings_markdown)]
)
def test_generated_document_is_as_generated(path: str, render: object) -> None:
    assert callable(render)
    assert (ROOT / "docs" / path).read_text() == render()


@pytest.mark.parametrize(
    ("package", "doors"),
    [
        ("qdrant_edge", ["vector_store/edge_collection.py"]),
        ("qdrant_client", ["vector_store/qdrant_layout.py"]),
        ("confluent_kafka", [f"events/kafka_{m}.py" for m in KAFKA_MODULES]),
        ("kopf", ["tenant_operator/handlers.py", "tenant_operator/main.py"]),
    ],
)
def test_outside_systems_have_one_door_each(package: str, doors: list[str]) -> None:
    importing = [
        f"{path.parent.name}/{path.name}"
        for path in MODULES
        if re.search(rf"^\s*(import|from) {package}", path.read_text(), re.M)
    ]
    assert sorted(importing) == sorted(doors)


@pytest.mark.parametrize("path", sorted(ROOT.glob("charts/*/files/rbac/*.yaml")), ids=name)
def test_rights_are_of_one_namespace_and_spelled_out(path: Path) -> None:
    role = yaml.safe_load(path.read_text())
    assert role["kind"] == "Role"
    for rule in role["rules"]:
        assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}


def test_stores_take_the_tenant_first() -> None:
    source = (ROOT / "services/ai-gateway/src/ai_gateway/vector_store/port.py").read_text()
    (store,) = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == "VectorStore"
    ]
    for method in store.body:
        if isinstance(method, ast.AsyncFunctionDef) and method.name not in {
            "apply",  # each change holds its tenant
            "revisions",  # so does each key
            "check",
            "flush",
            "keep_markers",  # of the collection: reads and returns nothing of any tenant
            "note_partitions",  # so does this
            "close",
        }:
            assert method.args.args[1].arg == "tenant", method.name
