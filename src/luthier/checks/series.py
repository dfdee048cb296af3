"""Is a metric over time where this hour of this weekday puts it: latency, throughput, volume, confidence, loss, load?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.checks.base import Memory, silent
from luthier.evidence import LARGEST, advance, detector
from luthier.evidence.charts import cusum_limit, follow, onset
from luthier.evidence.conformal import exceedance_bets, learn, normal_scores, p_values, ranks, tilt_bets, uniforms
from luthier.names import register
from luthier.series.metric import Metric, Points
from luthier.types import Columns, Finding, Promise

__all__ = ["Metric", "Series", "Spike"]

TILTS = (0.5, 1.0, 2.0, -0.5, -1.0, -2.0)
STAKES = ((0.05, 0.005), (0.3, 0.05))  # for spikes and for a grown variance: share staked, two-sided p-value
USUAL = (Metric("confidence"), Metric(of="count", scale="root"))


@register("check", "series.v1")
@dataclass(frozen=True, slots=True)
class Series:
    """e-SR detectors of a shift, either way, in what season and last value do not explain; one a metric.

    Robust harmonic regression on day and week and AR(1) whitening, fitted to the first two thirds of the reference;
    the innovations of its last third and then of the stream give conformal p-values, whose normal scores are bet on
    with tilts of 0.5, 1 and 2 sd up and down (the likelihood ratios behind CUSUM) and on two-sided extremes. At most
    one false alarm in `points` points (of all `metrics` together) if the innovations are exchangeable up to a shift
    of `slack` sd; heavy tails need no assumption. Event times are the column `at`. `value` is the mean normal score
    since the likely onset, by CUSUM with k = 0.5 on the same scores, whose ARL is exact.
    """

    name: ClassVar[str]
    metrics: tuple[Metric, ...] = USUAL
    points: float = 2000
    slack: float = 0.1

    def __post_init__(self) -> None:
        _known(self.metrics)

    @property
    def when(self) -> Literal["answer", "label"]:
        return self.metrics[0].when

    @property
    def promise(self) -> Promise:
        return Promise("e-detector", self.points)

    def start(self, reference: Columns) -> Memory:
        """Memory from the reference's `at` (n,), see `unix_seconds`, and the metrics' columns (n,), rows in any order."""
        return _start(self.metrics, reference, _ranked)

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's rows; they may come late and out of order, see `luthier.series.moments.close`."""
        after = _step(self.metrics, memory, window, self._advance)
        watched = _watched(after)
        if not watched:
            return after, silent(self.name, self.promise, _nothing(self.metrics, after), limit=self.slack)
        clearest = max(watched, key=lambda one: (bool(watched[one]["alarm_n"]), watched[one]["engine"]["value"]))
        n = max(one["n"] for one in watched.values())
        return after, self._finding(after["reference"][clearest], watched[clearest], clearest, n)

    def _advance(self, known: Memory, one: Memory, points: Points) -> Memory:
        n = one["n"]
        ranked, p = p_values(one["ranks"], points.z, uniforms(n + np.arange(len(points.z))))
        score = normal_scores(p)
        bets = np.vstack(
            [tilt_bets(score, TILTS, self.slack), exceedance_bets(2 * np.minimum(p, 1 - p), STAKES, self.slack)]
        )
        engine, path = advance(one["engine"], bets)
        after = {**one, "n": n + len(p), "ranks": ranked, "engine": engine}
        for side, sign in (("up", 1.0), ("down", -1.0)):
            after[side] = follow(one[side], sign * score, sign * score, points.buckets)
        high = path >= self.points * len(self.metrics)
        if not one["alarm_n"] and high.any():
            first = int(high.argmax())
            after.update(alarm_n=n + first + 1, alarm_at=int(points.buckets[first]))
        return after

    def _finding(self, known: Memory, one: Memory, label: str, n: int) -> Finding:
        metric = _by_label(self.metrics)[label]
        sign, side = (1, one["up"]) if one["up"]["value"] >= one["down"]["value"] else (-1, one["down"])
        value = sign * side["total"] / side["n"] if side["n"] else 0.0
        limit = cusum_limit(self.points)
        chart = (
            f"allowed {self.slack:g}; CUSUM {side['value']:.3g}, beyond {limit:.3g} once in {self.points:,.0f} points"
        )
        why = f"{label}: {value:+.2f} sd off what hour and weekday say over the newest {side['n']} of {one['n']} points ({chart})"
        if one["alarm_n"]:
            last, bucket = one["newest"]
            why = (
                f"{label} has left what hour and weekday say: {value:+.2f} sd over {side['n']} points since "
                f"{metric.moment(side['since'])} UTC, newest {metric.shown(last)} where {metric.usual(known['model'], bucket):.4g} "
                f"is usual ({chart}); shown at point {one['alarm_n']} ({metric.moment(one['alarm_at'])} UTC). Look at what "
                f"changed then; if it is meant, start again with a newer reference"
            )
        return Finding(
            check=self.name, value=value, limit=self.slack, promise=self.promise, alarm=bool(one["alarm_n"]), n=n,
            evidence=min(one["engine"]["value"] / len(self.metrics), LARGEST), why=why + metric.left_out(one),
        )  # fmt: skip


@register("check", "spike.v1")
@dataclass(frozen=True, slots=True)
class Spike:
    """A single point beyond 4.5 robust sd of what season and last value say, or beyond the reference's own tail.

    The limit is raised to what Weissman's tail estimate (1978) on the held-out third of the reference passes once in
    `points` points. A tail is extrapolated, so the promise is none. A spike passes: the alarm ends after `hold`
    points without one.
    """

    name: ClassVar[str]
    metrics: tuple[Metric, ...] = USUAL
    points: float = 2000
    limit: float = 4.5
    hold: int = 24

    def __post_init__(self) -> None:
        _known(self.metrics)

    @property
    def when(self) -> Literal["answer", "label"]:
        return self.metrics[0].when

    @property
    def promise(self) -> Promise:
        return Promise("none")

    def start(self, reference: Columns) -> Memory:
        """Memory from the reference; see `Series.start`."""
        return _start(self.metrics, reference, lambda held: {"n": 0, "spikes": 0, "spike_n": 0, "spike": [0.0, 0, 0.0]})

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's rows; see `Series.step`."""
        after = _step(self.metrics, memory, window, self._advance)
        watched = _watched(after)
        if not watched:
            return after, silent(self.name, self.promise, _nothing(self.metrics, after), limit=self.limit)
        clearest = max(watched, key=lambda one: (self._on(watched[one]), abs(watched[one]["spike"][0])))
        n = max(one["n"] for one in watched.values())
        return after, self._finding(after["reference"][clearest], watched[clearest], clearest, n)

    def _limit(self, known: Memory) -> float:
        return max(self.limit, _tail(np.abs(known["held"]), self.points))

    def _advance(self, known: Memory, one: Memory, points: Points) -> Memory:
        after = {**one, "n": one["n"] + len(points.z)}
        beyond = np.flatnonzero(np.abs(points.z) > self._limit(known))
        if len(beyond):
            last = int(beyond[-1])
            spike = [float(points.z[last]), int(points.buckets[last]), float(points.values[last])]
            after.update(spikes=one["spikes"] + len(beyond), spike_n=one["n"] + last + 1, spike=spike)
        return after

    def _on(self, one: Memory) -> bool:
        return bool(one["spike_n"]) and one["n"] - one["spike_n"] < self.hold

    def _finding(self, known: Memory, one: Memory, label: str, n: int) -> Finding:
        metric, limit = _by_label(self.metrics)[label], self._limit(known)
        z, bucket, value = one["spike"]
        why = f"{label}: no point of {one['n']} beyond {limit:.3g} sd"
        if one["spike_n"]:
            why = (
                f"{label} was {metric.shown(value)} at {metric.moment(bucket)} UTC where {metric.usual(known['model'], bucket):.4g} "
                f"is usual: {z:+.1f} sd, limit {limit:.3g}; {one['spikes']} such points of {one['n']}. Look at that time"
            )
        return Finding(
            check=self.name, value=z, limit=limit, evidence=1.0, promise=self.promise, alarm=self._on(one), n=n,
            why=why + metric.left_out(one),
        )  # fmt: skip


def _known(metrics: tuple[Metric, ...]) -> None:
    if not metrics or len({metric.label for metric in metrics}) < len(metrics):
        raise ValueError(f"metrics are {[metric.label for metric in metrics]}; give at least one, each once")
    if len({metric.when for metric in metrics}) > 1:
        raise ValueError(
            f"metrics {[metric.label for metric in metrics]} are partly known with the answer and partly with its label; "
            f"give each kind a check of its own"
        )


def _by_label(metrics: tuple[Metric, ...]) -> dict[str, Metric]:
    return {metric.label: metric for metric in metrics}


def _start(metrics: tuple[Metric, ...], reference: Columns, begin: Callable[[np.ndarray], dict[str, Any]]) -> Memory:
    known = {metric.label: metric.learn(reference) for metric in metrics}
    streams = {
        label: {} if known[label]["why"] else {**metric.begin(), **begin(known[label]["held"])}
        for label, metric in _by_label(metrics).items()
    }
    return {"reference": known, "streams": streams}


def _ranked(held: np.ndarray) -> dict[str, Any]:
    engine = detector(len(TILTS) + len(STAKES))
    return {
        "n": 0,
        "ranks": learn(ranks(), held),
        "engine": engine,
        "alarm_n": 0,
        "alarm_at": 0,
        "up": onset(),
        "down": onset(),
    }


def _step(
    metrics: tuple[Metric, ...], memory: Memory, window: Columns, go_on: Callable[[Memory, Memory, Points], Memory]
) -> Memory:
    """Each metric that is watched: take the rows in and, where points are done, `go_on` with them."""
    streams: dict[str, Memory] = {}
    for label, metric in _by_label(metrics).items():
        known, one = memory["reference"][label], memory["streams"][label]
        if not known["why"]:
            one, points = metric.advance(one, known["model"], window)
            if len(points.z):
                one = go_on(known, one, points)
        streams[label] = one
    return {**memory, "streams": streams}


def _watched(memory: Memory) -> dict[str, Memory]:
    return {label: one for label, one in memory["streams"].items() if one and one["n"]}


def _nothing(metrics: tuple[Metric, ...], memory: Memory) -> str:
    """Why there is nothing to say, of the first metric that would be watched if it could."""
    reasons = [one["why"] for one in memory["reference"].values() if one["why"]]
    if len(reasons) == len(metrics):
        return f"not watched: {reasons[0]}"
    label, one = next((label, one) for label, one in memory["streams"].items() if one)
    return f"no point of {label} is done yet" + _by_label(metrics)[label].left_out(one)


def _tail(sizes: np.ndarray, points: float) -> float:
    """The size passed once in `points` points, by Weissman's estimate from the largest tenth of `sizes` (m,)."""
    largest = np.sort(sizes)[-max(len(sizes) // 10, 10) :]
    base = float(largest[0])
    if not base:
        return 0.0
    index = float(np.log(largest / base).mean())  # Hill 1975
    return float(base * max(len(largest) / len(sizes) * points, 1.0) ** index)
