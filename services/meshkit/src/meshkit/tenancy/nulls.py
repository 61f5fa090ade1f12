"""A field without a value (`quotas:`, `quotas: ~`) is one that is left out.

The API server drops nulls of fields that its schema knows, since none of ours may be null. One that
it does not know it drops as well; that is refused here, for it is a misspelt field more often.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel


def without_nulls(value: Any, model: type[BaseModel] | None) -> Any:
    """Return `value`, the document of a `model`, without the nulls of the fields that it knows."""
    if isinstance(value, list):
        return [without_nulls(item, model) for item in value]
    if model is None or not isinstance(value, Mapping):
        return value
    parts = _parts(model)
    return {
        name: without_nulls(member, parts.get(name))
        for name, member in value.items()
        if member is not None or name not in parts
    }


@cache
def _parts(model: type[BaseModel]) -> dict[str, type[BaseModel] | None]:
    """Return the fields of a model by their names outside, with the model that is behind each."""
    return {
        field.alias or name: _model_in(field.annotation)
        for name, field in model.model_fields.items()
    }


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


__all__ = ["without_nulls"]
