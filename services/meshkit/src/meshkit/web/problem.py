"""Refusals as answers: RFC 9457 problem documents, and the pages their types point to."""

from html import escape

import msgspec

from meshkit.errors import MeshError, catalogue
from meshkit.limits.headers import milliseconds_up, retry_after_seconds
from meshkit.web.call import HTML, PROBLEM_JSON, Reply

_encode = msgspec.json.Encoder().encode
_BY_CODE = {error.code: error for error in catalogue()}


def problem_document(error: MeshError, request_id: str) -> dict[str, object]:
    """Return `error` as the members of a problem document."""
    document: dict[str, object] = {
        "type": f"/errors/{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "requestId": request_id,
    }
    if error.fields:
        document["errors"] = [{"path": f.path, "message": f.message} for f in error.fields]
    if error.retry_after is not None:
        document["retryAfterSeconds"] = milliseconds_up(error.retry_after)
    return document | error.extra


def problem_reply(error: MeshError, request_id: str) -> Reply:
    """Return the answer for `error`, with Retry-After where a retry helps."""
    headers: list[tuple[bytes, bytes]] = []
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % retry_after_seconds(error.retry_after)))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    body = _encode(problem_document(error, request_id))
    return Reply(error.status, body, PROBLEM_JSON, headers)


def error_page(code: str, *, html: bool) -> Reply | None:
    """Return the page of an error code (as HTML or as JSON), None where there is no such code."""
    error = _BY_CODE.get(code)
    if error is None:
        return None
    if not html:
        return Reply(
            200,
            _encode(
                {
                    "code": error.code,
                    "status": error.status,
                    "title": error.title,
                    "meaning": error.meaning,
                    "remedy": error.remedy,
                    "retryable": error.retryable,
                }
            ),
        )
    retry = "A retry can help." if error.retryable else "A retry of the same request does not help."
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(error.code)}</title>'
        '<meta name="viewport" content="width=device-width">'
        "<style>body{font:16px/1.5 system-ui;max-width:40rem;margin:3rem auto;padding:0 1rem}"
        "code{background:#eee;padding:.1em .3em}</style>"
        f"<h1>{escape(error.title)}</h1>"
        f"<p><code>{escape(error.code)}</code>, HTTP {error.status}</p>"
        f"<h2>What it means</h2><p>{escape(error.meaning)}</p>"
        f"<h2>What to do</h2><p>{escape(error.remedy)}</p><p>{retry}</p></html>"
    )
    return Reply(200, page.encode(), HTML)


def errors_markdown() -> str:
    """Return `docs/errors.md`: every refusal with its meaning and its remedy."""
    lines = [
        "# Errors",
        "",
        "Every refusal is an `application/problem+json` document (RFC 9457) whose `type` is",
        "`/errors/<code>`, a page that each service serves. This file is generated from the same",
        "classes (`meshkit.errors`) by `make docs`.",
        "",
        "| status | code | what it means | what to do | retry |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {e.status} | `{e.code}` | {e.meaning} | {e.remedy} | {'yes' if e.retryable else 'no'} |"
        for e in catalogue()
    ]
    return "\n".join(lines) + "\n"


__all__ = ["error_page", "errors_markdown", "problem_document", "problem_reply"]
