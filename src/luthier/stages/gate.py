"""May a candidate take over? Requirements on their own, and the champion on the same records.

A gate is a list of findings. The `evidence` of each speaks for what must hold, so that

    pass           evidence >= 1/level of its promise (promise "none": no alarm)
    fail           alarm: the opposite is shown
    inconclusive   neither; more labels would tell

and the whole passes when every finding that counts does. Each may be wrong with the probability of its own promise;
since all must pass, the whole promotes wrongly with no higher one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from luthier.checks.at_least import AtLeast
from luthier.checks.paired import Better, Flips, NotWorse
from luthier.errors import StateError, UsageError
from luthier.evidence import LARGEST, e_bh, mixed
from luthier.options import GateOptions, Requirement
from luthier.types import Columns, Estimate, Finding, Promise

__all__ = ["Verdict", "gate", "outcome"]

Outcome = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's answer. `more_labels`: how many would probably settle an inconclusive one; 0 where labels do not help.

    `findings` have subject "candidate" or a metric's name, and slice "test" (first version), "retained" (what the
    champion was good at), "fresh" (the new domain) or a slice's name.
    """

    outcome: Outcome
    findings: tuple[Finding, ...]
    more_labels: int
    why: str


class _Judged(NamedTuple):
    finding: Finding
    more: int = 0
    counts: bool = True


def outcome(finding: Finding) -> Outcome:
    """What one finding of a gate says."""
    if finding.promise.kind == "none":
        return "inconclusive" if math.isnan(finding.value) else "fail" if finding.alarm else "pass"
    if finding.evidence * finding.promise.level >= 1:
        return "pass"
    return "fail" if finding.alarm else "inconclusive"


def gate(
    candidate: Columns, champion: Columns | None = None, *, require: Mapping[str, Requirement],
    options: GateOptions | None = None, estimates: Mapping[str, Estimate] | None = None, labels: Sequence[str] = (),
    fresh: tuple[Columns, Columns] | None = None, slices: Mapping[str, Any] | None = None,
) -> Verdict:  # fmt: skip
    """The verdict on a candidate from its columns (n rows) on held-out records.

    Without a `champion`: the requirements. With its columns on the same records ("retained"): not worse by
    `options.margin`, at most `options.max_flips` negative flips, and every requirement that the champion itself
    meets. `fresh`: columns of candidate and champion on new-domain labels, where the candidate must be better.
    `slices` (name to mask (n,)): no slice may be shown to have become worse (e-BH over slices). `estimates` of the
    candidate serve requirements that columns cannot answer, such as latency_ms; `labels` names the classes.

    Raises StateError when paired columns differ in length or a loss lies outside [0, 1].
    """
    options = options or GateOptions()
    where = "retained" if champion is not None else "test"
    judged = [
        _requirement(name, rule, candidate, champion, estimates or {}, tuple(labels), where)
        for name, rule in require.items()
    ]
    if champion is not None:
        pair = _paired(candidate, champion, "retained")
        judged += [
            _step(NotWorse(options.margin, options.alpha), pair, "retained"),
            _step(Flips(options.max_flips, options.alpha), pair, "retained"),
            *_slices(pair, options, slices or {}),
        ]
    if fresh is not None:
        judged.append(_step(Better(options.alpha), _paired(*fresh, "fresh"), "fresh"))
    return _verdict(judged)


def _verdict(judged: Sequence[_Judged]) -> Verdict:
    findings = tuple(one.finding for one in judged)
    counted = [(outcome(one.finding), one) for one in judged if one.counts]
    if not counted:
        return Verdict("pass", findings, 0, "nothing is required, so nothing was shown")
    said = "; ".join(_named(one.finding) for _, one in counted)
    for verdict in ("fail", "inconclusive"):
        unmet = [one for found, one in counted if found == verdict]
        if unmet:
            more = max(one.more for one in unmet) if verdict == "inconclusive" else 0
            said = "; ".join(_named(one.finding) for one in unmet)
            said += f". About {more} more labels would probably tell" if more else ""
            return Verdict(verdict, findings, more, said)  # type: ignore[arg-type]
    return Verdict("pass", findings, 0, said)


def _named(finding: Finding) -> str:
    return f"{finding.slice}: {finding.why}" if finding.slice else finding.why


def _step(check: Any, window: Columns, where: str, subject: str = "candidate") -> _Judged:
    memory, finding = check.step(check.start({}), window)
    more = check.more(memory) if outcome(finding) == "inconclusive" else 0
    return _Judged(replace(finding, subject=subject, slice=where), more)


def _requirement(
    name: str, rule: Requirement, candidate: Columns, champion: Columns | None,
    estimates: Mapping[str, Estimate], labels: tuple[str, ...], where: str,
) -> _Judged:  # fmt: skip
    check = _at_least(name, rule, labels)
    if check is None:
        return _Judged(replace(_from_estimate(name, rule, estimates.get(name, Estimate())), subject=name, slice=where))
    judged = _step(check, candidate, where, name)
    if champion is None or outcome(judged.finding) == "pass":
        return judged
    if outcome(_step(check, champion, where, name).finding) == "pass":
        return judged
    why = f"{judged.finding.why}; the champion does not meet it either, so it does not count"
    return _Judged(replace(judged.finding, why=why), judged.more, counts=False)


def _at_least(name: str, rule: Requirement, labels: tuple[str, ...]) -> AtLeast | None:
    """The sequential check of a requirement; None where columns cannot answer it."""
    if rule.at_least is None or not 0 < rule.at_least < 1:
        return None
    try:
        return AtLeast(name, rule.at_least, rule.confidence, labels)
    except UsageError:
        return None


def _from_estimate(name: str, rule: Requirement, estimate: Estimate) -> Finding:
    """A requirement held against a measured bound, or against the plain number where it has none (latency)."""
    least = rule.at_least is not None
    limit = float(rule.at_least if rule.at_least is not None else rule.at_most or 0.0)
    sign = 1 if least else -1
    plain = name.startswith("latency") or math.isnan(estimate.low) or math.isnan(estimate.high)
    near, beyond = (estimate.low, estimate.high) if least else (estimate.high, estimate.low)
    near, beyond = (estimate.value, estimate.value) if plain else (near, beyond)
    rule_text = f"required at {'least' if least else 'most'} {limit:g}"
    promise = Promise("none") if plain else Promise("fixed", round(1 - rule.confidence, 12))
    shown, alarm = sign * (near - limit) >= 0, sign * (beyond - limit) < 0
    if math.isnan(estimate.value):
        shown, why = False, f"{name} was not measured ({rule_text}): nothing in the estimates answers it"
    else:
        bounds = "" if plain else f" ({estimate.low:.4g} to {estimate.high:.4g})"
        verdict = "met" if shown else "not met" if alarm else "not shown"
        why = f"{name} {estimate.value:.4g}{bounds} on {estimate.n} records: {verdict} ({rule_text})"
    evidence = 1.0
    if shown:
        evidence = LARGEST if plain else (1 + 1e-9) / promise.level
    return Finding(
        "at_least.v1" if least else "at_most.v1", estimate.value, limit, evidence, promise, alarm, estimate.n, why
    )


def _paired(candidate: Columns, champion: Columns, where: str) -> dict[str, Any]:
    ours, theirs = np.asarray(candidate["loss"]), np.asarray(champion["loss"])
    if len(ours) != len(theirs):
        raise StateError(
            f"{where}: the candidate has {len(ours)} rows and the champion {len(theirs)}; a gate compares them on the "
            f"same records. Evaluate both on one list of records"
        )
    pair = {"loss": ours, "champion_loss": theirs}
    if "predicted" in candidate and "predicted" in champion:
        pair |= {"predicted": candidate["predicted"], "champion_predicted": champion["predicted"]}
    return pair


def _slices(pair: Columns, options: GateOptions, slices: Mapping[str, Any]) -> list[_Judged]:
    """One finding a slice; only a harm that survives e-BH over all slices counts, against the candidate."""
    check, findings, harms = NotWorse(options.margin, options.alpha), [], []
    for name, mask in slices.items():
        chosen = np.asarray(mask, bool)
        memory, finding = check.step(check.start({}), {key: np.asarray(values)[chosen] for key, values in pair.items()})
        findings.append(replace(finding, subject="candidate", slice=name))
        harms.append(mixed(memory["harm"]))
    harmed = set(e_bh(harms, options.alpha))
    return [
        _Judged(replace(finding, alarm=outcome(finding) != "pass" and index in harmed), counts=index in harmed)
        for index, finding in enumerate(findings)
    ]
