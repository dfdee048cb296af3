"""What recording costs a request, and the whole server with a real model against `transformers.pipeline` one by one.

    python bench/bench_serve.py [--requests 4000] [--texts 256] [--connections 16] [--busy 32] [--skip-model]

Prints JSON. The server has a process of its own; its CPU seconds are told beside the clock's, for machines that have
other work. Ratios are between rows of one run; each pair is run in turn, twice, and the better of each is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from luthier.demo import assets
from luthier.options import ServeOptions
from luthier.rest import bind, create_app
from luthier.stages.record import Recorder, to_row
from luthier.stages.serve import Server
from luthier.stores.sqlite import SqliteStore
from luthier.tasks.text_classification import TextClassification
from luthier.types import Record, Version, utc_now

TASK = TextClassification(("negative", "positive"))


class Trivial:
    """A model that costs nothing, with an embedding as wide as MiniLM's."""

    def answer(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        import numpy as np

        numbers = {"confidence": 0.75, "margin": 0.5, "entropy": 0.56, "length": 4}
        vector = np.zeros(384, np.float16)
        scores = {"positive": 0.75, "negative": 0.25}
        return [{"label": "positive", **numbers, "scores": scores, "embedding": vector} for _ in records]


def done(_: Any = None) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result("stored")
    return future


def serving(folder: str, model: str, mode: str, pipe: Any) -> None:
    """One server process: tells its port, waits for a word, tells its CPU seconds since it was ready."""
    store = SqliteStore(Path(folder))
    recorder = Recorder(store)
    adapter: Any = Trivial()
    if model:
        import torch

        torch.set_num_threads(1)
        adapter = TASK.adapter(model)
    ways = {
        "none": done,
        "group": recorder.submit,
        "each": lambda record: done(store.append("answer", [to_row(record)])),
    }
    options = ServeOptions(port=0, max_queue=10_000)
    version = Version(1, "0" * 64, utc_now())
    server = Server(TASK, load=lambda: (version, adapter), record=ways[mode], newest=lambda: 1, options=options)
    app = create_app(server, feedback=lambda labels: None, model_name="m", on_close=recorder.close)
    running, opened = bind(app, options)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [opened]})
    thread.start()
    server.wait_ready(120)
    while not running.started:
        time.sleep(0.01)
    began = time.process_time()
    pipe.send(opened.getsockname()[1])
    pipe.recv()
    spent = time.process_time() - began
    running.should_exit = True
    thread.join()
    pipe.send((spent, store.count("answer")))


async def ask(port: int, texts: Sequence[str], connections: int) -> list[float]:
    """Every text in a request of its own over `connections` kept-alive connections; the seconds each took."""
    waiting = list(enumerate(texts))[::-1]
    took: list[float] = []

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while waiting:
            number, text = waiting.pop()
            body = json.dumps({"id": f"r{number}", "input": text}).encode()
            begin = time.perf_counter()
            writer.write(
                b"POST /v1/answer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            reply = await reader.readexactly(size)
            took.append(time.perf_counter() - begin)
            assert head.startswith(b"HTTP/1.1 200"), (head, reply)
            assert b'"recorded":true' in reply, reply
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return took


def served(texts: Sequence[str], mode: str, connections: int, model: str = "") -> dict[str, float]:
    """Answers a second of the clock and of the server's CPU, and the middle request's milliseconds."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(target=serving, args=(folder, model, mode, there))
        process.start()
        port = here.recv()
        begin = time.perf_counter()
        took = sorted(asyncio.run(ask(port, texts, connections)))
        seconds = time.perf_counter() - begin
        here.send("stop")
        spent, kept = here.recv()
        process.join()
    assert kept == (0 if mode == "none" else len(texts)), "what was acknowledged must be recorded"
    return {
        "answers_per_s": round(len(texts) / seconds, 1),
        "answers_per_cpu_s": round(len(texts) / spent, 1),
        "median_ms": round(1000 * took[len(took) // 2], 2),
        "p95_ms": round(1000 * took[len(took) * 95 // 100], 2),
    }


def piped(texts: Sequence[str], model: str) -> dict[str, float]:
    """`transformers.pipeline`, called with one text after another."""
    import torch
    from transformers import pipeline

    torch.set_num_threads(1)
    answer = pipeline("text-classification", model=model, device="cpu")
    answer(texts[0])
    begin, spent = time.perf_counter(), time.process_time()
    for text in texts:
        answer(text)
    seconds, spent = time.perf_counter() - begin, time.process_time() - spent
    return {"answers_per_s": round(len(texts) / seconds, 1), "answers_per_cpu_s": round(len(texts) / spent, 1)}


def better(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return max(rows, key=lambda row: row["answers_per_cpu_s"])


def ratios(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    return {name: round(ours[name] / theirs[name], 2) for name in ("answers_per_s", "answers_per_cpu_s")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--busy", type=int, default=32, help="connections to the server with the real model")
    parser.add_argument("--skip-model", action="store_true")
    asked = parser.parse_args()
    short = ["a good film"] * asked.requests
    rows: dict[str, list[dict[str, float]]] = {"none": [], "group": []}
    for _ in range(2):
        for mode, found in rows.items():
            found.append(served(short, mode, asked.connections))
    none, group = better(rows["none"]), better(rows["group"])
    each = served(short[: asked.requests // 8], "each", asked.connections)
    told: dict[str, Any] = {
        "not_recorded": none, "durable_group_commit": group, "commit_in_each_request": each,
        "recorded_over_not_recorded": ratios(group, none),
    }  # fmt: skip
    if not asked.skip_model:
        texts = [record.input for record in assets.sentiment("tweets")][: asked.texts]
        with tempfile.TemporaryDirectory() as folder:
            TASK.adapter(assets.minilm()).save(Path(folder))
            pairs = [(piped(texts, folder), served(texts, "group", asked.busy, folder)) for _ in range(2)]
        theirs, ours = better([pair[0] for pair in pairs]), better([pair[1] for pair in pairs])
        told |= {"pipeline_one_by_one": theirs, "minilm_served": ours, "served_over_pipeline": ratios(ours, theirs)}
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
