"""Columns of vectors: exact evidence at any size and width, the same from parts, and words that say what was seen."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from luthier import codec
from luthier.errors import StateError
from luthier.stages.drift import Summary, drift, summarise
from luthier.tables.vectors import FEWEST, Vectors, basis_of, compared


def heavy(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Correlated and heavy-tailed, from a mixture."""
    mixing = np.random.default_rng(d).standard_normal((d, d))
    return (rng.standard_t(3, (n, d)) @ mixing + 4 * mixing[rng.integers(0, min(d, 3), n)]).astype(np.float32)


def atoms(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Few different rows, as of the same short texts; some dimensions never vary."""
    return np.random.default_rng(d).integers(0, 2, (6, d)).astype(np.float32)[rng.integers(0, 6, n)] + np.float32(0.1)


@pytest.mark.parametrize("draw", [heavy, atoms])
@pytest.mark.parametrize(
    ("n", "size", "d"), [(100, 100, 3), (100, 1000, 40), (1000, 150, 200), (2, 300, 5), (400, 400, 1)]
)
def test_on_unchanged_vectors_the_mean_e_value_is_at_most_one(draw, n: int, size: int, d: int) -> None:  # type: ignore[no-untyped-def]
    runs = 16 if d > 100 else 60
    e = []
    for seed in range(runs):
        rng = np.random.default_rng([seed, n])
        e.append(drift({"v": draw(rng, size, d)}, {"v": draw(rng, n, d)}).findings[0].evidence)
    found = np.array(e)
    assert (found >= 20).mean() <= 0.05
    assert found.mean() <= 1 + 3 * found.std() / math.sqrt(runs)


def test_equal_rows_score_the_same_in_any_company() -> None:
    """Else copies of one row would be told apart by the rounding of the sample they are in."""
    rng = np.random.default_rng(0)
    x = heavy(rng, 700, 64)
    known = basis_of(Vectors().observe(x))
    other = {**Vectors().observe(x[:37]), "rows": [np.repeat(x[:1], 3, axis=0), np.repeat(x[:1], 500, axis=0)]}
    held = known | {"held": np.repeat(known["held"][:1], 400, axis=0), "sizes": np.repeat(known["sizes"][:1], 400)}
    place = int(np.flatnonzero((x == Vectors().observe(x)["rows"][1][0]).all(axis=1))[0])
    other["rows"] = [np.repeat(x[place : place + 1], n, axis=0) for n in (3, 500)]
    log_e, found = compared(held, other)
    assert log_e <= 1e-9
    assert found["jensen_shannon"] == 0


@pytest.mark.parametrize("change", ["mean", "one component", "spread", "new lump"])
def test_a_change_is_found(change: str) -> None:
    rng = np.random.default_rng(1)
    reference, x = rng.standard_normal((2000, 64)), rng.standard_normal((600, 64))
    if change == "mean":
        x += 0.15
    elif change == "one component":
        x[:, 7] += 0.5
    elif change == "spread":
        x *= 1.1
    else:
        x[:60] += 1.5
    result = drift({"v": reference, "calm": np.arange(2000) % 7}, {"v": x, "calm": np.arange(600) % 7})
    assert result.drifted == ("v",)
    assert result.finding("v").why.startswith("v: vectors of 64: ")
    assert {"jensen_shannon", "auc", "spread"} <= result.distances["v"].keys()
    assert drift({"v": reference}, {"v": x}, relevant=0.99).drifted == ()


def test_parts_restarts_and_a_kept_reference_give_the_same_result(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    reference, current = {"v": heavy(rng, 12_000, 8)}, {"v": heavy(rng, 900, 8) + 1}
    whole = drift(reference, current)
    parts = summarise({"v": reference["v"][low : low + 1700]} for low in range(0, 12_000, 1700))
    assert codec.pack(parts.columns["v"]["state"]) == codec.pack(summarise(reference).columns["v"]["state"])
    assert len(parts.columns["v"]["state"]["rows"][0]) == 4096
    parts.save(tmp_path / "kept")
    kept = Summary.load(tmp_path / "kept")
    assert drift(kept, ({"v": current["v"][low : low + 250]} for low in range(0, 900, 250))) == whole
    assert drift(parts.merge(Summary()), current) == whole


def test_what_is_kept_does_not_depend_on_what_the_rows_hold() -> None:
    rng = np.random.default_rng(3)
    one, two = Vectors().observe(heavy(rng, 9000, 2)), Vectors().observe(heavy(rng, 9000, 2))
    assert codec.pack(one["keys"]) == codec.pack(two["keys"])
    merged = Vectors().merge(one, Vectors().observe(heavy(rng, 100, 2), 9000))
    assert merged["n"] == 9100
    assert codec.pack(Vectors().merge(one, Vectors().observe({}))) == codec.pack(one)
    assert codec.pack(Vectors().merge(Vectors().observe({}), one)) == codec.pack(one)


def test_missing_rows_count_and_other_widths_are_a_change_of_the_schema() -> None:
    rng = np.random.default_rng(4)
    good, holed = rng.standard_normal((500, 6)), rng.standard_normal((500, 6)).astype(np.float16)
    holed[::2, 3] = np.nan
    holed[1::8, 0] = np.inf
    found = drift({"v": good}, {"v": holed}).findings[0]
    assert found.alarm
    assert "missing 0.00% → 62.60% of rows" in found.why
    gone = drift({"v": good}, {"v": np.full((50, 6), np.nan)}).findings[0]
    assert gone.alarm
    assert "500 vectors of the reference and 0 of current: not enough to compare" in gone.why
    wider = drift({"v": good}, {"v": rng.standard_normal((50, 7))}).findings[0]
    assert wider.alarm
    assert wider.promise.kind == "none"
    assert "vectors of 6 in 500 rows of the reference, vectors of 7 in 50 rows of current" in wider.why
    with pytest.raises(StateError, match="vectors of 6 in one part and of 7 in another"):
        summarise(iter([{"v": good}, {"v": rng.standard_normal((50, 7))}]))
    assert drift({"v": good}, {"v": good[:, 0]}).findings[0].promise.kind == "none"


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_rows_are_no_evidence(n: int) -> None:
    rng = np.random.default_rng(5)
    good = rng.standard_normal((300, 4))
    finding = drift({"v": good}, {"v": good[:n] + 9}).findings[0]
    assert not finding.alarm
    assert math.isfinite(finding.evidence)
    few = drift({"v": good[:FEWEST]}, {"v": good + 9}).findings[0]
    assert few.evidence == 1.0
    assert "not enough to compare" in few.why


def test_constant_and_huge_components_and_very_wide_vectors() -> None:
    rng = np.random.default_rng(6)
    good = rng.standard_normal((400, 5))
    good[:, 2] = 3
    moved = good.copy()
    moved[:, 2] = 3.5
    assert not drift({"v": good}, {"v": good[::-1]}).drifted
    assert drift({"v": good}, {"v": moved}).drifted == ("v",)
    assert not drift({"v": np.ones((300, 4))}, {"v": np.ones((300, 4))}).drifted
    assert drift({"v": np.ones((300, 4))}, {"v": np.full((300, 4), 2.0)}).drifted == ("v",)
    assert drift({"v": good}, {"v": good * 1e30}).drifted == ("v",)
    assert math.isfinite(drift({"v": good * 1e37}, {"v": good}).findings[0].evidence)
    wide = rng.standard_normal((300, 1400)).astype(np.float32)
    assert summarise({"v": wide}).columns["v"]["state"]["rows"][0].shape[1] == 1024
    assert drift({"v": wide}, {"v": wide[:100] + 1}).drifted == ("v",)
