"""What the routes share: the site they serve, reading a body safely, one form of reply and one form of error."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from luthier.errors import LuthierError, RecordError, UsageError
from luthier.options import ServeOptions
from luthier.stages.serve import Answer, Busy, Late, NotReady, Server
from luthier.types import Record

__all__ = [
    "ERRORS",
    "ID",
    "SCOPES",
    "Key",
    "Refusal",
    "Site",
    "answers",
    "documented",
    "known",
    "moment",
    "name",
    "new_id",
    "parse",
    "plain",
    "reply",
    "shown",
    "tags",
    "text",
]

ID = re.compile(r"[A-Za-z0-9_.:@+=~-]{1,128}")
DEEPEST = 32  # levels of nesting in a JSON body
AHEAD = timedelta(days=1)  # how far an event may lie ahead of this machine's clock
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


SCOPES = ("predict", "feedback", "operate")
"""What an API key may do: ask for answers; send labels; read metrics and documentation, and run the dashboard."""


@dataclass(frozen=True, slots=True)
class Key:
    """One API key: its name, the SHA-256 of its token, what it may do, and when it was made (ISO 8601)."""

    name: str
    hash: str
    scopes: tuple[str, ...]
    created: str = ""


@dataclass(frozen=True)
class Site:
    """What the routes serve. `feedback(labels)` stores checked labels ({"id", "target", "at", "correct"}) and says
    what became of them; `observe(seconds)` notes how long a request for answers took; `labelled(outcome, n)` counts."""

    server: Server
    feedback: Callable[[Sequence[Mapping[str, Any]]], Any]
    name: str
    options: ServeOptions
    observe: Callable[[float], None]
    labelled: Callable[[str, int], None]


class Refusal(Exception):
    """A request that gets an error: status, one sentence, and headers."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})

    def response(self) -> Response:
        return reply({"error": self.message}, self.status, self.headers)


def reply(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`content` as JSON; a lone surrogate in a text is escaped, so that every text can be sent."""
    try:
        body = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        body = json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
    return Response(body, status, headers, media_type="application/json")


def parse(body: bytes) -> Any:
    """The JSON value of a body.

    Raises Refusal 400 for anything that is not UTF-8 JSON at most 32 levels deep; NaN and Infinity are not JSON.
    """
    if body.count(b"[") + body.count(b"{") > DEEPEST and _depth(body) > DEEPEST:
        raise Refusal(400, f"the JSON body is nested more than {DEEPEST} levels deep")
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_not_json)
    except UnicodeDecodeError as error:
        raise Refusal(400, f"the body is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is not valid JSON: {error}") from None


def known(value: Any, keys: Sequence[str], what: str) -> dict[str, Any]:
    """`value` as an object that has no other keys than `keys`.

    Raises Refusal 400 otherwise.
    """
    if not isinstance(value, dict):
        raise Refusal(400, f"{what} must be a JSON object, not {shown(value)}")
    if more := [key for key in value if key not in keys]:
        raise Refusal(400, f"{what} has the unknown field {shown(more[0])}; known are {', '.join(keys)}")
    return value


def name(value: Any, what: str = "id") -> str:
    """An id from outside.

    Raises RecordError when it is not 1 to 128 characters of A-Z a-z 0-9 _ . : @ + = ~ -.
    """
    if not isinstance(value, str) or not ID.fullmatch(value):
        raise RecordError(
            f"{what} is {shown(value)}; it must be a text of 1 to 128 characters of A-Z a-z 0-9 _ . : @ + = ~ -"
        )
    return value


def moment(value: Any) -> datetime:
    """An event time, UTC: ISO 8601 (without an offset: UTC) or Unix seconds; None is now.

    Raises RecordError for anything else, before 1970, or more than a day ahead of this machine's clock.
    """
    now = datetime.now(UTC)
    if value is None:
        return now
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            at = datetime.fromtimestamp(value, UTC)
        else:
            raise ValueError
    except (ValueError, OverflowError, OSError):
        raise RecordError(f"at is {shown(value)}; it must be an ISO 8601 time or Unix seconds") from None
    if at.year < 1970 or at > now + AHEAD:
        raise RecordError(
            f"at is {shown(value)}; it must lie after 1970 and at most a day ahead of now ({now:%Y-%m-%dT%H:%MZ})"
        )
    return at


def text(value: Any, what: str) -> str:
    """A text that UTF-8 can hold.

    Raises RecordError otherwise.
    """
    if not isinstance(value, str):
        raise RecordError(f"{what} is {shown(value)}; it must be a text")
    if not _sendable(value):
        raise RecordError(f"{what} is {shown(value)}; it holds half a surrogate pair, which is no text")
    return value


def tags(value: Any) -> dict[str, str]:
    """At most 32 texts by name, each at most 256 characters.

    Raises RecordError otherwise.
    """
    if value is None:
        return {}
    fits = isinstance(value, dict) and len(value) <= 32
    if not fits or not all(_short(key) and _short(text) for key, text in value.items()):
        raise RecordError(f"tags is {shown(value)}; it must be an object of at most 32 texts of at most 256 characters")
    return dict(value)


def new_id() -> str:
    """A UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits, so that ids sort by time."""
    bits = int.from_bytes(os.urandom(10), "big")
    value = (time.time_ns() // 1_000_000 << 80) | (7 << 76) | (bits >> 68 << 64) | (2 << 62) | (bits & (2**62 - 1))
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def shown(value: Any) -> str:
    """A short picture of a value for an error text."""
    text = repr(value) if not isinstance(value, dict | list) else f"{type(value).__name__} of {len(value)}"
    return text if len(text) <= 80 else text[:77] + "..."


def plain(output: Any) -> Any:
    """An answer's output as JSON: without the embedding, numbers that are not finite as null."""
    if isinstance(output, Mapping):
        return {str(key): plain(value) for key, value in output.items() if key != "embedding"}
    if isinstance(output, list | tuple):
        return [plain(value) for value in output]
    if isinstance(output, float) and not math.isfinite(output):
        return None
    return output


async def answers(site: Site, records: Sequence[Record], version: int | None = None) -> list[Answer]:
    """The server's answers.

    Raises Refusal 503 when it is busy or not ready, 504 when it takes longer than `timeout_s`.
    """
    started = time.monotonic()
    try:
        ticket = site.server.submit(records, version=version)
        waiting = asyncio.wrap_future(ticket.future)
        waiting.add_done_callback(
            lambda done: done.cancelled() or done.exception()
        )  # looked at: asyncio need not log it
        await asyncio.wait([waiting], timeout=site.options.timeout_s)
        made = waiting.result() if waiting.done() else site.server.give_up(ticket)
    except (Busy, NotReady) as error:
        word = "busy" if isinstance(error, Busy) else "not ready"
        raise Refusal(503, f"{word}: {error}", {"Retry-After": "1"}) from None
    except Late as error:
        raise Refusal(504, f"late: {error}") from None
    except UsageError as error:
        raise Refusal(413, str(error)) from None
    except LuthierError as error:
        raise Refusal(500, str(error)) from None
    site.observe(time.monotonic() - started)
    return made


ERRORS = {
    400: "the request is malformed", 401: "no valid API key", 403: "the key's scopes, or the origin, do not allow this",
    404: "there is no such thing", 405: "the route has other methods", 408: "the body came too slowly",
    413: "too large, or too many records", 415: "an encoding that is not read", 429: "too many requests",
    500: "the model failed", 503: "busy, or no champion is loaded yet", 504: "the model took too long",
}  # fmt: skip
_ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}


def documented(body: Any, out: Any, *, media: Sequence[str] = ("application/json",)) -> dict[str, Any]:
    """The OpenAPI part of a route that reads its body itself: request and reply schemas, and every error."""

    def holds(schema: Any, *types: str) -> dict[str, Any]:
        return {kind: {"schema": schema if kind == "application/json" else {"type": "string"}} for kind in types}

    responses: dict[int, Any] = {
        status: {"description": about, "content": holds(_ERROR, "application/json")} for status, about in ERRORS.items()
    }
    responses[200] = {"description": "fine", "content": holds(out, *media)}
    extra = {"requestBody": {"required": True, "content": holds(body, "application/json")}} if body else None
    return {"responses": responses, "openapi_extra": extra}


def _short(text: Any) -> bool:
    return isinstance(text, str) and len(text) <= 256 and _sendable(text)


def _sendable(text: str) -> bool:
    """False for a text with half a surrogate pair, which no UTF-8 file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _not_json(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON number; leave the field out instead")


def _depth(body: bytes) -> int:
    level = deepest = 0
    for token in _TOKENS.finditer(body):
        first = token[0][0]
        if first in b"[{":
            level += 1
            deepest = max(deepest, level)
            if deepest > DEEPEST:
                break
        elif first in b"]}":
            level -= 1
    return deepest
