"""JSON schemas of pydantic models as Kubernetes takes them: structural OpenAPI v3.

No references, no titles, no `null`: a field that may be left out is one that is not required. What
JSON schema cannot say is added as CEL rules, by the name of the model they belong to.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

Rules = Mapping[str, Sequence[tuple[str, str]]]
"""For each model the rules that hold for it: a CEL expression, and what to say where one fails."""

_KEPT = (
    "type",
    "format",
    "description",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
)
_INT32_MOST = 2_147_483_647


def structural_schema(
    model: type[BaseModel],
    rules: Rules,
    *,
    defaults: Mapping[str, Any] | None = None,
    list_maps: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the structural schema of a model.

    `defaults` are set by the API server on the top level; the lists named in `list_maps` are keyed
    by `name`, so that two writers may each own entries of them.
    """
    document = model.model_json_schema(by_alias=True)
    converter = _Converter(document.get("$defs", {}), rules, frozenset(list_maps))
    schema = converter.convert(document, model.__name__)
    for name, value in (defaults or {}).items():
        schema["properties"][name]["default"] = value
    return schema


class _Converter:
    """Follows references and drops what the API server would refuse."""

    def __init__(self, models: Mapping[str, Any], rules: Rules, list_maps: frozenset[str]) -> None:
        self._models = models
        self._rules = rules
        self._list_maps = list_maps

    def convert(
        self, schema: Mapping[str, Any], model: str = "", field: str = ""
    ) -> dict[str, Any]:
        """Return one schema and all that is in it."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            found = self.convert(self._models[name], name, field)
            # What a field says of itself is nearer than what its type says.
            return found | {k: v for k, v in schema.items() if k == "description"}
        if "anyOf" in schema:
            return self.convert(_not_null(schema), model, field)
        result = {name: schema[name] for name in _KEPT if name in schema}
        if "const" in schema:
            result |= {"type": "string", "enum": [schema["const"]]}
        if "properties" in schema:
            result |= self._members(schema)
        if "items" in schema:
            result |= self._list(schema, field)
        if result.get("type") == "integer":
            most = result.get("maximum")
            small = most is not None and most <= _INT32_MOST
            result["format"] = "int32" if small else "int64"
        if rules := self._rules.get(model):
            result["x-kubernetes-validations"] = [
                {"rule": rule, "message": message} for rule, message in rules
            ]
        return result

    def _members(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        members = {n: self.convert(child, field=n) for n, child in schema["properties"].items()}
        required = {"required": list(schema["required"])} if schema.get("required") else {}
        return {"properties": members} | required

    def _list(self, schema: Mapping[str, Any], field: str) -> dict[str, Any]:
        items = {"items": self.convert(schema["items"])}
        if field in self._list_maps:
            keys = {"x-kubernetes-list-map-keys": ["name"]}
            return items | {"x-kubernetes-list-type": "map"} | keys
        return items | {"x-kubernetes-list-type": "atomic"}


def _not_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema of something or null as that of something: it may be left out instead."""
    (one,) = (option for option in schema["anyOf"] if option.get("type") != "null")
    own = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return {**one, **own}


__all__ = ["Rules", "structural_schema"]
