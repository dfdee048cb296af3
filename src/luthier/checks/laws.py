"""What every check obeys; a plug-in calls `check_check` in its own tests."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from luthier import codec
from luthier.checks.base import Check, Memory
from luthier.types import Columns, Finding

__all__ = ["check_check"]

CUTS = ((0.5,), (0.0, 0.1, 0.1, 0.13, 0.77, 1.0), tuple(step / 29 for step in range(1, 29)))


def check_check(check: Check, reference: Columns, window: Columns) -> Finding:
    """Raise AssertionError unless `check` obeys the laws on this reference and window; returns its last Finding.

    Cut into parts, the window gives the same last Finding, with memory packed and unpacked between the parts and
    its "reference" derived again; an empty window changes nothing; NaN does not reach `evidence`; arguments stay as
    they were.
    """
    before = codec.pack({"reference": dict(reference), "window": dict(window)})
    start = check.start(reference)
    kept = codec.pack(start)
    memory, finding = check.step(start, window)
    _sane(check, finding)
    for cuts in CUTS:
        again = _in_parts(check, reference, window, cuts)
        _same(f"{check.name}: cut at {cuts}, the last finding differs", finding, again)
    _empty(check, memory, finding, window)
    _empty(check, start, None, window)
    _with_nan(check, reference, window)
    assert codec.pack(start) == kept, f"{check.name}: step changed the memory it was given"
    after = codec.pack({"reference": dict(reference), "window": dict(window)})
    assert after == before, f"{check.name}: start or step changed a column it was given"
    assert check.step(memory, {})[1].promise == check.promise, f"{check.name}: the promise changes on the way"
    return finding


def _in_parts(check: Check, reference: Columns, window: Columns, cuts: Iterable[float]) -> Finding:
    n = max((len(values) for values in window.values()), default=0)
    edges = [0, *(round(cut * n) for cut in cuts), n]
    memory = check.start(reference)
    known = memory.get("reference")
    for low, high in itertools.pairwise(edges):
        memory, finding = check.step(memory, {name: values[low:high] for name, values in window.items()})
        stored = codec.unpack(codec.pack({key: value for key, value in memory.items() if key != "reference"}))
        memory = stored if known is None else {**stored, "reference": known}
    return finding


def _empty(check: Check, memory: Memory, finding: Finding | None, window: Columns) -> None:
    for nothing in ({}, {name: values[:0] for name, values in window.items()}):
        after, again = check.step(memory, nothing)
        assert codec.pack(after) == codec.pack(memory), f"{check.name}: an empty window changes the memory"
        _sane(check, again)
        if finding is not None:
            _same(f"{check.name}: an empty window changes the finding", finding, again)


def _with_nan(check: Check, reference: Columns, window: Columns) -> None:
    """Every other row of every float column is NaN, then all are."""
    for step in (2, 1):
        holed: dict[str, Any] = {}
        for name, values in window.items():
            holed[name] = np.array(values)
            if holed[name].dtype.kind == "f":
                holed[name][::step] = np.nan
        _sane(check, check.step(check.start(reference), holed)[1])


def _sane(check: Check, finding: Finding) -> None:
    assert finding.check == check.name, f"{check.name}: the finding says it is from {finding.check!r}"
    assert math.isfinite(finding.evidence), f"{check.name}: evidence is {finding.evidence}"
    assert 0 <= finding.evidence <= 1e300, f"{check.name}: evidence is {finding.evidence}"
    assert type(finding.alarm) is bool, f"{check.name}: alarm is a {type(finding.alarm).__name__}"
    assert finding.n >= 0, f"{check.name}: n is {finding.n}"
    assert finding.why.strip(), f"{check.name}: a finding says nothing"
    assert not (finding.alarm and finding.n == 0), f"{check.name}: an alarm from nothing"


def _same(what: str, one: Finding, other: Finding) -> None:
    for field in Finding.__dataclass_fields__:
        a, b = getattr(one, field), getattr(other, field)
        nan = isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
        assert nan or a == b, f"{what}: {field} {a!r} and {b!r}"
