"""The one layer before every route: keys, scopes, hosts, origins, sizes, rates and time."""

from __future__ import annotations

import gzip
import json
import re
import socket
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from luthier.errors import SetupError, UsageError
from luthier.options import ServeOptions
from luthier.rest import bind, create_app, new_key, remove_key, run
from luthier.rest.guard import RULES, is_loopback, scopes_of

Open = Callable[..., Any]
BODY = {"input": "a good film"}


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A key file and one token for each scope."""
    path = tmp_path / "keys.json"
    return path, {scope: new_key(path, [scope], name=scope) for scope in ("predict", "feedback", "operate")}


def every_route(app: Any) -> list[tuple[str, str]]:
    """Method and a path of every route that the application answers, included or mounted."""
    found: list[tuple[str, str]] = []

    def walk(routes: Any) -> None:
        for route in routes:
            inner = getattr(route, "original_router", None)
            if inner is not None:
                walk(inner.routes)
            elif hasattr(route, "methods"):
                path = route.path.replace("{model}", "reviews").replace("{version}", "1")
                found.extend((method, path) for method in sorted(route.methods))
            else:
                found.append(("GET", route.path))

    walk(app.routes)
    return found


def test_no_route_lets_anyone_in_without_a_key_and_every_route_names_its_scope(
    open_site: Open, keys: tuple[Path, dict[str, str]]
) -> None:
    site = open_site(keys=keys[0])
    routes = every_route(site.app)
    assert {path for _, path in routes} >= {
        "/v1/answer", "/v1/feedback", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/v2", "/v2/",
        "/v2/models/reviews", "/v2/models/reviews/versions/1/infer", "/v2/health/live",
    }  # fmt: skip
    assert {(method, re.sub("reviews", "{model}", path).replace("/1/", "/{version}/")) for method, path in routes} >= {
        (method.upper(), path) for path, verbs in site.app.openapi()["paths"].items() for method in verbs
        if not path.endswith("/{version}")
    }  # fmt: skip
    with site.client() as client:
        for method, path in [*routes, ("GET", "/nowhere"), ("OPTIONS", "/v1/answer"), ("POST", "/v2/repository/index")]:
            for headers in (
                {},
                {"X-API-Key": "lut_wrong"},
                {"Authorization": "Bearer lut_x"},
                {"Authorization": "Basic eA=="},
            ):
                reply = client.request(method, path, headers=headers)
                assert reply.status_code == 401, (method, path, headers)
                assert reply.headers["WWW-Authenticate"] == "Bearer"
    for method, path in routes:
        verb = "GET" if method == "HEAD" else method
        assert any(verb == rule and pattern.fullmatch(path) for rule, pattern, _ in RULES), (method, path)


def test_a_key_does_what_its_scopes_say_and_nothing_else(open_site: Open, keys: tuple[Path, dict[str, str]]) -> None:
    site = open_site(keys=keys[0])
    label = {"labels": [{"id": "x", "target": "positive"}]}
    allowed = {
        "predict": {"/v1/answer", "/v2/models/reviews", "/readyz"},
        "feedback": {"/v1/feedback", "/readyz"},
        "operate": {"/metrics", "/docs", "/openapi.json", "/v2/models/reviews", "/readyz"},
    }
    bodies = {"/v1/answer": BODY, "/v1/feedback": label}
    with site.client() as client:
        for scope, token in keys[1].items():
            for path in set().union(*allowed.values()):
                for headers in ({"X-API-Key": token}, {"Authorization": f"Bearer {token}"}):
                    method = "POST" if path in bodies else "GET"
                    status = client.request(method, path, json=bodies.get(path), headers=headers).status_code
                    assert status == (200 if path in allowed[scope] else 403), (scope, path)
        unknown = client.get("/nowhere", headers={"X-API-Key": keys[1]["predict"]})
        assert (unknown.status_code, "operate" in unknown.json()["error"]) == (403, True)
        assert client.get("/nowhere", headers={"X-API-Key": keys[1]["operate"]}).status_code == 404


def test_a_removed_key_stops_working_and_a_lost_file_lets_nobody_in(
    open_site: Open, keys: tuple[Path, dict[str, str]]
) -> None:
    path, tokens = keys
    site = open_site(keys=path)
    with site.client() as client:
        predict, operate = ({"X-API-Key": tokens[scope]} for scope in ("predict", "operate"))
        assert client.post("/v1/answer", json=BODY, headers=predict).status_code == 200
        remove_key(path, "predict")
        assert client.post("/v1/answer", json=BODY, headers=predict).status_code == 401
        assert client.get("/readyz", headers=operate).status_code == 200
        path.unlink()
        assert client.get("/readyz", headers=operate).status_code == 401


def test_only_loopback_is_served_without_keys(open_site: Open, tmp_path: Path) -> None:
    site = open_site()
    for host in ("0.0.0.0", "::", "192.0.2.7", "example.org", ""):
        assert not is_loopback(host)
        with pytest.raises(UsageError, match=r"refusing to listen on .* without API keys"):
            run(site.app, ServeOptions(host=host, port=0))
    with pytest.raises(SetupError, match="Choose another `serve: port:`"):
        bind(site.app, ServeOptions(port=int(site.url.rsplit(":", 1)[1])))
    stranger = TestClient(site.app, base_url="http://127.0.0.1", client=("192.0.2.7", 5000))
    assert stranger.get("/healthz").status_code == 403
    path = tmp_path / "keys.json"
    new_key(path, ["predict"])
    guarded = create_app(site.server, feedback=site.feedback, model_name="reviews", keys=path)
    bind(guarded, ServeOptions(host="0.0.0.0", port=0))[1].close()


def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_head(open_site: Open) -> None:
    _, opened = bind(open_site().app, ServeOptions(port=0))
    with opened, socket.create_connection(opened.getsockname()), opened.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "Nagle's algorithm costs every answer 40 ms"


def test_other_host_names_and_origins_are_refused(open_site: Open) -> None:
    site = open_site(allowed_hosts=("models.example",))
    port = site.url.rsplit(":", 1)[1]
    with site.client() as client:
        for host, status in {
            f"127.0.0.1:{port}": 200, f"localhost:{port}": 200, "LOCALHOST": 200, "[::1]:80": 200,
            "models.example": 200,
            "evil.example": 400, "127.0.0.1.evil.example": 400, "localhost.evil.example": 400, "192.0.2.7": 400,
            "models.example.evil": 400, "": 400, "[": 400,
        }.items():  # fmt: skip
            assert client.get("/healthz", headers={"Host": host}).status_code == status, host
        for origin, status in {
            site.url: 200, "https://models.example": 200, "https://evil.example": 403, "null": 403,
            "http://localhost:1": 403,
            "file://": 403, f"http://localhost:{port}": 403, "http://127.0.0.1@evil.example": 403,
        }.items():  # fmt: skip
            reply = client.post("/v1/answer", json=BODY, headers={"Origin": origin})
            assert reply.status_code == status, origin
            assert status == 200 or "may not send here" in reply.json()["error"]


def test_a_socket_of_another_site_is_refused(open_site: Open) -> None:
    app = open_site().app
    client = TestClient(app, base_url="http://127.0.0.1")
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        client.websocket_connect("/x", headers={"Origin": "http://e.vil", "Host": "127.0.0.1"}),
    ):
        pass
    assert (refused.value.code, "origin 'http://e.vil'" in refused.value.reason) == (1008, True)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_packed_bodies_are_read_within_the_limit(open_site: Open, encoding: str) -> None:
    def pack(body: bytes) -> bytes:
        return gzip.compress(body) if encoding == "gzip" else zlib.compress(body)

    headers = {"Content-Encoding": encoding}
    with open_site(max_body_bytes=20_000).client() as client:
        good = pack(json.dumps(BODY).encode())
        assert client.post("/v1/answer", content=good, headers=headers).status_code == 200
        assert client.post("/v1/answer", content=iter([good[:9], good[9:]]), headers=headers).status_code == 200
        exactly = b'{"input": "' + b"x" * (20_000 - 13) + b'"}'
        assert client.post("/v1/answer", content=pack(exactly), headers=headers).status_code == 200
        for body, status, why in (
            (pack(exactly + b" "), 413, "larger than 20,000"),
            (pack(b"0" * 30_000_000)[:19_000], 413, "larger than 20,000"),  # a bomb is cut off, never unpacked whole
            (good[:-6], 400, "cut short"),
            (good + good, 400, "after its end"),
            (b"not packed", 400, "not valid gzip or deflate"),
        ):
            reply = client.post("/v1/answer", content=body, headers=headers)
            assert (reply.status_code, why in reply.json()["error"]) == (status, True), reply.text
        other = client.post("/v1/answer", content=b"x", headers={"Content-Encoding": "br"})
        assert (other.status_code, "'br' is not read" in other.json()["error"]) == (415, True)


def test_a_client_that_asks_too_often_waits_and_others_do_not(
    open_site: Open, keys: tuple[Path, dict[str, str]]
) -> None:
    site = open_site(keys=keys[0], rate_per_second=3)
    other = {"X-API-Key": new_key(keys[0], ["predict"])}
    mine = {"X-API-Key": keys[1]["predict"]}
    with site.client() as client:
        replies = [client.post("/v1/answer", json=BODY, headers=mine) for _ in range(8)]
        assert [reply.status_code for reply in replies[:3]] == [200] * 3
        limited = next(reply for reply in replies if reply.status_code == 429)
        assert int(limited.headers["Retry-After"]) >= 1
        assert "more than 3 requests a second" in limited.json()["error"]
        assert client.post("/v1/answer", json=BODY, headers=other).status_code == 200
        assert client.get("/readyz", headers=mine).status_code == 200  # a probe is never limited
        time.sleep(0.4)
        assert client.post("/v1/answer", json=BODY, headers=mine).status_code == 200


def test_a_body_that_does_not_arrive_ends_in_time(open_site: Open) -> None:
    site = open_site(timeout_s=0.3)
    host, port = site.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"POST /v1/answer HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\n{{".encode())
        said = b""
        while part := connection.recv(4096):
            said += part
    assert b" 408 " in said
    assert b"did not arrive within 0.3 s" in said


def test_what_no_rule_names_needs_operate() -> None:
    assert scopes_of("POST", "/v1/answer") == {"predict"}
    assert scopes_of("HEAD", "/healthz") == {"predict", "feedback", "operate"}
    for method, path in (("GET", "/v1/answer"), ("POST", "/healthz"), ("GET", "//healthz"), ("GET", "/dashboard/x")):
        assert scopes_of(method, path) == {"operate"}


def test_shutting_down_finishes_open_requests_then_flushes(open_site: Open, fixed: Any) -> None:
    model = fixed()
    site = open_site({1: model})
    flushed = threading.Event()
    app = create_app(site.server, feedback=site.feedback, model_name="reviews", on_close=flushed.set)
    server, opened = bind(app, ServeOptions(port=0))
    running = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
    running.start()
    site.until(lambda: server.started)
    site.url = f"http://127.0.0.1:{opened.getsockname()[1]}"
    model.seconds = 0.4
    replies: list[Any] = []

    def ask() -> None:
        with site.client() as client:
            replies.append(client.post("/v1/answer", json=BODY))

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.15)
    server.should_exit = True
    asking.join(10)
    running.join(10)
    opened.close()
    assert (replies[0].status_code, flushed.is_set(), running.is_alive()) == (200, True, False)
