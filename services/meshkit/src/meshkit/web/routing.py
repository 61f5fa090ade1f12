"""From method and path to an operation.

Literal paths are one dictionary look-up; templates (`/users/{userId}`) are compared part by part. A
path is split at its slashes before it is decoded, and decoded once: `a%2Fb` is one part, the id
`a/b`, and a doubly encoded separator stays an odd character of an id and is refused as such. A path
that is percent-encoded is compared with the templates first, so that each id can be reached, also
one that is spelled like a literal path (`/ai/users/%73earch`).
"""

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote

from meshkit.errors import MethodNotAllowed, RouteNotFound
from meshkit.web.operation import Operation

_NO_PARAMETERS: Mapping[str, str] = {}


class Router:
    """The operations of one application by path and method."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._literal: dict[str, dict[str, Operation]] = {}
        self._templates: list[tuple[Sequence[str], dict[str, Operation]]] = []
        by_path: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            for path in (operation.path, *operation.aliases):
                by_path.setdefault(path, {})[operation.method] = operation
        for path, methods in by_path.items():
            if "{" in path:
                self._templates.append((path.split("/"), methods))
            else:
                self._literal[path] = methods

    def find(
        self, method: str, path: str, raw_path: bytes = b""
    ) -> tuple[Operation, Mapping[str, str]]:
        """Return the operation and its path parameters; `path` is decoded, `raw_path` is as the
        client sent it. Raises RouteNotFound, MethodNotAllowed."""
        method = "GET" if method == "HEAD" else method
        encoded = b"%" in raw_path
        literal = self._literal.get(path)
        if literal is not None and not encoded and method in literal:
            return literal[method], _NO_PARAMETERS
        allowed: set[str] = set()
        for methods, parameters in self._matching(
            _decoded(raw_path) if encoded else path.split("/")
        ):
            if operation := methods.get(method):
                return operation, parameters
            allowed.update(methods)
        if literal is not None:
            if operation := literal.get(method):
                return operation, _NO_PARAMETERS
            allowed.update(literal)
        if not allowed:
            raise RouteNotFound("nothing is served under this path; /openapi.json lists the routes")
        takes = sorted(allowed)
        raise MethodNotAllowed(f"{path} takes {', '.join(takes)}", extra={"allow": takes})

    def _matching(
        self, parts: Sequence[str]
    ) -> Iterable[tuple[dict[str, Operation], Mapping[str, str]]]:
        """Yield what the templates that fit the parts of a path lead to."""
        for template, methods in self._templates:
            if len(template) != len(parts):
                continue
            parameters = {}
            for name, part in zip(template, parts, strict=True):
                if name.startswith("{"):
                    if not part:
                        break
                    parameters[name[1:-1]] = part
                elif name != part:
                    break
            else:
                yield methods, parameters


def _decoded(raw_path: bytes) -> Sequence[str]:
    return [unquote(part.decode("latin-1")) for part in raw_path.split(b"/")]


__all__ = ["Router"]
