"""YAML and JSON written by people, read without trust, and as kubectl reads it.

Only plain values come out: no Python objects, no key given twice, no document nested deeper than
any of ours, no aliases that blow a small file up. All of that is refused before a value is built,
with the line and column of what is wrong. Where kubectl would pass over a part of the file in
silence, it is refused here.

Nodes are composed by PyYAML's Python code from the C parser's events. The C composer would be
faster, but it recurses on the C stack: 200 kB of `[` end the process, not just the file.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml
from yaml.composer import Composer

from meshkit.tenancy.json_text import InvalidJson, RepeatedKey, load_json
from meshkit.tenancy.yaml_scalars import NULL, STR, TAGS, json_number, meaning, tagged

DEPTH_MOST = 32
_IN_PROGRESS = -1
_MERGE = "tag:yaml.org,2002:merge"
_MAP, _SEQ = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"
_LEADING = re.compile(r"\A(?:[ \t]*(?:#[^\n]*)?\r?\n)*")
_CONTENT_AT_SEPARATOR = re.compile(r"^---[ \t]+[^#\s]", re.MULTILINE)
_END = re.compile(r"^\.\.\.(?:[ \t][^\n]*)?\r?$\n?", re.MULTILINE)
_AFTER_END = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*[ \t]*(?:#[^\n]*)?(?:\Z|---|\.\.\.)")
_SLASH = re.compile(r"(?<!\\)(?:\\\\)*\\/")
_THOUSANDS = re.compile(r"[0-9]{3}")


class InvalidYaml(Exception):
    """The text is no YAML that is accepted here; the message says where and why."""


def load_documents(text: str) -> list[Any]:
    """Return the documents in `text` as JSON values; what begins with a brace is read as JSON if
    it is JSON. Raises InvalidYaml."""
    try:
        if text.lstrip().startswith("{"):
            try:
                return load_json(text, DEPTH_MOST)
            except RepeatedKey as error:
                # YAML knows the line, unless the text is JSON that is no YAML.
                _said_by_yaml(text)
                raise InvalidYaml(str(error)) from None
            except InvalidJson:
                pass
        return _load_yaml(text)
    except yaml.MarkedYAMLError as error:
        raise InvalidYaml(_located(error)) from None
    except yaml.YAMLError as error:
        raise InvalidYaml(" ".join(str(error).split())) from None


def _said_by_yaml(text: str) -> None:
    try:
        _load_yaml(text)
    except yaml.MarkedYAMLError as error:
        if "twice" in (error.problem or ""):
            raise


def _load_yaml(text: str) -> list[Any]:
    _refuse_what_kubectl_drops(text)
    return list(_documents(text))


def _documents(text: str) -> Iterator[Any]:
    loader = _Loader(text)
    # Written out, every node and character of a document without aliases comes from one of its
    # own, so twice the text is a bound that only aliases can pass.
    allowance = 2 * len(text)
    while loader.check_node():
        node = loader.get_node()
        if node is None:
            continue
        allowance -= _weigh(node, {})
        if allowance < 0:
            raise _refusal("its aliases write out to far more than the file itself", node)
        yield _value(node)


class _Loader(Composer, yaml.CBaseLoader):
    """Composes in Python and only so deep; tags what is plain as kubectl does."""

    def __init__(self, text: str) -> None:
        yaml.CBaseLoader.__init__(self, text)
        Composer.__init__(self)
        self._depth = 0
        self._text = text

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > DEPTH_MOST:
            raise _refusal(f"it is nested deeper than {DEPTH_MOST} levels", parent)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        event = self.peek_event()
        node = super().compose_scalar_node(anchor)
        if isinstance(event, yaml.ScalarEvent) and event.tag == "!":
            node.tag = STR
        if node.style == '"' and _SLASH.search(
            self._text, node.start_mark.index, node.end_mark.index
        ):
            raise _refusal("\\/ is an escape of JSON; write / alone", node)
        return node

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """Return the tag of a node that has none."""
        if kind is not yaml.ScalarNode:
            return _MAP if kind is yaml.MappingNode else _SEQ
        if not implicit[0]:
            return STR
        return _MERGE if value == "<<" else meaning(value)[0]


def _weigh(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the nodes and characters under `node` with every alias written out."""
    weight = known.get(id(node))
    if weight == _IN_PROGRESS:
        raise _refusal("an alias stands inside of what it stands for", node)
    if weight is not None:
        return weight
    known[id(node)] = _IN_PROGRESS
    if isinstance(node, yaml.MappingNode):
        weight = 1 + sum(_weigh(part, known) for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        weight = 1 + sum(_weigh(item, known) for item in node.value)
    else:
        weight = 1 + len(node.value)
    known[id(node)] = weight
    return weight


def _value(node: yaml.Node) -> Any:
    """Return what a node stands for, as JSON has it."""
    if isinstance(node, yaml.MappingNode):
        _expect_tag(node, _MAP)
        return _mapping(node)
    if isinstance(node, yaml.SequenceNode):
        _expect_tag(node, _SEQ)
        return [_value(item) for item in node.value]
    # `<<` as a value is a text.
    if node.tag == _MERGE:
        return node.value
    if node.tag not in TAGS:
        raise _refusal(f"the tag {node.tag[:64]} is not read here; leave it out", node)
    try:
        value = tagged(node.tag, node.value)
        return json_number(value) if isinstance(value, float) else value
    except ValueError as error:
        raise _refusal(str(error), node) from None


def _mapping(node: yaml.MappingNode) -> dict[str, Any]:
    values: dict[str, Any] = {}
    own: set[str] = set()
    for key_node, value_node in node.value:
        key = _key(key_node)
        if key in own:
            raise _refusal(f"the key {key[:64]!r} is given twice", key_node)
        own.add(key)
        if key_node.tag != _MERGE:
            if _THOUSANDS.fullmatch(key_node.value) and _is_left_out(value_node):
                message = f"{key_node.value} has no value; a number is written without commas"
                raise _refusal(message, key_node)
            values[key] = _value(value_node)
            continue
        merged = _merged(value_node)
        if before := sorted(values.keys() & merged.keys()):
            message = f"<< has to stand before {before[0][:64]!r}: kubectl lets the later one win"
            raise _refusal(message, key_node)
        values |= merged
    return values


def _merged(node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node)
    merged: dict[str, Any] = {}
    for item in reversed(node.value) if isinstance(node, yaml.SequenceNode) else [node]:
        if not isinstance(item, yaml.MappingNode):
            raise _refusal("<< takes a map, or a list of maps", item)
        merged |= _mapping(item)
    return merged


def _key(node: yaml.Node) -> str:
    value = _value(node) if isinstance(node, yaml.ScalarNode) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise _refusal("a key has to be plain text; put it in quotes", node)


def _is_left_out(node: yaml.Node) -> bool:
    return node.tag == NULL and node.value == ""


def _expect_tag(node: yaml.Node, tag: str) -> None:
    if node.tag != tag:
        raise _refusal(f"the tag {node.tag[:64]} is not read here; leave it out", node)


def _refuse_what_kubectl_drops(text: str) -> None:
    """kubectl splits a file at lines of `---` and reads one document of each part."""
    leading = _LEADING.match(text)
    start = leading.end() if leading else 0
    if text.startswith("%", start):
        raise InvalidYaml("it begins with a directive (%), which kubectl does not read")
    if match := _CONTENT_AT_SEPARATOR.search(text):
        line = text.count("\n", 0, match.start()) + 1
        raise InvalidYaml(f"line {line}: a document begins on the line after ---")
    for match in _END.finditer(text):
        if _AFTER_END.match(text, match.end()) is None:
            line = text.count("\n", 0, match.start()) + 1
            raise InvalidYaml(f"line {line}: kubectl reads nothing after ...; separate with ---")


def _refusal(problem: str, node: yaml.Node | None) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark if node else None)


def _located(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "it cannot be read"
    mark = error.problem_mark or error.context_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem


__all__ = ["InvalidYaml", "load_documents"]
