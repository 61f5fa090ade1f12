"""YAML written by people, read without trust.

Only plain values come out: no Python objects, no key given twice, no document nested deeper than
any of ours, no aliases that blow a small file up. All of that is refused before a value is built,
with the line and column of what is wrong.

Nodes are composed by PyYAML's Python code from the C parser's events. The C composer would be
faster, but it recurses on the C stack: 200 kB of `[` end the process, not just the file.
"""

from collections.abc import Iterator
from typing import Any

import yaml
from yaml._yaml import CParser
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

_DEPTH_MOST = 32
_IN_PROGRESS = -1


class InvalidYaml(Exception):
    """The text is no YAML that is accepted here; the message says where and why."""


def load_documents(text: str) -> list[Any]:
    """Return the documents in `text` as plain values. Raises InvalidYaml."""
    try:
        return list(_documents(text))
    except yaml.MarkedYAMLError as error:
        raise InvalidYaml(_located(error)) from None
    except yaml.YAMLError as error:
        raise InvalidYaml(" ".join(str(error).split())) from None
    # A tag that does not fit its value (`!!bool maybe`) fails in PyYAML in all of these ways.
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        raise InvalidYaml(f"a value does not fit its type ({error})") from None


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
        yield loader.construct_document(node)


class _Loader(Composer, CParser, SafeConstructor, Resolver):
    """PyYAML's safe loader, composing in Python and only so deep."""

    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > _DEPTH_MOST:
            raise _refusal(f"it is nested deeper than {_DEPTH_MOST} levels", parent)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _weigh(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the nodes and characters under `node` with every alias written out."""
    weight = known.get(id(node))
    if weight == _IN_PROGRESS:
        raise _refusal("an alias stands inside of what it stands for", node)
    if weight is not None:
        return weight
    known[id(node)] = _IN_PROGRESS
    if isinstance(node, yaml.MappingNode):
        _refuse_twice(node)
        weight = 1 + sum(_weigh(part, known) for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        weight = 1 + sum(_weigh(item, known) for item in node.value)
    else:
        weight = 1 + len(node.value)
    known[id(node)] = weight
    return weight


def _refuse_twice(node: yaml.MappingNode) -> None:
    """PyYAML lets the last of two equal keys win in silence."""
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _refusal("a key has to be plain text", key)
        if key.value in seen:
            raise _refusal(f"the key {key.value[:64]!r} is given twice", key)
        seen.add(key.value)


def _refusal(problem: str, node: yaml.Node | None) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark if node else None)


def _located(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "it cannot be read"
    mark = error.problem_mark or error.context_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem


__all__ = ["InvalidYaml", "load_documents"]
