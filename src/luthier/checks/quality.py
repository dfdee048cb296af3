"""Are the numbers that come in whole: nothing missing, nothing empty, no length never seen before?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.checks.base import Memory, ended, silent
from luthier.evidence import clopper_pearson_upper, level_ever, level_now, rise, watch_rise
from luthier.names import register
from luthier.tables.tabular import rows_of
from luthier.types import Columns, Finding, Promise

__all__ = ["Quality"]

NUMERIC = ("confidence", "margin", "entropy", "length")
STREAMS = {
    "missing": "answers with a missing number",
    "empty": "empty inputs",
    "range": "inputs shorter or longer than any in the reference",
}
FEWEST = 30


@register("check", "quality.v1")
@dataclass(frozen=True, slots=True)
class Quality:
    """e-SR detectors, averaged, of three shares: answers with a missing number, empty inputs, unseen lengths.

    Each share may exceed the upper bound of the reference's by `slack`. At most one false alarm in `arl` answers on
    average. A column that the reference has and a window lacks is missing in every row of it.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["answer"]] = "answer"
    slack: float = 0.01
    arl: float = 100_000
    delta: float = 0.025

    @property
    def promise(self) -> Promise:
        return Promise("e-detector", self.arl)

    def start(self, reference: Columns) -> Memory:
        """Memory from the numeric columns of the reference, each (n,)."""
        n, names = rows_of(reference), [name for name in NUMERIC if name in reference]
        known: dict[str, Any] = {"columns": names, "limits": {}, "low": -np.inf, "high": np.inf, "why": ""}
        if n < FEWEST or not names:
            known["why"] = f"not watched: the reference has {n} rows and {len(names)} numeric columns; " + (
                f"{FEWEST} rows and one column are needed"
            )
            return {"reference": known, "streams": {}, "alarm_n": 0}
        length = _column(reference, "length")
        if np.isfinite(length).any():
            known["low"], known["high"] = float(np.nanmin(length)), float(np.nanmax(length))
        shares = self._observe(known, reference)
        for name, bad in shares.items():
            wrong = int(bad.sum()) + (name == "range")  # a new value beyond both ends of n: as one more seen
            known["limits"][name] = clopper_pearson_upper(wrong, n, self.delta / len(shares)) + self.slack
        return {"reference": known, "streams": {name: rise() for name in shares}, "alarm_n": 0}

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's numeric columns."""
        known = memory["reference"]
        if known["why"]:
            return memory, silent(self.name, self.promise, known["why"])
        streams, paths = {}, []
        for name, bad in self._observe(known, window).items():
            limit = min(known["limits"][name], 1 - 1e-9)
            streams[name], path = watch_rise(memory["streams"][name], bad.astype(np.float64), limit)
            paths.append(path)
        total = sum(paths[1:], start=paths[0]) / len(paths)
        alarm_n = memory["alarm_n"]
        if not alarm_n and total.size and total.max() >= self.arl:
            alarm_n = next(iter(memory["streams"].values()))["detector"]["n"] + int((total >= self.arl).argmax()) + 1
        after = {**memory, "streams": streams, "alarm_n": alarm_n}
        return after, self._finding(after)

    def _observe(self, known: Memory, columns: Columns) -> dict[str, Any]:
        """Which rows are bad, (n,) a stream."""
        n = rows_of(columns)
        missing = np.zeros(n, bool)
        for name in known["columns"]:
            missing |= ~np.isfinite(_column(columns, name)) if name in columns else True
        bad = {"missing": missing}
        if "length" in known["columns"]:
            length = _column(columns, "length") if "length" in columns else np.full(n, np.nan)
            bad["empty"] = length <= 0
            bad["range"] = (length < known["low"]) | (length > known["high"])
        return bad

    def _finding(self, memory: Memory) -> Finding:
        known, streams = memory["reference"], memory["streams"]
        name = max(streams, key=lambda one: streams[one]["detector"]["value"])
        stream, limit = streams[name], known["limits"][name]
        n = stream["detector"]["n"]
        if not n:
            return silent(self.name, self.promise, "no answers yet")
        value, alarm_n = level_ever(stream), memory["alarm_n"]
        why = f"{STREAMS[name]}: {value:.2%} of {n} answers, allowed {limit:.2%}"
        if alarm_n:
            recent, count, begun = level_now(stream)
            value = recent if count else value
            why = (
                f"{STREAMS[name]}: {value:.2%} of {count} since about answer {begun + 1}, allowed {limit:.2%}; shown "
                f"at answer {alarm_n}. Look at what the clients send: seen: {known['low']:g} to {known['high']:g}"
            )
            if not count:
                why = ended(f"{STREAMS[name]}: {value:.2%}", n, "answer", alarm_n)
        evidence = sum(one["detector"]["value"] for one in streams.values()) / len(streams)
        return Finding(
            check=self.name, value=value, limit=limit, evidence=min(evidence, 1e300), promise=self.promise,
            alarm=bool(alarm_n), n=n, why=why,
        )  # fmt: skip


def _column(columns: Columns, name: str) -> Any:
    return np.asarray(columns.get(name, ()), dtype=np.float64)
