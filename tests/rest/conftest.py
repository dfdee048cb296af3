"""A served model for the tests of the HTTP surface: a real application on a real port, over a real store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from luthier.errors import StoreFull
from luthier.options import ServeOptions
from luthier.rest import bind, create_app
from luthier.stages.record import Feedback, Recorder, feedback, from_row
from luthier.stages.serve import Server
from luthier.stores.sqlite import SqliteStore
from luthier.tasks.text_classification import TextClassification
from luthier.types import Record, Version, utc_now


@dataclass
class Fixed:
    """A model that says the same of everything; `confidence` names the version that spoke."""

    confidence: float = 0.75
    seconds: float = 0.0

    def answer(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        time.sleep(self.seconds)
        scores = {"positive": self.confidence, "negative": 1 - self.confidence}
        numbers = {"confidence": self.confidence, "margin": 0.5, "entropy": 0.56, "length": 4}
        return [{"label": "positive", **numbers, "scores": scores} for _ in records]


@dataclass
class Site:
    """One running site and what stands behind it."""

    models: dict[int, Any]
    store: SqliteStore
    champion: int = 1
    full: bool = False
    url: str = ""
    app: Any = None
    server: Any = None
    recorder: Any = None

    @property
    def rows(self) -> list[Record]:
        """What is durably recorded."""
        return [from_row(row) for row in self.store.scan("answer")]

    def load(self) -> tuple[Version, Any]:
        return Version(self.champion, "0" * 64, utc_now()), self.models[self.champion]

    def record(self, record: Record) -> Future[Any]:
        if self.full:
            raise StoreFull("no space left for the store")
        future: Future[Any] = self.recorder.submit(record)
        return future

    def feedback(self, labels: Sequence[Mapping[str, Any]]) -> Feedback:
        if self.full:
            raise StoreFull("no space left for the store")
        task = self.server.task
        return feedback(self.store, labels, known=lambda label: task.check(replace(label, input="any text")))

    def client(self, **more: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, **more)

    def until(self, true: Callable[[], bool], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it did not come true in time"
            time.sleep(0.005)


@pytest.fixture(scope="session")
def classifier(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A real, tiny text classifier."""
    import torch

    task = TextClassification(("negative", "positive"))
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny-classifier")
    task.adapter(tiny_model).save(folder)
    return task.adapter(folder)


@pytest.fixture
def fixed() -> type[Fixed]:
    return Fixed


@pytest.fixture
def open_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """`open_site(models, keys=None, ready=True, **options)`: a running site on a free port."""
    running: list[tuple[Any, threading.Thread, Any, SqliteStore]] = []

    def start(
        models: Any = None, *, keys: Path | None = None, ready: bool = True, labels: Any = None, **options: Any
    ) -> Site:
        store = SqliteStore(tmp_path / "store")
        site = Site(models or {1: Fixed()}, store, champion=1 if ready else 0, recorder=Recorder(store))
        wanted = ServeOptions(port=0, **options)
        site.server = Server(
            TextClassification(labels or ("negative", "positive")), load=site.load, record=site.record,
            newest=lambda: site.champion, options=wanted, poll_s=0.02,
        )  # fmt: skip
        site.app = create_app(
            site.server, feedback=site.feedback, model_name="reviews", keys=keys, on_close=site.recorder.close
        )
        running_server, opened = bind(site.app, wanted)
        thread = threading.Thread(target=running_server.run, kwargs={"sockets": [opened]}, daemon=True)
        thread.start()
        running.append((running_server, thread, opened, store))
        site.url = f"http://127.0.0.1:{opened.getsockname()[1]}"
        site.until(lambda: running_server.started)
        assert not ready or site.server.wait_ready(20)
        return site

    yield start
    for running_server, _, _, _ in running:
        running_server.should_exit = True
    for _, thread, opened, store in running:
        thread.join(20)
        opened.close()
        store.close()
        assert not thread.is_alive(), "the server did not shut down"
