"""The HTTP surface: our own routes and Open Inference Protocol v2 for one champion, behind one guard."""

from __future__ import annotations

import contextlib
import html
import json
import logging
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, PlainTextResponse, Response

import luthier
from luthier.errors import SetupError, UsageError
from luthier.options import ServeOptions
from luthier.rest import open_inference, v1
from luthier.rest.base import Refusal, Site, documented, reply
from luthier.rest.guard import Guard, is_loopback
from luthier.rest.keys import Keys, new_key, read_keys, remove_key
from luthier.rest.metrics import Metrics
from luthier.stages.serve import Server

__all__ = ["bind", "create_app", "new_key", "read_keys", "remove_key", "run"]

log = logging.getLogger("luthier.rest")


def create_app(
    server: Server,
    *,
    feedback: Callable[[Sequence[Any]], Any],
    model_name: str,
    keys: str | Path | None = None,
    collectors: Sequence[Any] = (),
    on_close: Callable[[], object] = lambda: None,
) -> FastAPI:
    """The application. It starts `server` with itself, and on shutdown drains it and then calls `on_close` (flush).

    `feedback(labels)` stores labels, each {"id", "target", "at", "correct"}, and returns an object with `stored`,
    `duplicates`, `conflicts`, `waiting` (part of `stored`) and `rejected` (pairs of id and why; holds `conflicts`).
    `keys` is a key file; without one only this machine is answered. `collectors` are further Prometheus collectors.
    Raises SetupError when the key file cannot be used.
    """
    options = server.options
    found = Keys(keys) if keys is not None else None
    metrics = Metrics(server.status, model_name)
    for collector in collectors:
        metrics.registry.register(collector)

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        server.start()
        yield
        if not await run_in_threadpool(server.close, options.timeout_s):
            log.error("shut down with work left over: %s", server.status())
        await run_in_threadpool(on_close)

    app = FastAPI(
        title="Luthier", version=luthier.__version__, lifespan=life,
        docs_url=None, redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    app.state.guarded, app.state.hosts = found is not None, {host.lower() for host in options.allowed_hosts}
    site = Site(server, feedback, model_name, options, metrics.observe, metrics.labelled)
    app.include_router(v1.routes(site))
    app.include_router(open_inference.routes(site))
    for path, summary, shape, page in (
        ("/metrics", "Prometheus metrics", PlainTextResponse, metrics.page),
        ("/docs", "The routes, for people", HTMLResponse, lambda: HTMLResponse(_page(app))),
    ):
        told = {status: about for status, about in documented(None, {})["responses"].items() if status != 200}
        app.get(path, summary=summary, response_class=shape, responses=told, tags=["operation"])(page)
    _errors(app)
    app.add_middleware(
        Guard, options=options, hosts=app.state.hosts, find=found.find if found else None, refused=metrics.refused
    )
    return app


def _errors(app: FastAPI) -> None:
    """Every error leaves as {"error": text}."""

    def refused(_: Request, problem: Any) -> Response:
        response: Response = problem.response()
        return response

    def http(request: Request, problem: Any) -> Response:
        what = {404: "there is no such route", 405: "this route has other methods"}.get(problem.status_code)
        said = f"{request.method} {request.url.path}: {what}; /docs lists them" if what else str(problem.detail)
        return reply({"error": said}, problem.status_code, problem.headers)

    def failed(_: Request, problem: Exception) -> Response:
        log.error("a request failed", exc_info=problem)
        return reply({"error": "the server failed on this request; its log says why"}, 500)

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, failed)


def _page(app: FastAPI) -> str:
    """The routes as a page that loads nothing from other hosts."""
    schema = app.openapi()
    rows = "".join(
        f"<tr><td>{verb.upper()}</td><td><code>{html.escape(path)}</code></td><td>{html.escape(about['summary'])}</td></tr>"
        for path, verbs in schema["paths"].items()
        for verb, about in verbs.items()
    )
    whole = html.escape(json.dumps(schema, indent=1))
    return (
        "<!doctype html><meta charset=utf-8><title>Luthier</title><style>body{font:15px sans-serif;margin:2em}"
        f"td{{padding:.2em 1em .2em 0}}</style><h1>Luthier {luthier.__version__}</h1><table>{rows}</table>"
        f"<p>Machine-readable: <a href=openapi.json>openapi.json</a></p><pre>{whole}</pre>"
    )


def bind(app: FastAPI, options: ServeOptions) -> tuple[uvicorn.Server, socket.socket]:
    """A uvicorn server and its bound socket; serve with `server.run(sockets=[socket])`, stop with `should_exit`.

    Raises UsageError for an address other than loopback without API keys, SetupError when the port cannot be had.
    """
    if not is_loopback(options.host) and not app.state.guarded:
        raise UsageError(
            f"refusing to listen on {options.host} without API keys: anyone who reaches it could use it. "
            f"Make a key file and start with it, or keep `serve: host: 127.0.0.1`"
        )
    app.state.hosts.add(options.host.lower())
    try:
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        opened = socket.create_server((options.host, options.port), family=family, backlog=2048)
        # accepted connections inherit it; asyncio does not set it on sockets made here, and every answer then waits 40 ms
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        where = f"{options.host} port {options.port}"
        raise SetupError(
            f"cannot listen on {where}: {error.strerror or error}. Choose another `serve: port:`"
        ) from error
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, proxy_headers=False, server_header=False, lifespan="on",
        timeout_keep_alive=30, timeout_graceful_shutdown=max(1, round(options.timeout_s)),
        limit_concurrency=options.max_queue + 64, h11_max_incomplete_event_size=65_536,
    )  # fmt: skip
    return uvicorn.Server(config), opened


def run(app: FastAPI, options: ServeOptions, *, announce: Callable[[str], object] = lambda url: None) -> None:
    """Serve until SIGINT or SIGTERM; then finish open requests, drain the queue and flush the record.

    `announce(url)` is called once the port is bound (it may be 0 in `options`). Raises as `bind`.
    """
    server, opened = bind(app, options)
    with opened, _calm_signals():
        host, port = opened.getsockname()[:2]
        announce(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
        server.run(sockets=[opened])
    if not server.started:
        raise SetupError("the server could not start; the log above says why")


@contextlib.contextmanager
def _calm_signals() -> Iterator[None]:
    """uvicorn shuts down gracefully and then raises the signal again; here that must not end the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
