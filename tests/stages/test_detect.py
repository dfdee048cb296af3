"""Which alarms page among many looks, and when the change was."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from luthier import Fleet, Monitor
from luthier.stages.detect import change_point, page
from luthier.types import Finding, Promise

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def finding(evidence: float, *, alarm: bool = True, kind: str = "e-value", n: int = 100) -> Finding:
    return Finding("risk.v1", 0.2, 0.1, evidence, Promise(kind, 0.05), alarm, n, "why")  # type: ignore[arg-type]


def test_one_strong_alarm_among_many_quiet_looks_pages() -> None:
    quiet = [finding(0.5, alarm=False) for _ in range(20)]
    paged = page([*quiet, finding(1e6)])
    assert [one.evidence for one in paged.loud] == [1e6]
    assert paged.quiet == ()


def test_a_weak_alarm_among_many_looks_stays_quiet_but_visible() -> None:
    paged = page([finding(21.0), *[finding(0.1, alarm=False) for _ in range(99)]], alpha=0.05)
    assert paged.loud == ()
    assert len(paged.quiet) == 1


def test_an_e_detector_counts_by_its_statistic_over_its_age() -> None:
    young, old = finding(1e5, kind="e-detector", n=500), finding(1e5, kind="e-detector", n=50_000)
    assert len(page([young]).loud) == 1
    assert page([old]).loud == ()


def test_e_bh_keeps_the_false_discovery_rate() -> None:
    rng = np.random.default_rng(0)
    lies = 0
    for _ in range(400):
        evidence = np.exp(rng.normal(size=50) * 3 - 4.5)  # e-values of expectation 1
        lies += bool(page([finding(float(one)) for one in evidence], alpha=0.05).loud)
    assert lies <= 32  # 400 at 5 %: binomial upper bound at 99 %


def of_columns(shares: dict[str, float], evidence: float | None = None) -> Finding:
    parts = tuple(sorted(shares.items(), key=lambda one: -one[1]))
    return replace(finding(sum(shares.values()) if evidence is None else evidence), parts=parts)


def test_a_page_names_the_columns_that_page() -> None:
    quiet = [finding(0.5, alarm=False) for _ in range(20)]
    paged = page([*quiet, of_columns({"age": 1e6, "spend": 1e5, "plan": 30.0})])
    assert [one.parts for one in paged.loud] == [(("age", 1e6), ("spend", 1e5))]
    assert paged.loud[0].why == "why; columns that page: age, spend"
    assert page([*quiet, replace(finding(1e6), parts=())]).loud[0].parts == ()
    assert page([*quiet, of_columns({"age": 30.0}, evidence=1e6)]).loud[0].why.endswith("pages alone")


def test_a_column_below_the_budget_of_its_check_is_not_named() -> None:
    paged = page([of_columns({"age": 1e6, "plan": 1e4})], needed=[1e5])
    assert [name for name, _ in paged.loud[0].parts or ()] == ["age"]
    assert page([of_columns({"age": 1e4})], needed=[1e5]).loud == ()


def test_a_quiet_check_of_many_columns_makes_no_other_check_deaf() -> None:
    loud = finding(45.0)
    assert page([loud, finding(1.0, alarm=False)]).loud == (loud,)
    watched = replace(finding(1.0, alarm=False), parts=())
    assert page([finding(65.0), watched]).loud, "a table counts as two looks, however many columns it has"
    assert page([finding(55.0), watched]).loud == ()


def test_columns_keep_the_false_discovery_rate_with_their_checks() -> None:
    """20 models, 30 columns each, unchanged but for one column in four of the models."""
    rng, columns, wrong = np.random.default_rng(4), 30, []
    for _ in range(300):
        found = []
        for model in range(20):
            e = np.exp(rng.normal(size=columns) * 3 - 4.5)  # mean 1
            if model < 4:
                e[0] = 1e9
            found.append(replace(of_columns({f"{j}": float(e[j]) / columns for j in range(columns)}), slice=str(model)))
        named = [(one.slice, name) for one in page(found).loud for name, _ in one.parts or ()]
        false = sum(name != "0" or int(model) >= 4 for model, name in named)
        wrong.append(false / max(len(named), 1))
        assert sum(name == "0" and int(model) < 4 for model, name in named) == 4
    assert 0 < np.mean(wrong) <= 0.05


def test_a_fleet_names_the_columns_that_moved() -> None:
    rng = np.random.default_rng(8)

    def rows(n: int, moved: float = 0.0) -> dict[str, np.ndarray]:
        found = {f"x{i}": rng.normal(size=n) for i in range(6)}
        return found | {"x1": found["x1"] + moved, "x4": found["x4"] * (1 + moved)}

    fleet = Fleet({name: Monitor(rows(2000), checks=("column_shift.v1", "quality.v2")) for name in ("good", "bad")})
    for day in range(10):
        for name, monitor in fleet.items():
            monitor.observe("answer", rows(500, 1.5 * (name == "bad" and day >= 4)), at=NOON + timedelta(days=day))
    paged = fleet.page(NOON + timedelta(days=10))
    named = {(one.subject, one.check): {part for part, _ in one.parts or ()} for one in paged.loud}
    assert named == {("bad", "column_shift.v1"): {"x1", "x4"}, ("bad", "quality.v2"): {"x1", "x4"}}
    assert "columns that page: x" in paged.calling[0].why
    again = Fleet({name: Monitor(rows(2000), checks=("column_shift.v1", "quality.v2")) for name in ("good", "bad")})
    again.restore(fleet.save())
    assert {one.parts for one in again.page(NOON + timedelta(days=10)).loud} == {one.parts for one in paged.loud}


def test_the_change_is_found_where_it_was() -> None:
    rng = np.random.default_rng(1)
    losses = np.concatenate([rng.random(400) < 0.05, rng.random(200) < 0.3]).astype(float)
    assert abs(change_point(losses) - 400) < 25


def test_without_a_rise_there_is_no_change() -> None:
    assert change_point(np.zeros(50)) == 0
    assert change_point(np.array([1.0, 1.0, 0.0, 0.0])) == 0
    assert change_point(np.zeros(1)) == 0


def test_a_steady_error_rate_has_no_change() -> None:
    rng = np.random.default_rng(2)
    found = [change_point((rng.random(n) < 0.4).astype(float)) for n in (50, 300, 3000) for _ in range(100)]
    assert sum(cut > 0 for cut in found) <= 9  # of 300; without a rule every stream had one
