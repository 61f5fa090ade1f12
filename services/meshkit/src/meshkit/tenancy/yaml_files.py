"""One YAML file of tenants and plans: read, parsed, and every problem said.

A document that is wrong does not hide its neighbours in the file. Only regular files of a bounded
size are read: a pipe would block for ever, a device would never end.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshkit.errors import FieldProblem
from meshkit.tenancy.documents import InvalidDocument, parse_plan, parse_tenant
from meshkit.tenancy.source import TenantProblem
from meshkit.tenancy.spec import GROUP, Tenant, TenantPlan
from meshkit.tenancy.yaml_text import InvalidYaml, load_documents

FILE_MOST_BYTES = 1024 * 1024

Signature = tuple[int, ...]
"""What the file system knows of a file; its content changed only if one of them did."""


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


def read_file(path: Path, signed: Signature) -> TenantFile:
    """Return what the file at `path` holds; never raises for its content."""
    try:
        documents = load_documents(_text(path))
    except InvalidYaml as error:
        reason = str(error)
    except UnicodeDecodeError as error:
        reason = f"it is not text in UTF-8 (byte {error.start})"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    else:
        return _collect(path.name, signed, documents)
    problem = TenantProblem(path.name, path.stem, "file", f"the file cannot be read: {reason}")
    return TenantFile(signed, problems=(problem,), unreadable=True)


def _text(path: Path) -> str:
    # Non-blocking, for opening a pipe would otherwise wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidYaml("it is not a regular file")
        content = stream.read(FILE_MOST_BYTES + 1)
    if len(content) > FILE_MOST_BYTES:
        raise InvalidYaml(f"it is larger than {FILE_MOST_BYTES} bytes; split it")
    return content.decode("utf-8-sig")


def _collect(source: str, signed: Signature, documents: list[Any]) -> TenantFile:
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
            problems += (TenantProblem(source, name, p.path, p.message) for p in error.problems)
            continue
        if parsed is None:
            continue
        known: dict[str, Any] = tenants if isinstance(parsed, Tenant) else plans
        if name in known:
            message = f"{kind} {name} is in this file more than once; the first one holds"
            problems.append(TenantProblem(source, name, "metadata.name", message))
        else:
            known[name] = parsed
    return TenantFile(signed, tenants, plans, tuple(problems), frozenset(broken))


def _flattened(documents: list[Any]) -> Iterator[Any]:
    """Yield documents, and the items of Kubernetes' `List` in their place."""
    for document in documents:
        items = document.get("items") if isinstance(document, dict) else None
        if isinstance(items, list) and document.get("kind") == "List":
            yield from items
        elif document is not None:
            yield document


def _identity(document: Any) -> tuple[str, str]:
    if not isinstance(document, dict):
        return "document", "?"
    kind, metadata = document.get("kind"), document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return kind if isinstance(kind, str) else "?", name[:63] if isinstance(name, str) else "?"


def _parse(document: Any) -> Tenant | TenantPlan | None:
    """Return the object in a document; None for other Kubernetes objects, which are not ours."""
    if not isinstance(document, dict):
        raise InvalidDocument([FieldProblem("document", "has to be an object with fields")])
    kind, version = document.get("kind"), document.get("apiVersion")
    if kind == "Tenant":
        return parse_tenant(document)
    if kind == "TenantPlan":
        return parse_plan(document)
    if isinstance(kind, str) and isinstance(version, str) and not version.startswith(GROUP):
        return None
    raise InvalidDocument([FieldProblem("kind", "has to be Tenant or TenantPlan")])


__all__ = ["FILE_MOST_BYTES", "Signature", "TenantFile", "read_file"]
