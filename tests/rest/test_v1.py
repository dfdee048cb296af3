"""POST /v1/answer, POST /v1/feedback and the health routes, over real HTTP."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

Open = Callable[..., Any]


def test_answers_of_a_real_model_carry_their_version_and_are_recorded(open_site: Open, classifier: Any) -> None:
    site = open_site({1: classifier})
    records = [
        {"id": "film-1", "input": "a good film", "at": "2026-03-01T12:00:00+02:00", "tags": {"domain": "films"}},
        {"id": "film-2", "input": "dull", "at": 1_772_359_200},
        {"input": "Überraschend gut 🙂"},
    ]
    with site.client() as client:
        reply = client.post("/v1/answer", json={"records": records}).json()
    assert (reply["model"], reply["version"]) == ("reviews", 1)
    assert [answer["id"] for answer in reply["answers"][:2]] == ["film-1", "film-2"]
    assert all(answer["recorded"] and answer["version"] == 1 for answer in reply["answers"])
    output = reply["answers"][0]["output"]
    assert set(output) == {"label", "confidence", "margin", "entropy", "length", "scores"}
    assert output["confidence"] == max(output["scores"].values())
    kept = {row.id: row for row in site.rows}
    assert set(kept) == {answer["id"] for answer in reply["answers"]}
    first = kept["film-1"]
    assert (first.at, first.model) == (datetime(2026, 3, 1, 10, tzinfo=UTC), "v1")
    assert (first.input, dict(first.tags)) == ("a good film", {"domain": "films"})
    assert first.output["embedding"].shape == (32,)  # for the monitor; never sent
    assert kept["film-2"].at == datetime.fromtimestamp(1_772_359_200, UTC)


def test_one_record_may_come_bare(open_site: Open) -> None:
    site = open_site()
    with site.client() as client:
        answers = client.post("/v1/answer", json={"input": "a good film", "id": "x"}).json()["answers"]
    assert (answers[0]["id"], answers[0]["output"]["label"]) == ("x", "positive")


def test_bad_records_are_named_in_place_and_good_ones_answered(open_site: Open) -> None:
    site = open_site()
    ahead = (datetime.now(UTC) + timedelta(days=400)).isoformat()
    bad = {
        "id is 'a b'": {"id": "a b", "input": "x"},
        "id is 7": {"id": 7, "input": "x"},
        "1 to 128 characters": {"id": "i" * 129, "input": "x"},
        "no field 'input'": {"id": "m"},
        "input is 3": {"id": "n", "input": 3},
        "a text with nothing in it": {"id": "o", "input": "  "},
        "half a surrogate": {"id": "p", "input": "\ud800"},
        "at most a day ahead": {"id": "q", "input": "x", "at": ahead},
        "at is 'yesterday'": {"id": "r", "input": "x", "at": "yesterday"},
        "at is True": {"id": "s", "input": "x", "at": True},
        "at is 1e+300": {"id": "t", "input": "x", "at": 1e300},
        "must lie after 1970": {"id": "u", "input": "x", "at": "1203-01-01"},
        "at most 32 texts": {"id": "v", "input": "x", "tags": {"n": 1}},
        "unknown field 'inputs'": {"id": "w", "inputs": "x"},
        "a record must be a JSON object": "just text",
    }
    with site.client() as client:
        body = json.dumps({"records": [*bad.values(), {"id": "good", "input": "a good film"}]})
        reply = client.post("/v1/answer", content=body)
        assert reply.status_code == 200
        answers = reply.json()["answers"]
        alone = client.post("/v1/answer", content=json.dumps({"records": [bad["input is 3"]]}))
    for why, answer in zip(bad, answers, strict=False):
        assert why in answer["error"]
        assert "output" not in answer
    assert answers[-1]["output"]["label"] == "positive"
    assert [row.id for row in site.rows] == ["good"]
    assert alone.status_code == 400
    assert "input is 3" in alone.json()["error"]


MALFORMED = [
    (b"", 400, "not valid JSON"),
    (b"{", 400, "not valid JSON"),
    (b"[1, 2]", 400, "must be a JSON object, not list of 2"),
    (b"\xff\xfe", 400, "not UTF-8"),
    (b'{"records": []}', 400, "at least one"),
    (b'{"records": {"input": "x"}}', 400, "must be a list"),
    (b'{"records": [{"input": "x"}], "input": "y"}', 400, "one of the two forms"),
    (b'{"id": "x"}', 400, "no field 'records'"),
    (b'{"text": "x"}', 400, "unknown field 'text'"),
    (b'{"input": "x", "at": NaN}', 400, "NaN is not a JSON number"),
    (b'{"input": "x", "at": 1' + b"0" * 5000 + b"}", 400, "not valid JSON"),
    (b'{"input": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "more than 32 levels"),
    (b'{"input": "' + b"[" * 5000 + b'"}', 200, ""),
    (json.dumps({"records": [{"input": "x"}] * 257}).encode(), 413, "257 records in one request; at most 256"),
]


def test_malformed_bodies_say_what_is_wrong(open_site: Open) -> None:
    with open_site().client() as client:
        for body, status, why in MALFORMED:
            reply = client.post("/v1/answer", content=body)
            assert (reply.status_code, why in reply.json().get("error", "")) == (status, True), reply.text
        assert client.post("/v1/answer", json={"input": "goes on"}).status_code == 200


def test_sizes_beyond_the_limit_are_refused_however_they_come(open_site: Open) -> None:
    site = open_site()
    with site.client() as client:
        ten = client.post("/v1/answer", content=b'{"input": "' + b"x" * 10_000_000 + b'"}')
        assert (ten.status_code, "larger than 1,048,576" in ten.json()["error"]) == (413, True)
        rows = json.dumps({"records": [{"input": "x"}] * 100_000}).encode()
        chunked = client.post("/v1/answer", content=(rows[i : i + 65_536] for i in range(0, len(rows), 65_536)))
        assert chunked.status_code == 413
        assert client.post("/v1/answer", json={"input": "goes on"}).status_code == 200
    assert len(site.rows) == 1


def test_a_retried_id_is_answered_again_and_recorded_once(open_site: Open) -> None:
    site = open_site()
    with site.client() as client:
        for _ in range(3):
            answer = client.post("/v1/answer", json={"input": "a good film", "id": "once"}).json()["answers"][0]
            assert (answer["recorded"], answer["output"]["label"]) == (True, "positive")
        counts = client.get("/metrics").text
    assert [row.id for row in site.rows] == ["once"]
    assert 'luthier_log_events_total{outcome="duplicate"} 2.0' in counts
    assert 'luthier_predictions_total{model="reviews",role="champion",version="v1"} 3.0' in counts


def test_a_full_disk_marks_the_answer_and_refuses_the_label(open_site: Open) -> None:
    site = open_site()
    with site.client() as client:
        site.full = True
        answer = client.post("/v1/answer", json={"input": "a good film"}).json()["answers"][0]
        assert (answer["output"]["label"], answer["recorded"]) == ("positive", False)
        label = client.post("/v1/feedback", json={"labels": [{"id": "x", "target": "positive"}]})
        assert (label.status_code, "no space left" in label.json()["error"]) == (503, True)
        assert 'luthier_log_events_total{outcome="failed"} 1.0' in client.get("/metrics").text
        site.full = False
        assert client.post("/v1/answer", json={"input": "a good film"}).json()["answers"][0]["recorded"]


def test_a_model_that_gives_no_number_gives_an_error_not_a_crash(open_site: Open, fixed: Any) -> None:
    model = fixed()
    site = open_site({1: model})
    with site.client() as client:
        model.confidence = math.nan
        reply = client.post("/v1/answer", json={"input": "a good film"})
        assert (reply.status_code, "confidence nan" in reply.json()["error"]) == (500, True)
        model.confidence = 0.75
        assert client.post("/v1/answer", json={"input": "a good film"}).status_code == 200


def test_a_slow_model_ends_in_a_clear_error(open_site: Open, fixed: Any) -> None:
    model = fixed()
    site = open_site({1: model}, timeout_s=0.3)
    with site.client() as client:
        model.seconds = 0.8
        reply = client.post("/v1/answer", json={"input": "a good film"})
        assert (reply.status_code, "not answered in time" in reply.json()["error"]) == (504, True)
        model.seconds = 0.0
        site.until(lambda: client.post("/v1/answer", json={"input": "a good film"}).status_code == 200)


def test_more_than_the_queue_holds_is_busy_not_lost(open_site: Open, fixed: Any) -> None:
    model = fixed()
    site = open_site({1: model}, max_queue=4, max_batch=1, max_wait_ms=0)
    model.seconds = 0.05
    with site.client() as client, ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda i: client.post("/v1/answer", json={"input": "x", "id": f"b{i}"}), range(32)))
    told = Counter(reply.status_code for reply in replies)
    assert set(told) == {200, 503}
    assert all(reply.headers["Retry-After"] == "1" for reply in replies if reply.status_code == 503)
    assert len(site.rows) == told[200]


def test_labels_are_checked_one_by_one_and_counted(open_site: Open) -> None:
    site = open_site()
    labels = [
        {"id": "a", "target": "positive", "at": "2026-03-02T00:00:00Z"},
        {"id": "early", "target": "negative", "correct": True},
        {"id": "b", "target": "neutral"},
        {"id": "c c", "target": "positive"},
        {"id": "d"},
        {"id": "e", "target": None},
        {"id": "f", "target": ["positive"]},
        {"id": "g", "target": "positive", "correct": "yes"},
        {"id": "h", "target": "positive", "at": "2999-01-01"},
        17,
    ]
    with site.client() as client:
        client.post("/v1/answer", json={"input": "a good film", "id": "a"})
        reply = client.post("/v1/feedback", json={"labels": labels})
        told = reply.json()
        assert reply.status_code == 200
        assert {key: told[key] for key in ("stored", "duplicates", "conflicts", "waiting")} == {
            "stored": 2, "duplicates": 0, "conflicts": 0, "waiting": 1,
        }  # fmt: skip
        assert [one["id"] for one in told["rejected"]] == [None, "d", "e", "f", "g", "h", None, "b"]
        assert "'neutral' is not a label" in told["rejected"][-1]["why"]
        again = [labels[0], {"id": "a", "target": "negative"}, {"id": "early", "target": "positive", "correct": True}]
        told = client.post("/v1/feedback", json={"labels": again}).json()
        assert (told["stored"], told["duplicates"], told["conflicts"], told["rejected"][0]["id"]) == (1, 1, 1, "a")
        assert client.post("/v1/feedback", json={"labels": labels[2:]}).status_code == 400
        assert client.post("/v1/feedback", json={"labels": []}).status_code == 400
        assert client.post("/v1/feedback", json={"label": labels}).status_code == 400
        counts = client.get("/metrics").text
    kept = [(row.id, row.body["target"]) for row in site.store.scan("label")]
    assert kept == [("a", "positive"), ("early", "negative"), ("early#2", "positive")]
    assert next(iter(site.store.scan("label"))).at == datetime(2026, 3, 2, tzinfo=UTC)
    assert 'luthier_labels_total{outcome="stored"} 1.0' in counts
    assert 'luthier_labels_total{outcome="waiting"} 2.0' in counts
    assert 'luthier_labels_total{outcome="rejected"} 16.0' in counts


def test_health_tells_alive_from_ready(open_site: Open) -> None:
    site = open_site(ready=False)
    with site.client() as client:
        assert client.get("/healthz").json() == {"status": "alive"}
        assert client.get("/readyz").status_code == 503
        assert "no model version" in client.post("/v1/answer", json={"input": "x"}).json()["error"]
        site.champion = 1
        site.until(lambda: client.get("/readyz").status_code == 200)
        assert client.get("/readyz").json() == {"status": "ready", "model": "reviews", "version": 1}
        assert 'luthier_champion_info{model="reviews",version="v1"} 1.0' in client.get("/metrics").text


def test_swaps_under_load_fail_and_lose_nothing(open_site: Open, fixed: Any) -> None:
    site = open_site({number: fixed(0.5 + number / 100, seconds=0.002) for number in range(1, 6)})
    answered: list[dict[str, Any]] = []
    lock = threading.Lock()

    def ask(thread: int) -> None:
        with site.client() as client:
            for i in range(300 * thread // 8, 300 * (thread + 1) // 8):
                reply = client.post("/v1/answer", json={"input": "a good film", "id": f"r{i}"})
                assert reply.status_code == 200, reply.text
                with lock:
                    answered.extend(reply.json()["answers"])

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask, thread) for thread in range(8)]
        for number in range(2, 6):
            site.until(lambda number=number: len(answered) >= 50 * (number - 1) or all(one.done() for one in asking))
            site.champion = number
            site.until(lambda number=number: site.server.status().version.number == number)
        for one in asking:
            one.result()
    assert Counter(answer["id"] for answer in answered) == Counter(f"r{i}" for i in range(300))
    assert Counter(row.id for row in site.rows) == Counter(f"r{i}" for i in range(300))
    for answer in answered:
        assert answer["output"]["confidence"] == pytest.approx(0.5 + answer["version"] / 100)
    assert len({answer["version"] for answer in answered}) >= 4
