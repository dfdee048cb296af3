"""GET /metrics: what the server counts, in the Prometheus text format. No label ever holds an id, a user or a slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.responses import Response

from luthier.stages.serve import Status

__all__ = ["Metrics"]

_OUTCOMES = (("stored", "recorded"), ("duplicate", "duplicate"), ("failed", "unrecorded"))
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_COUNTS = {
    "luthier_swaps": ("swaps", "champions swapped in while serving"),
    "luthier_swap_failures": ("swap_failures", "attempts to load a new champion that failed; the old one went on"),
    "luthier_prediction_failures": ("failed", "records the model could not answer"),
    "luthier_busy": ("busy", "requests refused because the queue was full"),
    "luthier_late": ("late", "requests that ran out of time"),
}


class Metrics:
    """The registry of one server: `observe` a request's seconds, count `labelled` and `refused`, `page` it all."""

    def __init__(self, status: Callable[[], Status], model: str) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Live(status, model))
        self._seconds = Histogram(
            "luthier_prediction_duration_seconds", "seconds from a parsed request to its durable answers", ["model"],
            registry=self.registry, buckets=_SECONDS,
        ).labels(model)  # fmt: skip
        self._labels = Counter("luthier_labels", "labels received", ["outcome"], registry=self.registry)
        self._refused = Counter(
            "luthier_refused", "requests refused before their route", ["status"], registry=self.registry
        )

    def observe(self, seconds: float) -> None:
        """A request for answers took this long."""
        self._seconds.observe(seconds)

    def labelled(self, outcome: str, n: int) -> None:
        """`n` labels came to this end: stored (with its answer), waiting (for it), duplicate, conflict or rejected."""
        self._labels.labels(outcome).inc(n)

    def refused(self, status: str) -> None:
        """The guard refused a request with this HTTP status."""
        self._refused.labels(status).inc()

    def page(self) -> Response:
        """The exposition."""
        return Response(generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


class _Live(Collector):
    """Reads the server's own counts at scrape time, so that answering pays nothing for them."""

    def __init__(self, status: Callable[[], Status], model: str) -> None:
        self._status, self._model = status, model

    def collect(self) -> Iterator[Metric]:
        now = self._status()
        predictions = CounterMetricFamily(
            "luthier_predictions", "records answered", labels=["model", "version", "role"]
        )  # fmt: skip
        for number, n in sorted(now.answered.items()):
            predictions.add_metric([self._model, f"v{number}", "champion"], n)
        yield predictions
        events = CounterMetricFamily("luthier_log_events", "answers by what became of their record", labels=["outcome"])
        for outcome, key in _OUTCOMES:
            events.add_metric([outcome], now.counts.get(key, 0))
        yield events
        for metric, (key, about) in _COUNTS.items():
            yield CounterMetricFamily(metric, about, value=now.counts.get(key, 0))
        yield GaugeMetricFamily(
            "luthier_log_queue_depth", "answers whose record is not durable yet", value=now.committing
        )
        yield GaugeMetricFamily("luthier_queue_depth", "records that wait for the model", value=now.waiting)
        champion = GaugeMetricFamily("luthier_champion_info", "the version that answers", labels=["model", "version"])
        if now.version is not None:
            champion.add_metric([self._model, now.version.name], 1)
        yield champion
