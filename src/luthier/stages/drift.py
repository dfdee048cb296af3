"""Two whole tables side by side: which columns no longer come from where the reference came from.

A finding a column, with an exact e-value that counts the reference's own sampling noise, and e-BH over all columns. A
reference is summed up once (a few KB a column) and kept; the tables may be streamed in parts.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from luthier import codec
from luthier.distances import category_counts, category_distances, numeric_distances
from luthier.errors import StateError
from luthier.evidence import LARGEST, e_bh
from luthier.frames import columns_of, observe, statistic_of
from luthier.homogeneity import log_e_toward, log_e_value, ranks, runs
from luthier.moments import unix_seconds
from luthier.parquet import Parquet
from luthier.statistics.base import State
from luthier.statistics.histogram import aligned, quantile
from luthier.tabular import Table, parts_of
from luthier.types import Finding, Promise
from luthier.vectors import basis_of, compared

__all__ = ["Drift", "Summary", "drift", "hour_of_week", "summarise", "summarise_by_hour"]

NAME = "drift.v1"
PARTS = (2, 4, 8, 16, 32)  # runs of values that are compared: coarse ones see a shift soonest, fine ones any change
SINGLE = 64  # categories that are compared one by one
MISSING = 0.2  # weight of the evidence in what is missing, beside that in the values


@dataclass(frozen=True, slots=True)
class Summary:
    """What is kept of a table: rows, and of every column its kind, what it holds, and the state of its statistic.

    Of a column of vectors it is two samples of 4,096 rows at most, and what `fit` derives from them.
    """

    rows: int = 0
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def merge(self, other: Summary) -> Summary:
        """The summary of both tables' rows, in any order.

        Raises StateError when their columns differ in name or kind.
        """
        if not (self.columns and other.columns):
            return self if self.columns else other
        if self.columns.keys() != other.columns.keys():
            odd = sorted(self.columns.keys() ^ other.columns.keys())
            raise StateError(f"two parts of one table differ in the columns {odd}; give every part the same columns")
        columns = {name: _merged(name, mine, other.columns[name]) for name, mine in self.columns.items()}
        return Summary(self.rows + other.rows, columns)

    def fit(self) -> Summary:
        """The same, with the whitening of every column of vectors done beforehand, for comparing many tables with it."""
        columns = {
            name: {**column, "fitted": basis_of(column["state"])} if column["kind"] == "vector" else column
            for name, column in self.columns.items()
        }
        return Summary(self.rows, columns)

    def save(self, path: str | Path) -> None:
        """Write it to a file that `load` reads; the file is whole or not there."""
        place = Path(path)
        columns = {
            name: {key: column[key] for key in ("kind", "said", "state")} for name, column in self.columns.items()
        }
        partial = place.with_name(place.name + ".partial")
        partial.write_bytes(codec.pack({"version": 1, "rows": self.rows, "columns": columns}))
        os.replace(partial, place)

    @classmethod
    def load(cls, path: str | Path) -> Summary:
        """Read what `save` wrote.

        Raises StateError when the file is something else or of a newer version.
        """
        state = codec.unpack(Path(path).read_bytes())
        if not isinstance(state, dict) or state.get("version") != 1:
            raise StateError(f"{path} is no summary of version 1: it was written by something else or a newer Luthier")
        return cls(state["rows"], state["columns"]).fit()


@dataclass(frozen=True, slots=True)
class Drift:
    """`findings`: one a column, strongest evidence first. `drifted`: the columns that changed, for which `alpha` holds."""

    findings: tuple[Finding, ...]
    distances: Mapping[str, Mapping[str, float]]
    alpha: float

    @property
    def drifted(self) -> tuple[str, ...]:
        return tuple(finding.subject for finding in self.findings if finding.alarm)

    def finding(self, column: str) -> Finding:
        """The finding on one column.

        Raises StateError when there is none of that name.
        """
        for finding in self.findings:
            if finding.subject == column:
                return finding
        raise StateError(f"there is no finding on {column!r}; there are {', '.join(f.subject for f in self.findings)}")

    def rows(self) -> list[dict[str, Any]]:
        """One plain row a column, for `pandas.DataFrame` or `polars.DataFrame`."""
        return [
            {"column": f.subject, "drifted": f.alarm, "evidence": f.evidence, "n": f.n, "why": f.why}
            | dict(self.distances.get(f.subject, {}))
            for f in self.findings
        ]


def summarise(table: Table, categories: Iterable[str] = (), *, keep: str | Path | None = None) -> Summary:
    """Sum up a table, or an iterable of parts at constant memory. `categories`: columns of numbers that are names.

    `keep`: a folder in which the summary of every file of a `luthier.parquet.Parquet` is kept, so that one that was
    stopped goes on where it was, and new files cost no more than themselves. Raises StateError when it is no table, and
    when its parts do not fit together.
    """
    if isinstance(table, Summary):
        return table
    named = tuple(categories)
    return (_summed(table, named) if keep is None else _kept(table, named, Path(keep))).fit()


def _summed(table: Table | Summary, categories: tuple[str, ...], start: int = 0) -> Summary:
    """`start`: rows of the same table before these; by their places rows of vectors are sampled."""
    if isinstance(table, Summary):
        return table
    total = Summary()
    for part in parts_of(table):
        total = total.merge(_summary(part, categories, start + total.rows))
    return total


def drift(
    reference: Table | Summary,
    current: Table | Summary,
    *,
    alpha: float = 0.05,
    relevant: float = 0.0,
    categories: Iterable[str] = (),
) -> Drift:
    """Compare every column of two tables; a `Summary` stands for a table that was summed up before.

    An alarm on values: e-BH over all columns says that the column changed (of the columns named, a share of at most
    `alpha` is wrong on average, whatever the dependence; for one column P(false alarm) <= alpha), and its
    Jensen–Shannon distance is at least `relevant`. The e-value is exact at any size of both tables: see
    `luthier.homogeneity`. An alarm on the schema (a column gone, new, or of another kind) is a plain comparison. Times
    move on their own and are not compared. One look a pair of tables: for a stream, use the check column_shift.v1.

    >>> rng = np.random.default_rng(0)
    >>> good = {"age": rng.normal(40, 9, 2000), "plan": rng.choice(["basic", "pro"], 2000)}
    >>> drift(good, {"age": rng.normal(44, 9, 2000), "plan": rng.choice(["basic", "pro"], 2000)}).drifted
    ('age',)
    """
    if not 0 < alpha < 1:
        raise StateError(f"alpha is {alpha!r}; the share of false findings lies between 0 and 1")
    named = tuple(categories)
    a, b = summarise(reference, named), _summed(current, named)
    if not a.columns:
        raise StateError("the reference has no columns; give a table of the model's good days")
    names = [*a.columns, *(name for name in b.columns if name not in a.columns)]
    pairs = [_compared(name, a, b) for name in names]
    compared = [i for i, (finding, _) in enumerate(pairs) if finding.promise.kind != "none"]
    shown = {compared[i] for i in e_bh([pairs[i][0].evidence for i in compared], alpha)}
    findings = [_decided(finding, i in shown, alpha, relevant) for i, (finding, _) in enumerate(pairs)]
    order = sorted(range(len(names)), key=lambda i: (not findings[i].alarm, -findings[i].evidence, i))
    return Drift(tuple(findings[i] for i in order), {names[i]: dict(pairs[i][1]) for i in order if pairs[i][1]}, alpha)


# -- seasons ----


def hour_of_week(at: Any, zone: str = "UTC") -> np.ndarray:
    """0 (Monday, midnight) to 167 for every time (n,), in a time zone with its daylight saving.

    `at`: datetimes (without a zone: UTC), numpy datetime64 (UTC) or Unix seconds.
    """
    there, seconds = ZoneInfo(zone), unix_seconds(at)
    if np.isnan(seconds).any():
        raise StateError("an event time is missing; leave out the rows without one")
    hours, back = np.unique(np.floor_divide(seconds, 900).astype(np.int64), return_inverse=True)  # zones shift by 15'
    moments = [datetime.fromtimestamp(int(hour) * 900, there) for hour in hours]
    return np.array([m.weekday() * 24 + m.hour for m in moments], np.int64)[back.reshape(-1)]


def summarise_by_hour(table: Mapping[str, Any], at: Any, *, zone: str = "UTC") -> dict[int, Summary]:
    """Hour of the week to the summary of its rows: a kept reference from which `drift` takes the same hours.

    `table`: a dictionary of numpy arrays (n,), `at` their times (n,). Compare an hour of today with
    `weekly[hour]`, a whole day or week with all of its hours merged: both then hold the same mix of hours.
    """
    hours = hour_of_week(at, zone)
    if any(len(values) != len(hours) for values in table.values()):
        raise StateError(f"{len(hours)} times for columns of other lengths: give one time a row")
    arrays = {name: np.asarray(values) for name, values in table.items()}
    return {
        int(hour): summarise({name: values[hours == hour] for name, values in arrays.items()})
        for hour in np.unique(hours)
    }


# -- summing up ----


def _kept(table: Any, categories: tuple[str, ...], folder: Path) -> Summary:
    if not isinstance(table, Parquet):
        raise StateError(
            f"summaries of a {type(table).__name__} cannot be kept by file; give a luthier.parquet.Parquet"
        )
    folder.mkdir(parents=True, exist_ok=True)
    total = Summary()
    for part in table.parts():
        place = folder / f"{part.digest(*sorted(categories), str(total.rows))}.summary"
        if place.exists():
            summary = Summary.load(place)
            part.skip()
        else:
            summary = _summed(part, categories, total.rows)
            summary.save(place)
        total = total.merge(summary)
    return total


def _summary(table: Any, categories: tuple[str, ...], start: int) -> Summary:
    columns: dict[str, dict[str, Any]] = {}
    rows = 0
    for column in columns_of(table, categories):
        if column.name in columns:
            raise StateError(f"the table has two columns {column.name!r}; name each column once")
        rows = len(column.values)
        columns[column.name] = {"kind": column.kind, "said": column.said, "state": observe(column, start)}
    absent = [name for name in categories if columns and name not in columns]
    if absent:
        raise StateError(f"there is no column {absent[0]!r} to read as categories; there are {', '.join(columns)}")
    return Summary(rows, columns)


def _merged(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    a, b = _alike(a, b), _alike(b, a)
    if a["kind"] != b["kind"]:
        raise StateError(
            f"column {name!r} holds {a['said']} in one part and {b['said']} in another; make them alike first"
        )
    statistic = statistic_of(a["kind"])
    if statistic is None:
        state: State = {key: a["state"][key] + b["state"][key] for key in ("n", "missing")}
    else:
        state = statistic.merge(a["state"], b["state"])
    return {"kind": a["kind"], "said": a["said"], "state": state}


def _alike(column: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    """A column of nulls only has no kind of its own: it is one of the other's kind in which every row is missing."""
    statistic = statistic_of(other["kind"])
    if column["said"] != "null" or column["kind"] == other["kind"] or statistic is None:
        return column
    state = {**statistic.observe({}), "missing": column["state"]["missing"]}
    return {"kind": other["kind"], "said": other["said"], "state": state}


# -- comparing one column ----


def _compared(name: str, a: Summary, b: Summary) -> tuple[Finding, dict[str, float]]:
    """The finding on a column, not yet decided, and its distances."""
    if name not in b.columns or name not in a.columns:
        there, where, gone = (a, "current", "reference") if name in a.columns else (b, "the reference", "current")
        why = f"{name}: {there.columns[name]['said']} in {there.rows:,} rows of {gone}, absent from {where}. "
        return _schema(
            name, b.rows, why + "Tables to compare have the same columns: bring it back, or leave it out"
        ), {}
    mine, theirs = _alike(a.columns[name], b.columns[name]), _alike(b.columns[name], a.columns[name])
    if mine["kind"] != theirs["kind"] or _of_other_width(mine, theirs):
        why = f"{name}: {mine['said']} in {a.rows:,} rows of the reference, {theirs['said']} in {b.rows:,} rows of current. "
        return _schema(
            name, b.rows, why + "A column keeps its kind: convert it, or list it in `categories` for both"
        ), {}
    if statistic_of(mine["kind"]) is None:
        why = (
            "a time moves on its own: compare its hour or its age" if mine["kind"] == "time" else "no numbers or names"
        )
        return _quiet(name, b.rows, f"{name}: not compared: {mine['said']}: {why}"), {}
    if not (a.rows and b.rows):
        why = f"{name}: nothing to compare: {a.rows:,} rows of reference and {b.rows:,} of current"
        return _quiet(name, b.rows, why), {}
    return _values(name, mine, mine["state"], theirs["state"])


def _of_other_width(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    widths = {column["state"]["width"] for column in (a, b) if column["kind"] == "vector"} - {0}
    return len(widths) > 1


def _values(name: str, column: Mapping[str, Any], a: State, b: State) -> tuple[Finding, dict[str, float]]:
    if column["kind"] == "vector":
        log_e, found, said = _vectors(column.get("fitted") or basis_of(a), a, b)
    elif column["kind"] == "number":
        log_e, found, said = _mean(_number_logs(a, b)), numeric_distances(a, b), _said_numbers(a, b)
    else:
        log_e, found, said = _mean(_category_logs(a, b)), category_distances(a, b), _said_categories(a, b)
    parts = [log_e]
    missing = [[state["n"], state["missing"]] for state in (a, b)]
    if missing[0][1] + missing[1][1]:
        parts = [math.log1p(-MISSING) + parts[0], math.log(MISSING) + log_e_value(*missing)]
    evidence = math.exp(min(float(np.logaddexp.reduce(parts)), math.log(LARGEST)))
    told = [said, ", ".join(f"{key.replace('_', ' ')} {value:.3g}" for key, value in found.items() if value == value)]
    shares = [gone / (n + gone) if n + gone else math.nan for n, gone in missing]
    if any(share > 0 for share in shares):
        told.append(f"missing {shares[0]:.2%} → {shares[1]:.2%} of rows")
    if column["kind"] == "mixed":
        told.append(f"mixed types in the reference ({column['said']}), compared as text: convert it to one type")
    finding = Finding(
        check=NAME, value=found["jensen_shannon"], limit=0.0, evidence=evidence, promise=Promise("fixed"), alarm=False,
        n=b["n"] + b["missing"], why=f"{name}: " + "; ".join(part for part in told if part), subject=name,
    )  # fmt: skip
    return finding, found


def _vectors(known: Mapping[str, Any], a: State, b: State) -> tuple[float, dict[str, float], str]:
    """Log e-value, distances, and the change in words; `known` as `luthier.vectors.basis_of` gives it."""
    if not (known and b["n"]):
        few = f"{a['n']:,} vectors of the reference and {b['n']:,} of current: not enough to compare"
        return 0.0, {"jensen_shannon": math.nan}, few
    log_e, found = compared(known, b)
    how = f"told apart with AUC {found['auc']:.2f}" if found["auc"] != 0.5 else "no classifier tells them apart"
    return log_e, found, f"vectors of {a['width']}: {how}"


def _mean(logs: list[float]) -> float:
    """The log of the mean of e-values given as logs; 0 where there are none."""
    return float(np.logaddexp.reduce(logs)) - math.log(len(logs)) if logs else 0.0


def _number_logs(a: State, b: State) -> list[float]:
    """log e-values on runs of the fixed log-buckets, cut by the pooled counts (so they are exact), in place and in scale."""
    _, p, q = aligned(a, b)
    pairs = [(np.add.reduceat(p, starts), np.add.reduceat(q, starts)) for starts in runs(p + q, PARTS)]
    if not pairs:
        return []
    place = ranks(sum(pairs[-1]))
    return [log_e_value(*pair) for pair in pairs] + [log_e_toward(*pairs[-1], scores) for scores in (place, place**2)]


def _category_logs(a: State, b: State) -> list[float]:
    """log e-values on the most frequent categories one by one, on runs by frequency and by name, and along both."""
    p, q = category_counts(a, b)
    order = np.argsort(-(p + q), kind="stable")
    if np.count_nonzero(p + q) < 2:
        return []
    logs = [log_e_value(_headed(p[order]), _headed(q[order]))]
    for places in (order, np.arange(len(p))):
        mine, theirs = p[places], q[places]
        cuts = runs(mine + theirs, PARTS[:3])
        logs += [log_e_value(np.add.reduceat(mine, cut), np.add.reduceat(theirs, cut)) for cut in cuts]
        logs.append(log_e_toward(mine, theirs, ranks(mine + theirs)))
    return logs


def _headed(counts: np.ndarray) -> np.ndarray:
    return np.append(counts[:SINGLE], counts[SINGLE:].sum())


def _said_numbers(a: State, b: State) -> str:
    if not (a["n"] and b["n"]):
        return f"no number in {'the reference' if not a['n'] else 'current'}"
    if a["min"] == a["max"] and b["min"] == b["max"]:
        return f"constant: {a['min']:.6g}" + (f" → {b['min']:.6g}" if b["min"] != a["min"] else " in both")
    middle = " → ".join(f"{quantile(state, 0.5).value:.4g}" for state in (a, b))
    return f"median {middle}, range {a['min']:.4g} to {a['max']:.4g} → {b['min']:.4g} to {b['max']:.4g}"


def _said_categories(a: State, b: State) -> str:
    if not (a["n"] and b["n"]):
        return f"no category in {'the reference' if not a['n'] else 'current'}"
    shares = [dict(zip(s["names"].tolist(), (s["counts"] / s["n"]).tolist(), strict=True)) for s in (a, b)]
    gaps = {name: shares[1].get(name, 0.0) - shares[0].get(name, 0.0) for name in shares[0].keys() | shares[1].keys()}
    top = sorted(gaps, key=lambda name: (-abs(gaps[name]), name))[:2]
    told = ", ".join(f"{name!r} {shares[0].get(name, 0):.2%} → {shares[1].get(name, 0):.2%}" for name in top)
    new = [name for name in shares[1] if name not in shares[0]] if not a["other"] else []
    return told + (f", {len(new):,} new categories with {sum(shares[1][n] for n in new):.2%} of rows" if new else "")


def _schema(name: str, n: int, why: str) -> Finding:
    return Finding(NAME, math.nan, math.nan, 1.0, Promise("none"), alarm=True, n=n, why=why, subject=name)


def _quiet(name: str, n: int, why: str) -> Finding:
    return Finding(NAME, math.nan, math.nan, 1.0, Promise("none"), alarm=False, n=n, why=why, subject=name)


def _decided(finding: Finding, shown: bool, alpha: float, relevant: float) -> Finding:
    if finding.promise.kind == "none":
        return finding
    far = math.isnan(finding.value) or finding.value >= relevant
    why = finding.why + (f"; Jensen–Shannon below {relevant:g}: not relevant" if shown and not far else "")
    return Finding(
        NAME, finding.value, relevant, finding.evidence, Promise("fixed", alpha), shown and far, finding.n, why, finding.subject,
    )  # fmt: skip
