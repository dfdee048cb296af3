"""What happened, read from the rows of the store: the story that report, figures, dashboard and terminal draw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from luthier.evidence.estimates import share
from luthier.names import get
from luthier.options import MonitorOptions
from luthier.stores.base import Row, Store
from luthier.types import Columns, Estimate, utc_now

__all__ = ["estimator", "tell"]

_MOST = 200_000  # newest answers that a story looks at
_POINTS = 400  # points of one evidence curve
_TITLES = {
    "retrain": ("update", "update begun"),
    "label": ("label", "labels asked for"),
    "alert": ("alert", "a person is asked to look"),
    "promote": ("promote", "{model} promoted"),
    "reject": ("reject", "{model} rejected"),
}
"""Action to the kind and title of its event."""

Targets = Callable[[Sequence[str]], Mapping[str, Any]]
Estimator = Callable[[Sequence[Row]], tuple[Estimate, bool, str]]


def tell(
    store: Store, *, project: str, width_minutes: float, targets: Targets, estimator: Callable[[str], Estimator | None]
) -> dict[str, Any]:
    """The story of one store; see `luthier.story` for its parts.

    `targets(ids)` gives the final target of each labelled answer, `estimator(version)` a label-free estimate.
    """
    decisions = [{"at": row.at.isoformat(), **row.body} for row in store.scan("decision")]
    return {
        "project": project,
        "created": utc_now().isoformat(),
        "timeline": _timeline(store, width_minutes * 60, targets, estimator),
        "evidence": _evidence(store),
        "events": _events(store, decisions),
        "slices": [],
        "labels": _labels(store),
        "decisions": decisions,
        "versions": [_version(row) for row in store.scan("version")],
        "fit": [dict(row.body) for row in store.scan("run")],
    }


def estimator(task: Any, reference: Columns, options: MonitorOptions) -> Estimator:
    """Accuracy of a window of answers without labels, by `label_free.v1`: (Estimate, valid, why)."""
    kind = get("check", "label_free.v1")
    names = {field.name for field in fields(kind)} if is_dataclass(kind) else set()
    check = kind(**{f.name: getattr(options, f.name) for f in fields(options) if f.name in names})
    start = check.start(reference)

    def estimate(rows: Sequence[Row]) -> tuple[Estimate, bool, str]:
        columns: dict[str, Any] = {
            name: np.array([row.numbers.get(name, np.nan) for row in rows])
            for name in ("confidence", "margin", "entropy", "length")
        }
        if all(row.blob for row in rows):
            columns["embedding"] = np.stack([np.frombuffer(row.blob, np.float16) for row in rows]).astype(np.float32)
        reading = check.read(check.step(start, columns)[0])
        return reading.estimate, reading.valid, reading.why

    return estimate


def _timeline(
    store: Store, width: float, targets: Targets, estimator: Callable[[str], Estimator | None]
) -> list[dict[str, Any]]:
    rows: dict[tuple[float, str], list[Row]] = defaultdict(list)
    for row in store.scan("answer", newest_first=True, limit=_MOST):
        rows[row.at.timestamp() // width * width, row.body.get("model", "")].append(row)
    estimators = {model: estimator(model) for model in {model for _, model in rows}}
    timeline = []
    for (start, model), bucket in sorted(rows.items()):
        labels = targets([row.id for row in bucket])
        right = [_said(row) == labels[row.id] for row in bucket if row.id in labels]
        point: dict[str, Any] = {
            "at": datetime.fromtimestamp(start, UTC).isoformat(), "model": model, "n": len(bucket), "true": None, "estimated": None,
        }  # fmt: skip
        if right:
            point["true"] = asdict(share(sum(right), len(right), 0.95))
        if estimate := estimators.get(model):
            guess, valid, why = estimate(bucket)
            point["estimated"] = asdict(guess) | {"valid": valid, "why": why}
        timeline.append(point)
    return timeline


def _said(row: Row) -> Any:
    output = row.body.get("output")
    return output.get("label") if isinstance(output, Mapping) else output


def _evidence(store: Store) -> list[dict[str, Any]]:
    curves: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    promises: dict[tuple[str, str, str], Any] = {}
    for row in store.scan("finding"):
        key = (row.body["check"], row.body["subject"], row.body["slice"])
        promises[key] = row.body["promise"]
        curves[key].append({name: row.body[name] for name in ("at", "n", "value", "limit", "evidence", "alarm")})
    return [
        {"check": check, "subject": subject, "slice": slice_, "promise": promises[check, subject, slice_], "points": points[-_POINTS:]}
        for (check, subject, slice_), points in curves.items()
    ]  # fmt: skip


def _events(store: Store, decisions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    events = []
    first = next(iter(store.scan("answer", limit=1)), None)
    if first:
        events.append(
            {"at": first.at.isoformat(), "kind": "start", "title": "first answer", "why": first.body.get("model", "")}
        )
    found: set[str] = set()
    for decision in decisions:
        kind, title = _TITLES.get(decision["action"], (decision["action"], f"{decision['model']} {decision['action']}"))
        if any(check.startswith("risk") for check in decision["checks"]) and decision["model"] not in found:
            found.add(decision["model"])
            events.append(
                {
                    "at": decision["at"],
                    "kind": "detect",
                    "title": "degradation detected",
                    "why": next(one["why"] for one in decision["because"] if one["check"].startswith("risk")),
                }
            )
        if kind != "none":
            events.append(
                {"at": decision["at"], "kind": kind, "title": title.format(**decision), "why": decision["why"]}
            )
    for row in store.scan("promotion"):
        if row.body["action"] == "rollback":
            why = row.body["why"]
            events.append(
                {"at": row.at.isoformat(), "kind": "rollback", "title": f"back to v{row.body['number']}", "why": why}
            )
    return events + _calls(store)


def _calls(store: Store) -> list[dict[str, Any]]:
    """When somebody was called, and when it was over."""
    said = {
        "open": ("page", "page {page}: {check}"),
        "close": ("close", "page {page} closed"),
        "ack": ("ack", "page {page} seen"),
    }
    return [
        {"at": row.at.isoformat(), "kind": kind, "title": title.format(check=row.body.get("check", ""), page=row.body["page"]), "why": row.body["why"]}
        for row in store.scan("page")
        for kind, title in [said.get(row.body["action"], ("", ""))]
        if kind
    ]  # fmt: skip


def _labels(store: Store) -> dict[str, Any]:
    used: dict[str, int] = {}
    for row in store.scan("version"):
        spent = row.body["about"].get("update")
        if spent:
            used[f"training v{row.body['number']}"] = len(spent["fresh"])
            used[f"gate of v{row.body['number']}"] = len(spent["holdout"])
    return {"received": store.count("label"), "asked": store.count("request"), "used": used}


def _version(row: Row) -> dict[str, Any]:
    about = row.body["about"]
    return {
        "number": row.body["number"], "digest": row.body["digest"], "created": row.at.isoformat(),
        "parent": row.body["parent"], "recipe": about.get("recipe"), "metrics": about.get("metrics", {}),
        "gate": about.get("gate", {}).get("findings", []),
    }  # fmt: skip
