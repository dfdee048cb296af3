"""Small pictures: from the sketches alone, the shares of both tables in the same bins."""

from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.figures import bars_svg, bars_text, line_svg, line_text
from luthier.tables.frames import columns_of, observe
from luthier.tables.sheets import Bars, Line, bars_of


def state(values: object) -> tuple[str, dict[str, object]]:
    (column,) = columns_of({"x": values})
    return column.kind, observe(column)  # type: ignore[return-value]


def picture(a: object, b: object) -> Bars | None:
    kind, first = state(a)
    return bars_of(kind, first, state(b)[1])


def test_bars_are_the_shares_of_equally_wide_bins() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(50, 10, 20_000), rng.normal(60, 10, 5_000)
    bars = picture(a, b)
    assert bars is not None
    assert sum(bars.reference) == pytest.approx(1)
    assert sum(bars.current) == pytest.approx(1)
    edges = [float(name.split(" to ")[0]) for name in bars.names[1:]]
    exact = np.histogram(a, [-np.inf, *edges, np.inf])[0] / len(a)
    assert np.abs(exact - bars.reference).max() < 0.02


def test_categories_have_a_bar_each_and_one_for_the_rest() -> None:
    bars = picture(np.array(["a"] * 50 + ["b"] * 50), np.array(["b"] * 9 + ["new"]))
    assert bars is not None
    assert dict(zip(bars.names, zip(bars.reference, bars.current, strict=True), strict=True)) == {
        "a": (0.5, 0.0), "b": (0.5, 0.9), "new": (0.0, 0.1),
    }  # fmt: skip
    many = picture(np.arange(100).astype(str), np.arange(100).astype(str))
    assert many is not None
    assert many.names[-1] == "other"
    assert many.reference[-1] == pytest.approx(0.92)


@pytest.mark.parametrize(
    ("a", "b"),
    [([5.0], [5.0]), ([np.nan, 1.0], [np.nan]), ([0.0, 1e300], [-1e300, 0.0]), ([1.0, 2.0], [])],
    ids=["constant", "all missing", "huge", "empty"],
)
def test_odd_columns_have_a_picture_too(a: list[float], b: list[float]) -> None:
    bars = picture(np.array(a, float), np.array(b, float))
    assert bars is not None
    assert all(math.isfinite(value) for value in (*bars.reference, *bars.current))
    assert bars_svg(bars).startswith("<svg")
    assert "→" in bars_text(bars)


def test_nothing_on_both_sides_has_none() -> None:
    assert picture(np.array([np.nan]), np.array([], float)) is None
    assert bars_of("time", {"n": 1, "missing": 0}, {"n": 1, "missing": 0}) is None


def test_hostile_names_stay_text_in_the_picture() -> None:
    bars = Bars((0.5, 0.5), (1.0, 0.0), ("</title><script>alert(1)</script>", '" onload="x'))
    assert "<script" not in bars_svg(bars)
    assert 'onload="' not in bars_svg(bars)


def test_a_line_breaks_where_there_is_no_value() -> None:
    drawn = line_svg(Line((0.1, math.nan, 0.3, 0.2), (2,), 0.2))
    assert drawn.count("M") == 2
    assert drawn.count("<circle") == 1
    assert line_svg(Line((math.nan,))) == ""
    assert line_text(Line((0.0, math.nan, 1.0))) == "▁ █"
