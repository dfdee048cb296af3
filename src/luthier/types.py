"""The nouns of Luthier: plain, frozen data that passes between the stages. Standard library only."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

__all__ = [
    "ACTIONS",
    "Action",
    "Columns",
    "Decision",
    "Estimate",
    "Finding",
    "Promise",
    "Record",
    "Run",
    "Split",
    "Version",
    "content_id",
]

Columns: TypeAlias = Mapping[str, Any]
"""Name to numpy array; every array has the same length n along its first axis.

What a task says about records, one row a record. Names that checks rely on: `loss` (n,) in [0, 1], NaN where no
target is known; `confidence`, `margin`, `entropy`, `length` (n,); `predicted` and `target` (n,) label indices, -1 for
none; `embedding` (n, d). A paired window (gate, canary) adds `champion_loss` and `champion_predicted`.
"""


@dataclass(frozen=True, slots=True)
class Record:
    """The only row: a training example, an answered request and a labelled answer at different ages.

    `at` is the event time (UTC), `id` the caller's or a content hash, `output` what the model said (an embedding, if
    any, under the key "embedding" as a float array), `target` the truth, `model` the version that answered.
    """

    id: str
    at: datetime
    input: Any
    output: Any = None
    target: Any = None
    model: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval. Nothing seen is `Estimate(nan, 0, nan, nan)`, never 0.0."""

    value: float = math.nan
    n: int = 0
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, slots=True)
class Promise:
    """How often a finding's alarm is wrong when nothing is wrong.

    kind "e-value": P(false alarm, ever) <= level. kind "e-detector": at most one false alarm in `level` observations
    on average (ARL). kind "fixed": P(false alarm) <= level for one look. kind "none": a plain comparison of exact
    numbers, or a statement that carries no evidence.
    """

    kind: Literal["e-value", "e-detector", "fixed", "none"]
    level: float = math.nan

    def __str__(self) -> str:
        if self.kind == "e-value":
            return f"false alarm ever ≤ {self.level:g}"
        if self.kind == "e-detector":
            return f"≤ 1 false alarm in {self.level:,.0f} observations"
        if self.kind == "fixed":
            return f"false alarm ≤ {self.level:g} per look"
        return "no promise"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says about one subject and slice, and how far it can be trusted.

    `value` is the measured number, `limit` what it is held against, `evidence` the e-value (or e-detector statistic)
    capped at 1e300, `n` the observations behind it, `at` the event time of the newest of them, `why` one sentence a
    person can act on. A check leaves `subject`, `slice` and `at` empty; the monitor or the gate fills them in.

    `parts`: of a check that watches many columns, those with evidence that reaches the promise's level, each with its
    share of the evidence, strongest first; when nothing changed the shares of all columns add up to no more on average than
    one e-value, or e-detector, may have. None: the check has no parts.
    """

    check: str
    value: float
    limit: float
    evidence: float
    promise: Promise
    alarm: bool
    n: int
    why: str
    subject: str = ""
    slice: str = ""
    at: datetime | None = None
    parts: tuple[tuple[str, float], ...] | None = None


Action: TypeAlias = Literal["none", "alert", "label", "retrain", "shadow", "canary", "promote", "reject", "rollback"]
ACTIONS: tuple[str, ...] = (
    "none", "alert", "label", "retrain", "shadow", "canary", "promote", "reject", "rollback",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and because of which findings."""

    action: Action
    because: Sequence[Finding] = ()
    why: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """Records divided by a hash of their id, so that a record never changes sides."""

    train: Sequence[Record]
    validation: Sequence[Record]
    test: Sequence[Record]


@dataclass(frozen=True, slots=True)
class Version:
    """A registered model: a content-addressed folder and where it came from. `number` counts from 1 in one project."""

    number: int
    digest: str
    created: datetime
    parent: int | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"v{self.number}"


@dataclass(frozen=True, slots=True)
class Run:
    """One fine-tuning run: its folder, what it reached, and why it stopped."""

    id: str
    folder: str
    recipe: str
    met: bool
    why: str
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    rungs: Sequence[Mapping[str, Any]] = ()
    findings: Sequence[Finding] = ()
    seconds: float = 0.0


def content_id(value: Any) -> str:
    """The id of a record that has none: 128 bits of SHA-256 over its input as canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def utc_now() -> datetime:
    """The present moment as an aware UTC time."""
    return datetime.now(UTC)
