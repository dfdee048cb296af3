"""The policy: what to do about findings, within the cool-down, the budgets and the promise of each finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from luthier.options import UpdateOptions
from luthier.types import Decision, Finding

__all__ = ["Situation", "decide"]


@dataclass(frozen=True, slots=True)
class Situation:
    """What the policy may know. Times are event times; `labels` are those of answers since the change."""

    findings: Sequence[Finding]
    loud: Sequence[Finding]
    labels: int
    now: datetime
    last_update: datetime | None = None
    updates_in_30_days: int = 0


def decide(situation: Situation, options: UpdateOptions) -> Decision:
    """One decision, with the findings it rests on.

    A page may rest on an e-detector; a retraining, which ends in an automatic promotion, needs evidence whose
    false-alarm probability is bounded for ever (an e-value).
    """
    because = tuple(situation.loud)
    if not because:
        return Decision("none", (), "no alarm stands", situation.now)
    proof = tuple(f for f in because if f.promise.kind == "e-value" and f.check.startswith("risk"))
    if not proof:
        return _without_proof(because, situation, options)
    if situation.labels < options.min_labels:
        missing = options.min_labels - situation.labels
        why = f"the model got worse; {missing} more labels since the change are needed to repair it ({situation.labels} came)"
        return Decision("label", proof, why, situation.now)
    if held := _held_back(situation, options):
        return Decision("alert", proof, held, situation.now)
    if options.mode == "suggest":
        why = f"the model got worse and {situation.labels} labels are there: run `luthier update`, or set update.mode: auto"
        return Decision("alert", proof, why, situation.now)
    why = (
        f"the model got worse ({proof[0].promise}); {situation.labels} labels since the change are enough to repair it"
    )
    return Decision("retrain", proof, why, situation.now)


def _without_proof(because: tuple[Finding, ...], situation: Situation, options: UpdateOptions) -> Decision:
    if any(finding.check.startswith("risk") for finding in because):
        why = "labels say that the model got worse, not yet surely enough for an automatic update: watch on"
        return Decision("alert", because, why, situation.now)
    if situation.labels >= options.min_labels:
        why = f"inputs changed, and {situation.labels} labels since then show no loss beyond the tolerance"
        return Decision("alert", because, why, situation.now)
    why = "inputs changed; whether answers got worse only labels can say: label some of the newest answers"
    return Decision("label", because, why, situation.now)


def _held_back(situation: Situation, options: UpdateOptions) -> str:
    """Why no update may start now; empty when one may."""
    if situation.updates_in_30_days >= options.max_updates:
        return f"{situation.updates_in_30_days} updates in 30 days: update.max_updates is spent, a person should look"
    if situation.last_update is not None:
        free = situation.last_update + timedelta(hours=options.cooldown_hours)
        if situation.now < free:
            return f"cooling down after the last update until {free:%Y-%m-%d %H:%M} UTC"
    return ""
