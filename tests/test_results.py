"""Any result of ours as a frame, with whichever library is installed."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime

import numpy as np
import pytest

import luthier
from luthier import results
from luthier.errors import MissingPackage, UsageError
from luthier.rootcause import explain
from luthier.stages.pages import Called
from luthier.types import Estimate, Finding, Promise

RNG = np.random.default_rng(0)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def handed_out() -> dict[str, object]:
    n = 400
    loss = (RNG.random(n) < 0.1).astype(float)
    columns = {"loss": loss, "confidence": RNG.random(n)}
    monitor = luthier.Monitor(columns)
    monitor.observe("label", {**columns, "predicted": np.zeros(n, int), "target": np.zeros(n, int)}, at=NOON)
    worse = {"loss": np.where(columns["confidence"] > 0.5, 1.0, loss), "confidence": columns["confidence"]}
    return {
        "drift": luthier.drift({"a": RNG.normal(size=200)}, {"a": RNG.normal(size=50)}),
        "timeline": monitor.timeline(),
        "findings": monitor.findings(),
        "cause": explain(columns, worse),
        "estimates": {"accuracy": Estimate(0.9, 10, 0.6, 0.98), "f1": Estimate()},
        "pages": [Called("p1", "v1", "risk.v1", "", NOON, "it got worse", 123.0)],
        "report": luthier.report("quality", {"a": RNG.normal(size=200)}, {"a": RNG.normal(size=50)}),
    }


@pytest.mark.parametrize("name", list(handed_out()))
def test_every_result_has_a_frame(name: str) -> None:
    result = handed_out()[name]
    table = luthier.frame(result, "arrow")
    assert table.num_rows == len(results.rows(result)) > 0
    if importlib.util.find_spec("pandas"):
        frame = luthier.frame(result, "pandas")
        assert list(frame.columns) == table.column_names
        assert len(frame) == table.num_rows
        assert not any(isinstance(value, dict | list | Estimate | Promise) for value in frame.to_numpy().ravel())


def test_estimates_and_promises_become_columns() -> None:
    finding = Finding("risk.v1", 0.2, 0.1, 50.0, Promise("e-detector", 1e5), True, 100, "worse", at=NOON)
    (row,) = luthier.frame([finding], "arrow").to_pylist()
    assert (row["promise"], row["promise_level"], row["at"]) == ("e-detector", 1e5, NOON)
    (bucket,) = luthier.frame([{"at": NOON, "loss": Estimate(0.1, 50, 0.05, 0.2)}], "arrow").to_pylist()
    assert bucket == {"at": NOON, "loss": 0.1, "loss_n": 50, "loss_low": 0.05, "loss_high": 0.2}


def test_several_lists_stand_below_each_other() -> None:
    found = results.rows(handed_out()["cause"])
    assert {row["part"] for row in found} >= {"features", "slices"}


def test_columns_of_several_types_are_text() -> None:
    table = luthier.frame([{"a": 1}, {"a": "x"}, {"b": (1, 2)}], "arrow")
    assert table.column("a").to_pylist() == ["1", "x", None]
    assert table.column("b").to_pylist() == [None, None, "[1, 2]"]


def test_what_has_no_rows_is_refused() -> None:
    for thing in ("text", 3, [1, 2]):
        with pytest.raises(UsageError, match="has no rows"):
            luthier.frame(thing)
    with pytest.raises(UsageError, match="known are pandas, polars, arrow"):
        luthier.frame([], "spark")
    assert luthier.frame([], "arrow").num_rows == 0


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match="pip install polars"):
        luthier.frame([{"a": 1}], "polars")
    assert luthier.frame([{"a": 1}]).column_names == ["a"], "without pandas and Polars it is an Arrow table"
