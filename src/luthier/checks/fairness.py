"""Is one group of people answered worse, or chosen less often, than the others, beyond a tolerance?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.checks.base import Memory, silent
from luthier.errors import OptionError, StateError, among
from luthier.evidence import advance, detector, paired_bets, paired_factors, unit_interval
from luthier.names import register
from luthier.types import Columns, Finding, Promise

__all__ = ["Fairness"]

_GROUPS = 10  # the largest groups of the reference are watched, each against all other rows
_FEWEST = 30  # rows of a group in the reference
_TOLD = 20  # groups that are not watched whose rows are counted by name
_RARE = 10_000  # of the reference, that are told from new ones
_NEEDS = {"loss": "loss", "selection_rate": "predicted", "tpr": "predicted", "fpr": "predicted"}


@register("check", "fairness.v1")
@dataclass(frozen=True, slots=True)
class Fairness:
    """e-SR detectors, averaged, of gaps above `gap` between each group and the rest, in either direction.

    Every row of the group is paired with the mean of the rest's rows since the last pair, and the other way round, so
    that a small group wastes none of the large one; pairs depend on the order of the groups, never on the answers.
    Under "no gap is above the tolerance" each difference has a mean of at most `gap` given the past, so at most one
    alarm in `arl` rows on average is false, also when the rate of all groups moves together. `metric`: `loss` (accuracy
    parity), `selection_rate` (demographic parity), `tpr` (equal opportunity) or `fpr`, of class `positive`. The two of
    equalized odds are two checks. Groups are those of the reference; rows of any others are among the rest of each, and
    `why` names these and counts their rows.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["label"]] = "label"
    group: str = "group"
    metric: Literal["loss", "selection_rate", "tpr", "fpr"] = "loss"
    gap: float = 0.1
    positive: int = 1
    arl: float = 100_000

    def __post_init__(self) -> None:
        if self.metric not in _NEEDS or not 0 <= self.gap < 1:
            raise OptionError(
                f"metric is {self.metric!r} and gap {self.gap!r}: one of {', '.join(_NEEDS)}, and a gap in [0, 1)"
            )

    @property
    def promise(self) -> Promise:
        return Promise("e-detector", self.arl)

    def start(self, reference: Columns) -> Memory:
        """Memory from the groups of the reference's column `group` (n,)."""
        names: list[str] = []
        rare: dict[str, int] = {}
        if self.group in reference:
            found, times = np.unique(_text(reference[self.group]), return_counts=True)
            large = [i for i in np.lexsort((found, -times)) if found[i] and times[i] >= _FEWEST]
            names = sorted(str(found[i]) for i in large[:_GROUPS])
            rare = {str(found[i]): int(times[i]) for i in np.lexsort((found, -times))[: _GROUPS + _RARE]}
        why = ""
        if len(names) < 2:
            why = f"not watched: the reference has {len(names)} groups of {_FEWEST} rows in column {self.group!r}; two are needed"
        if self.group not in reference:
            why += f", and there is no such column: {among(self.group, reference)}"
        watched = names[:1] if len(names) == 2 else names  # of two groups, one against the rest says all
        known = {"groups": names, "watched": watched, "why": why, "rows": rare}
        streams = {name: _fresh() for name in watched}
        return {"reference": known, "streams": streams, "n": 0, "value": 0.0, "alarm_n": 0, "others": {}}

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's `group` and the columns of the metric.

        Raises StateError when a loss lies outside [0, 1].
        """
        known = memory["reference"]
        if known["why"]:
            return memory, silent(self.name, self.promise, known["why"], limit=self.gap)
        groups, values = self._rows(window)
        if not len(groups):
            return memory, self._finding(memory)
        streams, paths = {}, []
        for name in known["watched"]:
            streams[name], path = _advance(memory["streams"][name], groups == name, values, self.gap)
            paths.append(path)
        mean = _mean_of(paths)
        seen, alarm_n = memory["n"], memory["alarm_n"]
        if not alarm_n and (mean >= self.arl).any():
            alarm_n = seen + int((mean >= self.arl).argmax()) + 1
        after = {**memory, "streams": streams, "n": seen + len(groups), "value": float(mean[-1]), "alarm_n": alarm_n}
        after["others"] = _counted(memory.get("others", {}), groups, known["groups"])
        return after, self._finding(after)

    def _rows(self, window: Columns) -> tuple[np.ndarray, np.ndarray]:
        """Group and 0 to 1 value of the rows that count: (m,) text, (m,) float64."""
        needed = {self.group, _NEEDS[self.metric], *(["target"] if self.metric in ("tpr", "fpr") else [])}
        if not needed <= window.keys():
            return np.zeros(0, str), np.zeros(0)
        groups = _text(window[self.group])
        if self.metric == "loss":
            loss = np.asarray(window["loss"], np.float64)
            unit_interval(loss, "loss")
            chosen, values = ~np.isnan(loss), loss
        else:
            said = np.asarray(window["predicted"])
            chosen, values = said >= 0, (said == self.positive).astype(np.float64)
        if self.metric in ("tpr", "fpr"):
            target = np.asarray(window["target"])
            chosen = chosen & (target >= 0) & ((target == self.positive) == (self.metric == "tpr"))
        if len(groups) != len(values):
            raise StateError(f"column {self.group!r} has {len(groups)} rows, {_NEEDS[self.metric]!r} has {len(values)}")
        chosen = chosen & (groups != "")
        return groups[chosen], values[chosen]

    def _finding(self, memory: Mapping[str, Any]) -> Finding:
        n = memory["n"]
        if not n:
            return silent(self.name, self.promise, "no labelled answers with a group yet", limit=self.gap)
        gaps = {name: _gap(stream) for name, stream in memory["streams"].items()}
        known = {name: gap for name, gap in gaps.items() if not math.isnan(gap)}
        if not known:
            why = f"only one group was seen yet{self._others(memory)}"
            return silent(self.name, self.promise, why, limit=self.gap, n=n)
        worst = max(known, key=lambda name: (abs(known[name]), name))
        stream = memory["streams"][worst]
        a, b = stream["sums"][0] / stream["counts"][0], stream["sums"][1] / stream["counts"][1]
        rest = [name for name in memory["reference"]["groups"] if name != worst]
        others = self._others(memory)
        other = rest[0] if len(rest) == 1 and not others else "the rest"
        what = f"{self.metric} of {worst} {a:.3g} ({stream['counts'][0]} rows), of {other} {b:.3g} ({stream['counts'][1]} rows)"
        if memory["alarm_n"]:
            why = f"{what}: a gap is above {self.gap:g}, shown at row {memory['alarm_n']}. Compare the groups' records, then label and update"
        else:
            why = f"{what}; no gap is shown to be above {self.gap:g}"
        return Finding(
            check=self.name, value=abs(known[worst]), limit=self.gap, evidence=memory["value"], promise=self.promise,
            alarm=bool(memory["alarm_n"]), n=n, why=why + others,
        )  # fmt: skip

    def _others(self, memory: Mapping[str, Any]) -> str:
        """Which groups have come that are not watched, how many rows they have, and what they are compared with."""
        others, known = memory.get("others", {}), memory["reference"]
        if not others:
            return ""
        named = sorted((name for name in others if name), key=lambda name: (-others[name], name))
        learned = {name: f"the reference has {known['rows'].get(name) or 'none'}" for name in named[:5]}
        told = [f"{name!r} ({others[name]} rows; {said})" for name, said in learned.items()]
        left = sum(others.values()) - sum(others[name] for name in named[:5])
        more = f" and {left} rows of other groups" if left else ""
        return (
            f"; not compared on their own, only as part of the rest: {', '.join(told)}{more}. Compared are "
            f"{', '.join(known['groups'])}: give a reference with {_FEWEST} rows of a group to compare it too"
        )


def _fresh() -> dict[str, Any]:
    """One group against the rest: a detector a direction, what waits for its pair, and totals (group, rest)."""
    bets = len(paired_bets(0.0))
    return {
        "up": detector(bets),
        "down": detector(bets),
        "counts": [0, 0],
        "sums": [0.0, 0.0],
        "open": [0, 0],
        "waiting": [0.0, 0.0],
    }


def _counted(others: Mapping[str, int], groups: np.ndarray, known: list[str]) -> dict[str, int]:
    """Rows (m,) of the groups that are not known, beside those before: by name for the first `_TOLD` to come, else under ""."""
    fresh = groups[~np.isin(groups, known)]
    names, first, times = np.unique(fresh, return_index=True, return_counts=True)
    counts = dict(others)
    for i in np.argsort(first).tolist():
        name = str(names[i])
        place = name if name in counts or len(counts.keys() - {""}) < _TOLD else ""
        counts[place] = counts.get(place, 0) + int(times[i])
    return counts


def _gap(stream: Mapping[str, Any]) -> float:
    """Mean of the group minus that of the rest; nan while one of them was not seen."""
    (n, m), (a, b) = stream["counts"], stream["sums"]
    return a / n - b / m if n and m else math.nan


def _advance(
    stream: Mapping[str, Any], mine: np.ndarray, values: np.ndarray, gap: float
) -> tuple[dict[str, Any], np.ndarray]:
    """Run the two detectors over the pairs that these rows close; evidence (n,) after every row."""
    closes, differences, waiting = _pairs(mine, values, stream["open"], stream["waiting"])
    after: dict[str, Any] = dict(waiting)
    paths = []
    for way, signed in (("up", differences), ("down", -differences)):
        after[way], path = advance(stream[way], paired_factors(-signed, -gap))
        paths.append(np.concatenate([[stream[way]["value"]], path]))
    sides = (mine, ~mine)
    after["counts"] = [stream["counts"][side] + int(chosen.sum()) for side, chosen in enumerate(sides)]
    after["sums"] = [
        float(np.add.accumulate(np.concatenate([[stream["sums"][side]], values[chosen]]))[-1])
        for side, chosen in enumerate(sides)
    ]
    return after, _mean_of(paths)[np.cumsum(closes)]


def _pairs(
    mine: np.ndarray, values: np.ndarray, open_: list[int], waiting: list[float]
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Where a pair closes (n,) bool, its differences (pairs,), mean of the group minus that of the rest, and what waits on.

    A pair closes as soon as both sides have a row; a run of one side waits as its mean. So the first row of a run closes a
    pair exactly if the run before left something open: it does if it has two rows, or closed nothing itself.
    """
    carried = any(open_)
    if carried:  # what waits stands in front as one row; only one side can wait
        side = int(open_[1] > 0)
        mine, values = np.concatenate([[side == 0], mine]), np.concatenate([[waiting[side]], values])
    first = np.flatnonzero(np.concatenate([[True], mine[1:] != mine[:-1]]))  # first row of each run
    long = np.diff(np.append(first, len(mine))) >= 2
    place = np.arange(len(first))
    left_open = (place - np.maximum.accumulate(np.where(long, place, 0))) % 2 == 0  # single rows take turns
    closing = first[1:][left_open[:-1]]
    closes = np.zeros(len(mine), bool)
    closes[closing] = True
    block = np.cumsum(closes) - closes  # which pair a row belongs to
    size = np.ones(len(mine))
    size[0] = max(*open_, 1)
    pairs = len(closing)
    total, count = np.zeros((2, pairs + 1)), np.zeros((2, pairs + 1))
    for side, chosen in enumerate((mine, ~mine)):
        total[side] = np.bincount(block[chosen], weights=values[chosen], minlength=pairs + 1)
        count[side] = np.bincount(block[chosen], weights=size[chosen], minlength=pairs + 1)
    means = total[:, :pairs] / count[:, :pairs]
    rest = {"open": [int(n) for n in count[:, pairs]], "waiting": [float(x) for x in total[:, pairs]]}
    return closes[int(carried) :], means[0] - means[1], rest


def _text(groups: Any) -> np.ndarray:
    """Groups as text (n,); None and NaN are "", a row without a group."""
    array = np.asarray(groups)
    if array.dtype.kind in "Of":
        array = np.array(["" if one is None or one != one else str(one) for one in array.tolist()], dtype=str)
    return array.astype(str)


def _mean_of(paths: list[np.ndarray]) -> np.ndarray:
    total = paths[0].copy()
    for path in paths[1:]:
        total += path
    mean: np.ndarray = total / len(paths)
    return mean
