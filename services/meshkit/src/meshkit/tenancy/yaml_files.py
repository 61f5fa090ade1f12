"""One YAML or JSON file of tenants and plans: read, parsed, and every problem said.

A document that is wrong does not hide its neighbours in the file. Only regular files of a bounded
size are read: a pipe would block for ever, a device would never end.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from meshkit.errors import FieldProblem
from meshkit.tenancy.documents import InvalidDocument, parse_plan, parse_tenant
from meshkit.tenancy.manifests import as_stored
from meshkit.tenancy.source import TenantProblem
from meshkit.tenancy.spec import GROUP, Tenant, TenantPlan
from meshkit.tenancy.yaml_text import InvalidYaml, load_documents

FILE_MOST_BYTES = 1024 * 1024

Signature = tuple[int, ...]
"""What the file system knows of a file; its content changed only if one of them did."""


@dataclass(frozen=True, slots=True)
class TenantFile:
    """What a file holds. `broken` names the objects in it that are not valid; `unreadable` says
    that it is not even YAML, so that nothing is known of what it meant to hold. A `blank` file has
    no document at all."""

    signature: Signature
    tenants: dict[str, Tenant] = field(default_factory=dict)
    plans: dict[str, TenantPlan] = field(default_factory=dict)
    problems: tuple[TenantProblem, ...] = ()
    broken: frozenset[tuple[str, str]] = frozenset()
    unreadable: bool = False
    blank: bool = False
    inode: int = 0
    size: int = 0


def read_file(path: Path, signed: Signature) -> TenantFile:
    """Return what the file at `path` holds; never raises for its content."""
    try:
        inode, content = _content(path)
        documents = load_documents(content.decode("utf-8-sig"))
    except InvalidYaml as error:
        reason = str(error)
    except UnicodeDecodeError as error:
        reason = f"it is not text in UTF-8 (byte {error.start})"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    else:
        return replace(_collect(path.name, signed, documents), inode=inode, size=len(content))
    problem = TenantProblem(path.name, path.stem, "file", f"the file cannot be read: {reason}")
    return TenantFile(signed, problems=(problem,), unreadable=True)


def _content(path: Path) -> tuple[int, bytes]:
    # Non-blocking, for opening a pipe would otherwise wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidYaml("it is not a regular file")
        content = stream.read(FILE_MOST_BYTES + 1)
    if len(content) > FILE_MOST_BYTES:
        raise InvalidYaml(f"it is larger than {FILE_MOST_BYTES} bytes; split it")
    return status.st_ino, content


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
    blank = all(document is None for document in documents)
    return TenantFile(signed, tenants, plans, tuple(problems), frozenset(broken), blank=blank)


def _flattened(documents: list[Any]) -> Iterator[Any]:
    """Yield documents, and the items of lists in their place, as kubectl does."""
    for document in documents:
        if document is None:
            continue
        items = document.get("items") if isinstance(document, dict) else None
        if not isinstance(items, list):
            yield document
            continue
        kind = document.get("kind")
        shared = {"apiVersion": document.get("apiVersion")}
        if isinstance(kind, str):
            shared["kind"] = kind.removesuffix("List")
        for item in items:
            named = isinstance(item, dict) and (item.get("kind") or item.get("apiVersion"))
            yield item if named or not isinstance(item, dict) else shared | item


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
        return parse_tenant(as_stored(document))
    if kind == "TenantPlan":
        return parse_plan(as_stored(document))
    if "items" in document:
        # Perhaps all of them are comments; nothing is deleted by that.
        raise InvalidDocument([FieldProblem("items", "has to be a list; [] where it is empty")])
    if isinstance(kind, str) and isinstance(version, str) and not version.startswith(GROUP):
        return None
    raise InvalidDocument([FieldProblem("kind", "has to be Tenant or TenantPlan")])


__all__ = ["FILE_MOST_BYTES", "Signature", "TenantFile", "read_file"]
