"""What the API server would take of a file: the checks of `kubectl apply` that models do not make.

The models of `spec` judge the spec. Here are the metadata, which Kubernetes judges by rules of its
own, and the status, which it does not store from a file but in which it finds unknown fields.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from meshkit.errors import FieldProblem
from meshkit.tenancy.crds import TENANT_STATUS
from meshkit.tenancy.documents import InvalidDocument

_METADATA = frozenset(
    {
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)
_NAME = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PREFIX_MOST = 253
_ANNOTATIONS_MOST_BYTES = 256 * 1024
_KEY = (
    "is no key: letters, digits, '-', '_' and '.', at most 63, after an optional DNS name and '/'"
)
_VALUE = "has to be at most 63 letters, digits, '-', '_' and '.', a letter or digit at both ends"


def as_stored(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Tenant or TenantPlan as the API server reads it. Raises InvalidDocument."""
    metadata = document.get("metadata")
    problems = list(_unknown_in_status(document))
    stored = dict(document)
    if isinstance(metadata, Mapping):
        problems += _in_metadata(metadata)
        stored["metadata"] = _texts(metadata)
    if problems:
        raise InvalidDocument(problems)
    return stored


def _texts(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata with the empty text for annotations and labels without a value."""
    texts = dict(metadata)
    for field in ("annotations", "labels"):
        members = metadata.get(field)
        if isinstance(members, Mapping):
            texts[field] = {key: "" if text is None else text for key, text in members.items()}
    return texts


def _in_metadata(metadata: Mapping[str, Any]) -> Iterator[FieldProblem]:
    for field in sorted(metadata.keys() - _METADATA):
        yield FieldProblem(f"metadata.{field}", "is not a field here; check the spelling")
    for field in ("namespace", "generateName"):
        if not isinstance(metadata.get(field) or "", str):
            yield FieldProblem(f"metadata.{field}", "has to be text; put it in quotes")
    yield from _in_map(metadata, "labels")
    yield from _in_map(metadata, "annotations")
    yield from _in_finalizers(metadata.get("finalizers"))


def _in_map(metadata: Mapping[str, Any], field: str) -> Iterator[FieldProblem]:
    members = metadata.get(field)
    if members is None:
        return
    if not isinstance(members, Mapping):
        yield FieldProblem(f"metadata.{field}", "has to be a map of texts")
        return
    size = 0
    for key, text in members.items():
        path = f"metadata.{field}[{key[:64]}]"
        size += len(key.encode()) + len(str(text or "").encode())
        if not _is_key(key.lower() if field == "annotations" else key):
            yield FieldProblem(path, _KEY)
        elif not isinstance(text, str | None):
            yield FieldProblem(path, "has to be text; put it in quotes")
        elif field == "labels" and text and not _NAME.fullmatch(text):
            yield FieldProblem(path, _VALUE)
    if field == "annotations" and size > _ANNOTATIONS_MOST_BYTES:
        yield FieldProblem("metadata.annotations", f"has over {_ANNOTATIONS_MOST_BYTES} bytes")


def _in_finalizers(finalizers: Any) -> Iterator[FieldProblem]:
    if finalizers is None:
        return
    named = isinstance(finalizers, list) and all(isinstance(one, str) for one in finalizers)
    if not named or not all(map(_is_key, finalizers)):
        yield FieldProblem("metadata.finalizers", "has to be a list of names with a DNS name")


def _is_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > _PREFIX_MOST or not _PREFIX.fullmatch(prefix)):
        return False
    return _NAME.fullmatch(name) is not None


def _unknown_in_status(document: Mapping[str, Any]) -> Iterator[FieldProblem]:
    if document.get("kind") == "Tenant":
        yield from _unknown(TENANT_STATUS, document.get("status"), "status")


def _unknown(schema: Mapping[str, Any], value: Any, path: str) -> Iterator[FieldProblem]:
    known: Mapping[str, Any] = schema.get("properties", {})
    if isinstance(value, Mapping) and known:
        for name, member in value.items():
            if name in known:
                yield from _unknown(known[name], member, f"{path}.{name}")
            else:
                message = "is not a field here; check the spelling"
                yield FieldProblem(f"{path}.{name}", message)
    elif isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value):
            yield from _unknown(schema["items"], item, f"{path}[{number}]")


__all__ = ["as_stored"]
