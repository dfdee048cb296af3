"""The policy: every rule of docs/loop.md, in its order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from luthier.options import UpdateOptions
from luthier.stages.decide import Situation, decide
from luthier.types import Finding, Promise

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DETECTOR = Finding("risk.v1", 0.2, 0.1, 1e6, Promise("e-detector", 1e5), True, 900, "worse")
PROOF = Finding("risk_lifetime.v1", 0.2, 0.1, 1e6, Promise("e-value", 0.01), True, 900, "worse")
SHIFT = Finding("embedding_shift.v1", 2.0, 1.0, 1e6, Promise("e-detector", 1e5), True, 900, "moved")
AUTO = UpdateOptions(mode="auto", min_labels=200, cooldown_hours=24, max_updates=4)


def situation(*loud: Finding, labels: int = 500) -> Situation:
    return Situation(loud, loud, labels, NOW)


@pytest.mark.parametrize(
    ("now", "options", "action", "said"),
    [
        (situation(), AUTO, "none", "no alarm"),
        (situation(PROOF), AUTO, "retrain", "enough to repair"),
        (situation(DETECTOR), AUTO, "alert", "not yet surely enough"),
        (situation(SHIFT, labels=3), AUTO, "label", "only labels can say"),
        (situation(SHIFT), AUTO, "alert", "no loss beyond"),
        (situation(PROOF, labels=50), AUTO, "label", "150 more labels"),
        (situation(PROOF), replace(AUTO, mode="suggest"), "alert", "luthier update"),
        (replace(situation(PROOF), last_update=NOW - timedelta(hours=3)), AUTO, "alert", "cooling down"),
        (replace(situation(PROOF), last_update=NOW - timedelta(hours=25)), AUTO, "retrain", "enough"),
        (replace(situation(PROOF), updates_in_30_days=4), AUTO, "alert", "max_updates"),
    ],
)
def test_rules(now: Situation, options: UpdateOptions, action: str, said: str) -> None:
    decision = decide(now, options)
    assert (decision.action, said in decision.why) == (action, True), decision.why
    assert bool(decision.because) == (action != "none")


def test_an_automatic_update_never_rests_on_an_e_detector() -> None:
    assert decide(situation(DETECTOR, SHIFT), AUTO).action != "retrain"
