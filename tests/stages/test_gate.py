"""The gate: first versions, updates, what counts, and what it says when it cannot tell."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.errors import StateError
from luthier.options import GateOptions, Requirement
from luthier.stages.gate import gate, outcome
from luthier.types import Estimate, Finding, Promise


def answers(n: int, wrong: int, first: int = 0) -> dict[str, np.ndarray]:
    """Columns of n rows of two classes (a quarter class 1), `wrong` rows wrong from row `first` on."""
    target = (np.arange(n) % 4 == 0).astype(np.int64)
    loss = np.zeros(n)
    loss[first : first + wrong] = 1
    return {"loss": loss, "target": target, "predicted": np.where(loss == 1, 1 - target, target)}


def test_a_first_version_is_held_against_its_requirements_only() -> None:
    require = {
        "accuracy": Requirement(at_least=0.9), "f1_smallest": Requirement(at_least=0.8),
        "latency_ms": Requirement(at_most=50),
    }  # fmt: skip
    verdict = gate(answers(1000, 40), require=require, estimates={"latency_ms": Estimate(31.0, 64)})
    assert verdict.outcome == "pass"
    assert [finding.subject for finding in verdict.findings] == ["accuracy", "f1_smallest", "latency_ms"]
    assert {finding.slice for finding in verdict.findings} == {"test"}
    assert verdict.more_labels == 0


def test_what_is_shown_to_be_missed_fails_and_names_it() -> None:
    verdict = gate(answers(1000, 200), require={"accuracy": Requirement(at_least=0.9)})
    assert verdict.outcome == "fail"
    assert "accuracy 0.8000" in verdict.why
    assert "shown to lie below (required 0.9)" in verdict.why
    slow = gate(
        answers(10, 0), require={"latency_ms": Requirement(at_most=5)}, estimates={"latency_ms": Estimate(9.0, 9)}
    )
    assert slow.outcome == "fail"
    assert "latency_ms 9 on 9 records: not met (required at most 5)" in slow.why


def test_too_little_is_inconclusive_and_says_how_many_more_labels() -> None:
    verdict = gate(answers(60, 2), require={"accuracy": Requirement(at_least=0.9)})
    assert verdict.outcome == "inconclusive"
    assert 10 <= verdict.more_labels <= 1000
    assert f"About {verdict.more_labels} more labels" in verdict.why
    enough = 60 + verdict.more_labels + 10
    assert gate(answers(enough, enough // 30), require={"accuracy": Requirement(at_least=0.9)}).outcome == "pass"


def test_a_number_that_nobody_measured_is_not_a_pass() -> None:
    verdict = gate(answers(100, 0), require={"latency_ms": Requirement(at_most=50)})
    assert verdict.outcome == "inconclusive"
    assert "latency_ms was not measured" in verdict.why


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.91, 0.95, "pass"), (0.85, 0.89, "fail"), (0.89, 0.95, "inconclusive")]
)
def test_other_metrics_are_held_by_their_interval(low: float, high: float, expected: str) -> None:
    estimates = {"auroc": Estimate((low + high) / 2, 500, low, high)}
    assert gate(answers(9, 0), require={"auroc": Requirement(at_least=0.9)}, estimates=estimates).outcome == expected


def test_nothing_required_says_so() -> None:
    verdict = gate(answers(10, 5), require={})
    assert (verdict.outcome, verdict.findings) == ("pass", ())
    assert verdict.why == "nothing is required, so nothing was shown"


def test_a_repair_that_helps_and_keeps_passes() -> None:
    old, new = answers(1500, 60), answers(1500, 55)
    fresh = answers(400, 60), answers(400, 120)
    verdict = gate(new, old, require={"accuracy": Requirement(at_least=0.9)}, fresh=fresh)
    assert verdict.outcome == "pass", verdict.why
    assert [(finding.check, finding.slice) for finding in verdict.findings] == [
        ("at_least.v1", "retained"), ("not_worse.v1", "retained"), ("flips.v1", "retained"), ("better.v1", "fresh"),
    ]  # fmt: skip
    assert "fresh: mean loss -0.1500 against the champion on 400 records: proved better" in verdict.why


def test_a_repair_that_forgets_fails_however_much_it_helps() -> None:
    old, new = answers(1500, 60), answers(1500, 220)
    verdict = gate(new, old, require={}, fresh=(answers(400, 60), answers(400, 120)))
    assert verdict.outcome == "fail"
    assert "harm shown" in verdict.why


def test_the_same_accuracy_with_other_mistakes_is_stopped_by_flips() -> None:
    old, new = answers(1500, 200), answers(1500, 200, first=800)
    verdict = gate(new, old, require={}, options=GateOptions(max_flips=0.05))
    assert [outcome(finding) for finding in verdict.findings if finding.check == "flips.v1"] == ["fail"]
    assert verdict.outcome == "fail"


def test_a_repair_that_does_not_help_is_not_promoted() -> None:
    same = answers(1500, 60)
    verdict = gate(same, same, require={}, fresh=(answers(300, 60), answers(300, 62)))
    assert verdict.outcome == "inconclusive"
    assert verdict.more_labels > 0


def test_a_requirement_that_the_champion_misses_does_not_count() -> None:
    require = {"accuracy": Requirement(at_least=0.99)}
    verdict = gate(answers(1500, 55), answers(1500, 60), require=require)
    assert verdict.outcome == "pass"
    assert "the champion does not meet it either" in verdict.findings[0].why
    lost = gate(answers(1500, 20), answers(1500, 1), require=require)
    assert lost.outcome != "pass"


def test_a_slice_that_got_worse_fails_though_the_whole_is_fine() -> None:
    old, new = answers(2000, 100), answers(2000, 100)
    rows = np.arange(2000)
    new["loss"] = np.where(rows < 100, 0.0, (rows >= 1900).astype(float))
    slices = {"old customers": rows < 1900, "new customers": rows >= 1900}
    verdict = gate(new, old, require={}, slices=slices)
    assert verdict.outcome == "fail"
    assert "new customers: mean loss +1.0000" in verdict.why
    assert "old customers" not in verdict.why


def test_columns_of_other_records_are_refused() -> None:
    with pytest.raises(StateError, match=r"retained: the candidate has 10 rows and the champion 9"):
        gate(answers(10, 1), answers(9, 1), require={})


def test_outcome_reads_evidence_against_its_promise() -> None:
    def finding(kind: str, evidence: float, alarm: bool, value: float = 0.5) -> Finding:
        return Finding("x.v1", value, 0.4, evidence, Promise(kind, 0.05), alarm, 10, "because")  # type: ignore[arg-type]

    assert outcome(finding("e-value", 20, False)) == "pass"
    assert outcome(finding("e-value", 19, False)) == "inconclusive"
    assert outcome(finding("fixed", 1, True)) == "fail"
    assert outcome(finding("none", 1, False)) == "pass"
    assert outcome(finding("none", 1, True)) == "fail"
    assert outcome(finding("none", 1, False, np.nan)) == "inconclusive"
