"""What the demo claims came of it, and whether each claim holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np

from luthier.demo.traffic import Traffic
from luthier.types import Estimate, Record

__all__ = ["claim", "tell"]


def claim(claim: str, holds: bool, numbers: str) -> dict[str, Any]:
    """One claim, whether it holds, and the numbers that show it."""
    return {"claim": claim, "holds": bool(holds), "numbers": numbers}


def tell(
    project: Any, calm: int, traffic: Traffic, shift: datetime, unseen: Sequence[Record]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the report tells beside the project's own story, and the claims; `calm` tweets came before the shift.

    Both versions are measured on the test split and on `unseen` film reviews.
    """
    first, last = project.versions()[0], project.champion()
    task = project.task()
    held = {"tweets": project.test_records(), "films": unseen}
    columns = {
        (domain, made.number): project.columns(made.number, records)
        for domain, records in held.items()
        for made in {first.number: first, last.number: last}.values()
    }
    slices, gains = [], {}
    for domain in held:
        before, after = columns[domain, first.number], columns[domain, last.number]
        gains[domain] = _paired(before["loss"], after["loss"])
        slices.append(
            {"slice": domain, "before": _accuracy(task, before), "after": _accuracy(task, after),
             "margin": project.config.gate.margin if domain == "tweets" else None}
        )  # fmt: skip
    claims = _claims(project, calm, traffic, shift, gains)
    event = {
        "at": shift.isoformat(),
        "kind": "shift",
        "title": "traffic shifts to film reviews",
        "why": "what the demo did",
    }
    told = project.story()
    return {"slices": slices, "claims": claims, "events": [*told["events"], event]}, claims


def _claims(
    project: Any, calm: int, traffic: Traffic, shift: datetime, gains: dict[str, Estimate]
) -> list[dict[str, Any]]:
    decisions = list(project.store.scan("decision"))
    early = [row for row in decisions if row.at < shift and row.body["action"] != "none"]
    found = [row for row in decisions if row.at >= shift and any("risk" in check for check in row.body["checks"])]
    promoted = [row for row in decisions if row.body["action"] == "promote"]
    tweets, films = gains["tweets"], gains["films"]
    margin = project.config.gate.margin
    answers = project.store.count("answer")
    hours = (found[0].at - shift).total_seconds() / 3600 if found else math.nan
    return [
        claim("version 1 met its requirements before it served", True, project.versions()[0].about["gate"]["why"]),
        claim("no alarm while only tweets came", not early, f"{calm} tweets, {len(early)} alarms"),
        claim(
            "the loss was detected by labels",
            bool(found),
            f"{hours:.1f} h of event time after the shift" if found else "not found",
        ),
        claim(
            "the repair passed its gate and was promoted",
            bool(promoted),
            promoted[0].body["why"] if promoted else "no promotion",
        ),
        claim("film reviews: accuracy rose by more than its interval", films.low > 0, _points(films)),
        claim(
            f"tweets: accuracy did not fall by more than {100 * margin:.0f} points",
            tweets.low > -margin,
            _points(tweets),
        ),
        claim(
            "no request failed or was dropped", not traffic.failed, f"{traffic.sent} sent, {len(traffic.failed)} failed"
        ),
        claim("every answer was recorded once", answers == traffic.sent, f"{answers} recorded of {traffic.sent}"),
        claim(
            "the server swapped versions while answering",
            len(traffic.models) > 1,
            f"versions {', '.join(sorted(traffic.models))}",
        ),
    ]


def _paired(before: np.ndarray, after: np.ndarray) -> Estimate:
    """The gain in accuracy on the same records with its 95 % interval (normal, paired differences)."""
    gain = np.asarray(before) - np.asarray(after)
    half = 1.96 * float(gain.std(ddof=1)) / math.sqrt(len(gain))
    return Estimate(float(gain.mean()), len(gain), float(gain.mean()) - half, float(gain.mean()) + half)


def _points(gain: Estimate) -> str:
    return f"{100 * gain.value:+.1f} points ({100 * gain.low:+.1f} to {100 * gain.high:+.1f}, n {gain.n})"


def _accuracy(task: Any, columns: Any) -> dict[str, float]:
    return asdict(task.estimates(columns)["accuracy"])
