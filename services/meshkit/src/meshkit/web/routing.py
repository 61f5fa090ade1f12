"""From method and path to an operation.

Literal paths are one dictionary look-up; templates (`/users/{userId}`) are compiled by Starlette
and tried in order. The path is the one the server decoded once: it is never decoded again, so a
doubly encoded separator stays an odd character of an id and is refused as such.
"""

import re
from collections.abc import Iterable, Mapping

from starlette.routing import compile_path

from meshkit.errors import MethodNotAllowed, RouteNotFound
from meshkit.web.operation import Operation

_NO_PARAMETERS: Mapping[str, str] = {}


class Router:
    """The operations of one application by path and method."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._literal: dict[str, dict[str, Operation]] = {}
        self._templates: list[tuple[re.Pattern[str], dict[str, Operation]]] = []
        by_path: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            for path in (operation.path, *operation.aliases):
                by_path.setdefault(path, {})[operation.method] = operation
        for path, methods in by_path.items():
            if "{" in path:
                self._templates.append((compile_path(path)[0], methods))
            else:
                self._literal[path] = methods

    def find(self, method: str, path: str) -> tuple[Operation, Mapping[str, str]]:
        """Return the operation and its path parameters. Raises RouteNotFound, MethodNotAllowed."""
        methods, parameters = self._match(path)
        operation = methods.get("GET" if method == "HEAD" else method)
        if operation is None:
            allowed = ", ".join(sorted(methods))
            raise MethodNotAllowed(f"{path} takes {allowed}", extra={"allow": sorted(methods)})
        return operation, parameters

    def _match(self, path: str) -> tuple[dict[str, Operation], Mapping[str, str]]:
        methods = self._literal.get(path)
        if methods is not None:
            return methods, _NO_PARAMETERS
        for pattern, methods in self._templates:
            if match := pattern.match(path):
                return methods, match.groupdict()
        raise RouteNotFound("nothing is served under this path; /openapi.json lists the routes")


__all__ = ["Router"]
