"""Makes values.schema.json and README.md of each chart from the comments of its values.yaml.

    python charts/generate.py            writes them
    python charts/generate.py --check    writes nothing; status 1 where one is stale

A comment `# -- text` above a value describes it, as in helm-docs; `# @schema {json}` below that is
laid over the schema that follows from the default: its type, whole numbers of 0 and more, and of a
map nothing but the keys that are there. So a typo in a value is refused by its name. null is the
same as empty where the default is empty, and refused where it is not.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHARTS = Path(__file__).parent
_KEY = re.compile(r"( *)([A-Za-z][\w.-]*):")
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}

_BADGES = "https://img.shields.io/badge"

Paths = dict[tuple[str, ...], "Said"]


@dataclass(frozen=True, slots=True)
class Said:
    """What the comment above a value says."""

    description: str
    schema: dict[str, Any]


def comments(text: str) -> Paths:
    """Return what is said of each value, by its path. Raises ValueError for a bad schema."""
    said: Paths = {}
    parents: list[tuple[int, str]] = []
    description, schema, open_ = "", "{}", False
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            description, open_ = stripped.removeprefix("# -- "), True
        elif stripped.startswith("# @schema "):
            schema, open_ = stripped.removeprefix("# @schema "), False
        elif stripped.startswith("# ") and open_:
            description += " " + stripped.removeprefix("# ")
        elif key := _KEY.match(line):
            indent, name = len(key[1]), key[2]
            parents = [parent for parent in parents if parent[0] < indent] + [(indent, name)]
            path = tuple(name for _, name in parents)
            said[path] = Said(description, json.loads(schema))
            description, schema, open_ = "", "{}", False
    return said


def schema_of(value: Any, said: Paths, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the schema of a value that has this default.

    Helm takes a key whose value is null out of the values. What may be empty may be that, too; for
    the rest a template would find nothing where it needs something, so it is required.
    """
    own = said.get(path, Said("", {}))
    schema: dict[str, Any] = {"description": own.description} if own.description else {}
    empty = value in ("", [], {})
    if isinstance(value, dict):
        schema |= {"type": ["object", "null"] if empty else "object", "additionalProperties": False}
        if not {"properties", "additionalProperties"} & own.schema.keys() or (
            value and own.schema.get("additionalProperties") is True
        ):
            schema["properties"] = {k: schema_of(v, said, (*path, k)) for k, v in value.items()}
            schema["required"] = [
                name for name, part in schema["properties"].items() if "null" not in part["type"]
            ]
    elif isinstance(value, list):
        schema |= {"type": ["array", "null"]} if empty else {"type": "array", "minItems": 1}
    else:
        name = _TYPES[type(value)]
        schema["type"] = [name, "null"] if empty else name
        schema |= {"integer": {"minimum": 0}, "string": {} if empty else {"minLength": 1}}.get(
            name, {}
        )
    schema |= own.schema
    if "null" in schema["type"] and "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    return schema


def values_schema(chart: Path) -> str:
    """Return the values.schema.json of a chart."""
    text = (chart / "values.yaml").read_text()
    schema = schema_of(yaml.safe_load(text), comments(text))
    if "global" not in schema["properties"]:
        # Helm hands it to each part; by itself a part has none of it.
        schema["properties"]["global"] = _optional(_global())
    document = {"$schema": "http://json-schema.org/draft-07/schema#", "title": chart.name}
    return json.dumps(document | schema, indent=2) + "\n"


def _global() -> dict[str, Any]:
    """Return the schema of what all charts share, as the umbrella chart has it."""
    text = (CHARTS / "event-mesh/values.yaml").read_text()
    return schema_of({"global": yaml.safe_load(text)["global"]}, comments(text))["properties"][
        "global"
    ]


def _optional(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that requires nothing."""
    parts = {name: _optional(part) for name, part in schema.get("properties", {}).items()}
    kept = {name: one for name, one in schema.items() if name != "required"}
    return kept | ({"properties": parts} if parts else {})


def rows(
    value: Any, said: Paths, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, str, str, str]]:
    """Yield key, type, default and description of each value."""
    own = said.get(path, Said("", {}))
    if isinstance(value, dict) and value and not own.description:
        for name in sorted(value):
            yield from rows(value[name], said, (*path, name))
        return
    kind = {dict: "object", list: "list", bool: "bool", int: "int"}.get(type(value), "string")
    default = json.dumps(value).replace("|", "\\|")
    yield ".".join(path), kind, f"`{default}`", own.description.replace("|", "\\|")


def readme(chart: Path) -> str:
    """Return the README.md of a chart, in the form of helm-docs."""
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    text = (chart / "values.yaml").read_text()
    badges = [
        f"![{name}: {value}]({_BADGES}/{name}-{value.replace('-', '--')}-informational)"
        for name, value in (("Version", about["version"]), ("AppVersion", about["appVersion"]))
    ]
    lines = [f"# {about['name']}", "", " ".join(badges), "", about["description"], ""]
    if dependencies := about.get("dependencies"):
        lines += ["## Requirements", "", "| Repository | Name | Version |", "|---|---|---|"]
        lines += [f"| {d['repository']} | {d['name']} | {d['version']} |" for d in dependencies]
        lines += [""]
    lines += [
        "How to install, upgrade and remove: [operations](../../docs/operations.md#on-kubernetes).",
        "Needs Helm 3.17 or newer, or Helm 4:"
        " [how they differ](../../docs/operations.md#helm-3-and-helm-4).",
        "null is the same as empty where the default is empty; elsewhere it is refused.",
    ]
    lines += ["", "## Values", "", "| Key | Type | Default | Description |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows(yaml.safe_load(text), comments(text))]
    return "\n".join([*lines, "", "Made from values.yaml by `make docs`."]) + "\n"


def documents() -> dict[Path, str]:
    """Return every document by its path."""
    charts = sorted(path.parent for path in CHARTS.glob("*/Chart.yaml"))
    schemas = {chart / "values.schema.json": values_schema(chart) for chart in charts}
    return schemas | {chart / "README.md": readme(chart) for chart in charts}


def main() -> int:
    """Write what is stale, or with --check say it and return 1."""
    stale = {path: text for path, text in documents().items() if not _same(path, text)}
    if "--check" not in sys.argv:
        for path, text in stale.items():
            path.write_text(text)
        return 0
    for path in stale:
        sys.stderr.write(f"stale: {path.relative_to(CHARTS.parent)}. Run `make docs`.\n")
    return int(bool(stale))


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
