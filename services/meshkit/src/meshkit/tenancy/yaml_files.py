"""One YAML file of tenants and plans: read, parsed, and every problem said.

A document that is wrong does not hide its neighbours in the file. YAML is read safely (no Python
objects), a key given twice is an error rather than a silent winner, and files are bounded in size.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from meshkit.tenancy.documents import InvalidDocument, parse_plan, parse_tenant
from meshkit.tenancy.source import TenantProblem
from meshkit.tenancy.spec import GROUP, Tenant, TenantPlan

FILE_MOST_BYTES = 1024 * 1024

Signature = tuple[int, int, int]
"""Modification time, size and inode: the file changed if one of them did."""


class _Loader(yaml.CSafeLoader):
    """PyYAML's safe loader, but a key given twice is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} is given twice",
                    problem_mark=node.value[index][0].start_mark,
                )
        return super().construct_mapping(node, deep)


@dataclass(frozen=True, slots=True)
class TenantFile:
    """What a file holds. `broken` names the objects in it that are not valid; `unreadable` says
    that it is not even YAML, so that nothing is known of what it meant to hold."""

    signature: Signature
    tenants: dict[str, Tenant] = field(default_factory=dict)
    plans: dict[str, TenantPlan] = field(default_factory=dict)
    problems: tuple[TenantProblem, ...] = ()
    broken: frozenset[tuple[str, str]] = frozenset()
    unreadable: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing at all in it, not even something wrong."""
        return not (self.tenants or self.plans or self.problems)


def signature(path: Path) -> Signature:
    """Return the signature of a file. Raises OSError."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_file(path: Path, signed: Signature) -> TenantFile:
    """Return what the file at `path` holds; never raises for its content."""
    try:
        if signed[1] > FILE_MOST_BYTES:
            raise ValueError(f"the file is larger than {FILE_MOST_BYTES} bytes")
        with path.open(encoding="utf-8") as stream:
            documents = list(yaml.load_all(stream, _Loader))
    except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:
        message = " ".join(str(error).split())
        problem = TenantProblem(path.name, path.stem, "file", f"cannot be read: {message}")
        return TenantFile(signed, problems=(problem,), unreadable=True)
    return _collect(path, signed, documents)


def _collect(path: Path, signed: Signature, documents: list[Any]) -> TenantFile:
    tenants: dict[str, Tenant] = {}
    plans: dict[str, TenantPlan] = {}
    problems: list[TenantProblem] = []
    broken: set[tuple[str, str]] = set()
    for document in _flattened(documents):
        kind, name = _identity(document)
        try:
            parsed = _parse(document)
        except InvalidDocument as error:
            broken.add((kind, name))
            problems += (TenantProblem(path.name, name, p.path, p.message) for p in error.problems)
            continue
        if parsed is None:
            continue
        known: dict[str, Any] = tenants if isinstance(parsed, Tenant) else plans
        if name in known:
            message = f"{kind} {name} is in this file more than once"
            problems.append(TenantProblem(path.name, name, "metadata.name", message))
        else:
            known[name] = parsed
    return TenantFile(signed, tenants, plans, tuple(problems), frozenset(broken))


def _flattened(documents: list[Any]) -> Iterator[Any]:
    """Yield documents, and the items of Kubernetes' `List` in their place."""
    for document in documents:
        if isinstance(document, dict) and document.get("kind") == "List":
            yield from document.get("items") or ()
        elif document is not None:
            yield document


def _identity(document: Any) -> tuple[str, str]:
    if not isinstance(document, dict):
        return "document", "?"
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return str(document.get("kind")), str(name) if name else "?"


def _parse(document: Any) -> Tenant | TenantPlan | None:
    """Return the object in a document; None for other Kubernetes objects, which are not ours."""
    if not isinstance(document, dict):
        return parse_tenant({"document": document})
    if document.get("kind") == "TenantPlan":
        return parse_plan(document)
    api_version = str(document.get("apiVersion", GROUP))
    if document.get("kind") != "Tenant" and not api_version.startswith(GROUP):
        return None
    return parse_tenant(document)


__all__ = ["FILE_MOST_BYTES", "Signature", "TenantFile", "read_file", "signature"]
