"""What a monitor has learned, as bytes and back; findings and checks by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from luthier import codec
from luthier.errors import StateError, UsageError
from luthier.names import get
from luthier.options import MonitorOptions
from luthier.scoring import Scoring
from luthier.types import Finding, Promise

__all__ = ["WHEN", "about", "made", "packed", "unpacked"]

WHEN = ("answer", "label")
_ELSEWHERE = {
    "pair": "two models' answers to the same records, in a gate (luthier.stages.gate)",
    "curve": "the losses of a training run",
}

_EMPTY = {"waiting": {"ids": [], "columns": {}}, "watched": {}, "unknown_labels": 0, "about": {}}


def made(check: Any, options: MonitorOptions) -> Any:
    """A check by name takes from the options whatever it has a field for; None only where the field allows it.

    Raises UsageError for a check that reads neither answers nor labels.
    """
    if isinstance(check, str):
        kind = get("check", check)
        types = {field.name: str(field.type) for field in fields(kind)} if is_dataclass(kind) else {}
        given = {name: getattr(options, name) for name in types if hasattr(options, name)}
        check = kind(**{name: value for name, value in given.items() if value is not None or "None" in types[name]})
    if check.when not in WHEN:
        raise UsageError(
            f"{check.name} reads {_ELSEWHERE.get(check.when, check.when)}: a monitor cannot run it. Leave it out of `checks`"
        )
    return check


def about(scoring: Scoring, minutes: float) -> dict[str, Any]:
    """What two monitors must have alike for their states to mean the same."""
    labels = None if scoring.labels is None else list(scoring.labels)
    return {"task": scoring.task, "labels": labels, "scale": repr(scoring.scale), "window_minutes": minutes}


def packed(state: Mapping[str, Any]) -> bytes:
    """Version 2: memory and latest by (check, slice), buckets, waiting, watched, unknown_labels, about."""
    memory = [
        [check, name, {key: value for key, value in kept.items() if key != "reference"}]
        for (check, name), kept in sorted(state["memory"].items())
    ]
    latest = [[check, name, _plain(finding)] for (check, name), finding in sorted(state["latest"].items())]
    return codec.pack({"version": 2, **state, "memory": memory, "latest": latest})


def bytes_of(part: Any) -> bytes:
    """The saved bytes of a monitor, or what was saved. Raises StateError for anything else."""
    if isinstance(part, bytes | bytearray | memoryview):
        return bytes(part)
    if not callable(getattr(part, "save", None)):
        raise StateError(f"a {type(part).__name__} is no monitor: give monitors, or the bytes that their `save` gave")
    saved: bytes = part.save()
    return saved


def unpacked(saved: bytes, mine: Mapping[str, Any]) -> dict[str, Any]:
    """What `packed` was given; version 1 had no slices in its buckets, and knew no task.

    Raises StateError when the bytes are something else, or of a monitor that is not like `mine` (of `about`).
    """
    state = codec.unpack(saved)
    if not isinstance(state, dict) or state.get("version") not in (1, 2):
        raise StateError(
            "the saved monitor is not of version 1 or 2: it was written by something else or a newer Luthier"
        )
    if absent := [part for part in ("memory", "latest", "buckets") if not isinstance(state.get(part), dict | list)]:
        raise StateError(f"the saved monitor has no {absent[0]}: it was not written by a monitor's `save`")
    if state["version"] == 1:
        state["buckets"] = {start: {"": states} for start, states in state["buckets"].items()}
    state = {**_EMPTY, **state}
    for name, theirs in state["about"].items():
        if theirs != mine[name] and not _extended(mine[name], theirs):
            raise StateError(
                f"the saved monitor has {name} {theirs!r}, this one {mine[name]!r}: their numbers do not mean the same. Make "
                f"this one with the reference, task and options of that one"
            )
    state["memory"] = {(check, name): memory for check, name, memory in state["memory"]}
    state["latest"] = {(check, name): _finding(plain) for check, name, plain in state["latest"]}
    return state


def _extended(mine: Any, theirs: Any) -> bool:
    """Labels that were only added at the end."""
    return isinstance(mine, list) and isinstance(theirs, list) and mine[: len(theirs)] == theirs


def _plain(finding: Finding) -> dict[str, Any]:
    plain: dict[str, Any] = {field.name: getattr(finding, field.name) for field in fields(finding)}
    return plain | {
        "promise": [finding.promise.kind, finding.promise.level],
        "at": finding.at.isoformat() if finding.at else None,
    }


def _finding(plain: dict[str, Any]) -> Finding:
    at = datetime.fromisoformat(plain["at"]) if plain["at"] else None
    parts = plain.get("parts")
    parts = None if parts is None else tuple((name, evidence) for name, evidence in parts)
    return Finding(**{**plain, "promise": Promise(*plain["promise"]), "at": at, "parts": parts})
