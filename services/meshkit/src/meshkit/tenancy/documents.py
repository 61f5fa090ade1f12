"""From a document (a mapping, as YAML or the API server gives it) to an object, or to the list of
everything that is wrong with it."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from meshkit.errors import FieldProblem
from meshkit.tenancy.nulls import without_nulls
from meshkit.tenancy.spec import Tenant, TenantPlan

T = TypeVar("T", Tenant, TenantPlan)

_MESSAGES = {
    "extra_forbidden": "is not a field here; check the spelling",
    "missing": "is required",
    "string_pattern_mismatch": "has to be a DNS-1123 label: lower-case letters, digits, hyphens",
}
_PATTERN_OF = {"displayName": "must not contain control characters, such as a line break"}
# Nobody reads more at once; a document made to have 60,000 must not cost seconds to report.
_PROBLEMS_MOST = 20


class InvalidDocument(Exception):
    """The document is no valid object; `problems` has what is wrong, each with its path."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__("; ".join(f"{p.path}: {p.message}" for p in problems))
        self.problems = tuple(problems)


def parse_tenant(document: Mapping[str, Any]) -> Tenant:
    """Return the Tenant in `document`. Raises InvalidDocument."""
    return _parse(Tenant, document)


def parse_plan(document: Mapping[str, Any]) -> TenantPlan:
    """Return the TenantPlan in `document`. Raises InvalidDocument."""
    return _parse(TenantPlan, document)


def _parse(model: type[T], document: Mapping[str, Any]) -> T:
    try:
        # By their names outside only: what the API server calls unknown is unknown here, too.
        present = without_nulls(document, model)
        return model.model_validate(present, by_alias=True, by_name=False)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        told = [_problem(document, problem) for problem in problems[:_PROBLEMS_MOST]]
        if left_out := len(problems) - len(told):
            told.append(FieldProblem("document", f"has {left_out} further problems"))
        raise InvalidDocument(told) from None


def _problem(document: Any, error: Any) -> FieldProblem:
    message = _MESSAGES.get(error["type"], error["msg"].removeprefix("Value error, "))
    if error["type"] == "string_pattern_mismatch":
        message = _PATTERN_OF.get(error["loc"][-1], message)
    return FieldProblem(_path(document, error["loc"]) or "document", message)


def _path(document: Any, location: Sequence[str | int]) -> str:
    """Return a location as Kubernetes writes it; a list entry with a name is called by it."""
    path = ""
    here = document
    for part in location:
        if isinstance(part, int):
            here = here[part] if isinstance(here, list) and part < len(here) else None
            name = here.get("name") if isinstance(here, dict) else None
            path += f"[{name if isinstance(name, str) else part}]"
        else:
            here = here.get(part) if isinstance(here, dict) else None
            path += f".{part}" if path else part
    return path


__all__ = ["InvalidDocument", "parse_plan", "parse_tenant"]
