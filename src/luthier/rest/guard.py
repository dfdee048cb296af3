"""The one layer in front of every route: who asks, for which host, how much and how often. Deny by default."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import math
import re
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Set
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.options import ServeOptions
from luthier.rest.base import SCOPES, Key, Refusal, shown

__all__ = ["RULES", "Guard", "is_loopback", "scopes_of"]

_ANY = frozenset(SCOPES)
_MODEL = r"/v2/models/[^/]+(/versions/[^/]+)?"
RULES: tuple[tuple[str, re.Pattern[str], frozenset[str]], ...] = tuple(
    (method, re.compile(path), frozenset(scopes))
    for method, path, scopes in (
        ("GET", r"/healthz|/readyz|/v2/health/(live|ready)", _ANY),
        ("GET", rf"/v2/?|{_MODEL}(/ready)?", {"predict", "operate"}),
        ("POST", r"/v1/answer", {"predict"}),
        ("POST", rf"{_MODEL}/infer", {"predict"}),
        ("POST", r"/v1/feedback", {"feedback"}),
        ("GET", r"/metrics|/docs|/openapi\.json", {"operate"}),
    )
)
"""Method, path and the scopes of which one is enough; whatever is not named here needs `operate`."""

_FRAMING = (b"content-encoding", b"content-length", b"transfer-encoding")
_CLIENTS = 10_000  # buckets kept; the one idle for longest goes first
_DRAINED = 64 * 2**20  # bytes of a refused body that are read and dropped


def scopes_of(method: str, path: str) -> frozenset[str]:
    """The scopes of which a key needs one for this request."""
    method = "GET" if method == "HEAD" else method
    for verb, pattern, scopes in RULES:
        if method == verb and pattern.fullmatch(path):
            return scopes
    return frozenset({"operate"})


def is_loopback(host: str) -> bool:
    """True for localhost and loopback addresses."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware. `find(token)` gives its key, `hosts` are names beside the loopback ones (lower case; "*": any).

    Without `find` only clients on this machine are answered, and they may do everything.
    """

    def __init__(
        self, app: ASGIApp, *, options: ServeOptions, hosts: Set[str], find: Callable[[str], Key | None] | None,
        refused: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._app, self._options, self._find, self._refused = app, options, find, refused
        self._hosts = hosts
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client: tokens, time of last look

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        headers, body = Headers(scope=scope), _Body(receive)
        try:
            self._admit(scope, headers)
            if scope["type"] == "http":
                scope, receive = await self._read(scope, headers, body)
        except Refusal as refusal:
            self._refused(str(refusal.status))
            if scope["type"] == "websocket":
                await receive()
                return await send({"type": "websocket.close", "code": 1008, "reason": refusal.message[:120]})
            await body.drain()
            refusal.headers["Connection"] = "close"  # what is left of a body must not be read as the next request
            return await refusal.response()(scope, receive, send)
        await self._app(scope, receive, send)

    # ---- who ----

    def _admit(self, scope: Scope, headers: Headers) -> None:
        self._host(scope, headers)
        method = scope.get("method", "GET")
        key = self._key(scope, headers)
        if key is not None and not scopes_of(method, scope["path"]) & set(key.scopes):
            wanted = " or ".join(sorted(scopes_of(method, scope["path"])))
            raise Refusal(403, f"key {key.name!r} has the scopes {', '.join(key.scopes)}; this needs {wanted}")
        if method not in ("GET", "HEAD") or scope["type"] == "websocket":
            self._origin(headers)
            self._rate(key.name if key else _address(scope))

    def _host(self, scope: Scope, headers: Headers) -> None:
        """Against DNS rebinding: a page of another site that points its name at this address sends its own name."""
        host = _hostname(headers.get("host", ""))
        if "*" in self._hosts or is_loopback(host) or host in self._hosts:
            return
        server = scope.get("server")
        if self._find is not None and server and host == server[0]:  # an address cannot be rebound
            return
        raise Refusal(400, f"host {shown(host)} is not served here. Add it to `serve: allowed_hosts:` if it is yours")

    def _origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None or "*" in self._hosts:
            return
        netloc = urlsplit(origin).netloc.lower() if origin.startswith(("http://", "https://")) else ""
        if netloc and (netloc == headers.get("host", "").lower() or _hostname(netloc) in self._hosts):
            return
        raise Refusal(
            403, f"origin {shown(origin)} may not send here: only pages of this server or of allowed_hosts may"
        )

    def _key(self, scope: Scope, headers: Headers) -> Key | None:
        if self._find is None:
            if not _is_local(_address(scope)):
                raise Refusal(403, "without API keys only this machine is answered. Make a key and start with it")
            return None
        word, _, bearer = headers.get("authorization", "").partition(" ")
        token = bearer.strip() if word.lower() == "bearer" else headers.get("x-api-key", "")
        key = self._find(token) if token else None
        if key is None:
            said = "no API key came" if not token else "this API key is not known"
            raise Refusal(
                401, f"{said}. Send `Authorization: Bearer …` or `X-API-Key: …`", {"WWW-Authenticate": "Bearer"}
            )
        return key

    def _rate(self, client: str) -> None:
        """A token bucket a client: `rate_per_second` of refill, one second's worth (at least 1) at most."""
        rate = self._options.rate_per_second
        if rate is None:
            return
        now, most = time.monotonic(), max(1.0, rate)
        tokens, seen = self._buckets.pop(client, (most, now))
        tokens = min(most, tokens + (now - seen) * rate)
        self._buckets[client] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._buckets) > _CLIENTS:
            self._buckets.popitem(last=False)
        if tokens < 1:
            wait = math.ceil((1 - tokens) / rate)
            raise Refusal(429, f"more than {rate:g} requests a second; retry in {wait} s", {"Retry-After": str(wait)})

    # ---- how much ----

    async def _read(self, scope: Scope, headers: Headers, body: _Body) -> tuple[Scope, Receive]:
        """Read the whole body within size and time, unpack it, and hand it on in one piece."""
        most = self._options.max_body_bytes
        announced = headers.get("content-length", "0")
        if not announced.isdecimal() or int(announced[:20]) > most:
            raise _too_large(most)
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip", "deflate"):
            raise Refusal(415, f"content-encoding {shown(encoding)} is not read; use gzip, deflate or none")
        try:
            async with asyncio.timeout(self._options.timeout_s):
                content = await body.read(most, packed=encoding != "identity")
        except TimeoutError:
            body.done = True  # nobody waits for the rest
            raise Refusal(408, f"the body did not arrive within {self._options.timeout_s:g} s") from None
        kept = [(name, value) for name, value in scope["headers"] if name not in _FRAMING]
        kept.append((b"content-length", str(len(content)).encode()))
        return {**scope, "headers": kept}, _once(content, body.receive)


class _Body:
    """A request's body as it arrives; `done` once its last part has come or will not be waited for."""

    def __init__(self, receive: Receive) -> None:
        self.receive, self.done = receive, False

    async def _part(self) -> bytes:
        message = await self.receive()
        self.done = not message.get("more_body", False)
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the connection closed before the body had arrived")
        part: bytes = message.get("body", b"")
        return part

    async def read(self, most: int, *, packed: bool) -> bytes:
        """The body, at most `most` bytes of it both as sent and unpacked."""
        unpacker = zlib.decompressobj(wbits=47) if packed else None  # 47: gzip and zlib frames alike
        parts: list[bytes] = []
        sent = size = 0
        while not self.done:
            part = await self._part()
            sent += len(part)
            if unpacker:
                part = _unpacked(unpacker, part, most - size + 1)
            size += len(part)
            parts.append(part)
            if max(sent, size) > most:
                raise _too_large(most)
        if unpacker and sent and (not unpacker.eof or unpacker.unused_data):
            raise Refusal(400, "the compressed body is cut short or has something after its end")
        return b"".join(parts)

    async def drain(self) -> None:
        """Read what is left of a refused body and drop it: closing on unread data would reset the connection, and
        the client would never see why. Bounded in bytes and time."""
        left = _DRAINED
        with contextlib.suppress(TimeoutError, Refusal):
            async with asyncio.timeout(2):
                while left > 0 and not self.done:
                    left -= len(await self._part()) + 1


def _unpacked(unpacker: Any, chunk: bytes, room: int) -> bytes:
    try:
        part: bytes = unpacker.decompress(chunk, room)
    except zlib.error as error:
        raise Refusal(400, f"the body is not valid gzip or deflate: {error}") from None
    return part


def _once(body: bytes, receive: Receive) -> Receive:
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"the body is larger than {most:,} bytes (`serve: max_body_bytes:`), as sent or unpacked")


def _hostname(netloc: str) -> str:
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _is_local(address: str) -> bool:
    """True for loopback and for what is no address (a socket file, an in-process client)."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return True
