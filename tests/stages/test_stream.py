"""A row a call: what it says is what one window says, and it says so at once."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import luthier
from luthier import codec
from luthier.errors import StateError
from luthier.names import get
from luthier.options import MonitorOptions
from luthier.stages.stream import Running, Stream

RNG = np.random.default_rng(0)
GOOD = {"loss": (RNG.random(2000) < 0.1) * 1.0, "tag:country": RNG.choice(["de", "fr"], 2000)}
AT = 1.7e9 + np.arange(3000) * 30.0


def losses(seed: int, *rates: tuple[float, int]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([(rng.random(n) < rate) * 1.0 for rate, n in rates])


def monitor(*checks: str, **options: object) -> luthier.Monitor:
    return luthier.Monitor(
        GOOD, checks=checks or ("risk.v1", "risk_lifetime.v1", "risk_block.v1"), options=MonitorOptions(**options)
    )


def said(watch: luthier.Monitor) -> dict[tuple[str, str], luthier.Finding]:
    """Findings without their times: a slice's is that of the newest row of the window, whatever slice that is of."""
    return {(finding.check, finding.slice): replace(finding, at=None) for finding in watch.findings()}


@pytest.mark.parametrize("every", [1, 7, 1000])
def test_rows_one_by_one_are_one_window_bit_for_bit(every: int) -> None:
    rows, country = losses(1, (0.1, 700), (0.3, 300)), RNG.choice(["de", "fr"], 1000)
    whole, single = monitor(slices=("country",)), monitor(slices=("country",))
    whole.observe("label", {"loss": rows, "tag:country": country}, at=AT[:1000])
    with luthier.Stream(single, "label", every=every) as stream:
        for i in range(1000):
            stream.add(at=AT[i], loss=float(rows[i]), **{"tag:country": str(country[i])})
    assert said(single) == said(whole)
    assert codec.unpack(single.save())["buckets"].keys() == codec.unpack(whole.save())["buckets"].keys()
    memory = {(check, name): codec.pack(part) for check, name, part in codec.unpack(single.save())["memory"]}
    assert memory == {(check, name): codec.pack(part) for check, name, part in codec.unpack(whole.save())["memory"]}


@pytest.mark.parametrize("name", ["risk.v1", "risk_lifetime.v1", "below.v1"])
def test_the_alarm_is_seen_at_the_row_that_it_names(name: str) -> None:
    for seed in range(3):
        stream = Stream(monitor(name), "label")
        seen = [stream.add(loss=loss) for loss in losses(seed, (0.1, 500), (0.5, 400))]
        assert f"shown at label {seen.index(True) + 1}." in stream.fold()[0].why
        assert all(seen[seen.index(True) :])


def test_a_stream_goes_on_where_the_monitor_stands_and_after_a_restart() -> None:
    rows = losses(4, (0.1, 400), (0.25, 500))
    whole = monitor()
    whole.observe("label", {"loss": rows}, at=AT[: len(rows)])
    first, second = monitor(), monitor()
    first.observe("label", {"loss": rows[:123]}, at=AT[:123])
    with Stream(first) as stream:
        for i in range(123, 456):
            stream.add(at=AT[i], loss=rows[i])
    second.restore(first.save())
    with Stream(second) as stream:
        for i in range(456, len(rows)):
            stream.add(at=AT[i], loss=rows[i])
    assert second.findings() == whole.findings()
    assert Stream(second).alarm


def test_alarms_of_blocks_are_seen_when_rows_are_folded() -> None:
    stream = Stream(monitor("risk_block.v1"), every=100)
    seen = [stream.add(loss=loss) for loss in losses(2, (0.1, 500), (0.6, 1000))]
    assert (seen.index(True) + 1) % 100 == 0


def test_labels_that_were_picked_do_not_count() -> None:
    stream = Stream(monitor("risk.v1"))
    assert not any(stream.add(loss=1.0, at_random=False) for _ in range(500))
    assert stream.fold() == []
    assert any(stream.add(loss=1.0, at_random=True) for _ in range(100))


def test_rows_may_lack_a_column_or_a_value() -> None:
    stream = Stream(monitor("risk.v1"), every=10)
    for i in range(30):
        stream.add(loss=[0.0, None, math.nan][i % 3])
        stream.add(confidence=0.5)
    assert stream.fold()[0].n == 10


def test_a_row_that_cannot_be_is_refused_and_not_taken() -> None:
    stream = Stream(monitor("risk.v1"))
    stream.add(loss=0.0)
    with pytest.raises(StateError, match="loss holds 3; it must lie in"):
        stream.add(loss=3)
    assert stream.fold()[0].n == 1
    with pytest.raises(StateError, match="at least 1 row must wait"):
        Stream(monitor(), every=0)
    stream = Stream(luthier.Monitor({}, checks=("embedding_shift.v1",)), "answer")
    stream.add(embedding=[1.0, 2.0])
    stream.add(embedding=[1.0])
    with pytest.raises(StateError, match="embedding of 2 rows that waited differs in shape"):
        stream.fold()


@pytest.mark.parametrize("statistic", [
    get("statistic", "mean.v1")(column="loss"), get("statistic", "histogram.v1")(column="loss"),
    get("statistic", "ratio.v1")(over="loss", under="length"),
], ids=lambda statistic: statistic.name)  # fmt: skip
def test_a_statistic_of_rows_one_by_one_is_that_of_all(statistic: object) -> None:
    rng = np.random.default_rng(1)
    columns = {"loss": rng.normal(size=250), "length": rng.integers(1, 9, 250).astype(float)}
    running = Running(statistic, every=64)
    for loss, length in zip(columns["loss"], columns["length"], strict=True):
        running.add(loss=loss, length=length)
    assert codec.pack(running.state) == codec.pack(statistic.observe(columns))
    again = Running(statistic, running.state)
    again.add(loss=1.0, length=2.0)
    assert again.read()["missing"].n == 251


def test_a_wrong_row_does_not_take_the_rows_that_wait_beside_it_with_it() -> None:
    reference = {"predicted": RNG.integers(0, 3, 500), "target": RNG.integers(0, 3, 500)}
    rows = [{"predicted": i % 3, "target": i % 2, "at": float(AT[i])} for i in range(300)]
    whole, streamed = (luthier.Monitor(reference, checks=("risk.v1", "risk_lifetime.v1")) for _ in range(2))
    stream = Stream(streamed)
    for i, row in enumerate(rows):
        stream.add(**{**row, "target": 7 if i in (20, 200) else row["target"]})
    with pytest.raises(
        StateError, match=r"2 of 300 rows that waited cannot be read, the others were taken: .*'target'.*7"
    ):
        stream.fold()
    whole.observe("label", {name: [row[name] for i, row in enumerate(rows) if i not in (20, 200)] for name in rows[0]})
    assert streamed.save() == whole.save()
    assert stream.fold() == whole.findings(), "what was refused is not tried again"
    lost = Stream(streamed)
    for _ in range(300):
        lost.add(predicted=1)
    with pytest.raises(StateError, match="300 of 300 rows that waited cannot be read: labels of task multiclass need"):
        lost.fold()


def test_what_a_stream_cannot_be_given() -> None:
    with pytest.raises(StateError, match="when is 'labels'; it must be 'answer' or 'label'"):
        Stream(monitor(), "labels")
    with pytest.raises(StateError, match="loss holds 'much', which is no number"):
        Stream(monitor()).add(loss="much")
