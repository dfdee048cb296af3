"""Two whole tables side by side: which columns no longer come from where the reference came from.

A finding a column, with an exact e-value that counts the reference's own sampling noise, and e-BH over all columns. A
reference is summed up once (a few KB a column) and kept; the tables may be streamed in parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.errors import StateError
from luthier.evidence import LARGEST, e_bh
from luthier.evidence.extremes import log_apart
from luthier.evidence.permutation import FINEST, POOL, by_level, by_to_e, margins_p
from luthier.evidence.views import NO_VIEWS, Views, as_they_are, category_views, log_e_means, ordered_views
from luthier.statistics.base import State
from luthier.statistics.histogram import occupied, quantile
from luthier.tables.distances import category_counts, category_distances, coarse, finer, numeric_distances
from luthier.tables.frames import statistic_of
from luthier.tables.summaries import Summary, alike, hour_of_week, summarise, summarise_by_hour, summed
from luthier.tables.tabular import Table
from luthier.tables.vectors import basis_of, compared
from luthier.types import Finding, Promise

__all__ = ["Drift", "Summary", "drift", "hour_of_week", "summarise", "summarise_by_hour"]

NAME = "drift.v1"
PARTS = (2, 4, 8, 16, 32)  # runs of values that are compared: coarse ones see a shift soonest, fine ones any change
SINGLE = 64  # categories that are compared one by one
TOGETHER = 64  # columns whose evidence is worked out at once: as many as stay in the cache
MISSING = 0.2  # weight of the evidence in what is missing, beside that in the values
PLAIN = 0.1  # weight of the e-value as it is, beside that of its p-value among draws
FAINT = 0.3  # an e-value below this is no evidence at any level: its p-value is not asked for


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


def drift(
    reference: Table | Summary,
    current: Table | Summary,
    *,
    alpha: float = 0.05,
    relevant: float = 0.0,
    categories: Iterable[str] = (),
    looks: int = 1,
) -> Drift:
    """Compare every column of two tables; a `Summary` stands for a table that was summed up before.

    An alarm on values: e-BH over all columns says that the column changed (of the columns named, a share of at most
    `alpha` is wrong on average, whatever the dependence; for one column P(false alarm) <= alpha), and its
    Jensen–Shannon distance is at least `relevant`. The e-value is exact at any size of both tables: see
    `luthier.evidence.homogeneity`; nine tenths of it are its p-value among draws without a change, as strong as that many
    columns and `looks` allow (Benjamini & Yekutieli as e-values). `looks`: pairs of tables whose e-values e-BH will
    take together, such as days against one reference. An alarm on the schema (a column gone, new, or of another kind) is a plain comparison. Times
    move on their own and are not compared. One look a pair of tables: for a stream, use the check column_shift.v1.

    >>> rng = np.random.default_rng(0)
    >>> good = {"age": rng.normal(40, 9, 2000), "plan": rng.choice(["basic", "pro"], 2000)}
    >>> drift(good, {"age": rng.normal(44, 9, 2000), "plan": rng.choice(["basic", "pro"], 2000)}).drifted
    ('age',)
    """
    if not 0 < alpha < 1:
        raise StateError(f"alpha is {alpha!r}; the share of false findings lies between 0 and 1")
    if looks < 1:
        raise StateError(f"looks is {looks!r}; it counts the pairs of tables that are decided together, one at least")
    named = tuple(categories)
    a, b = summarise(reference, named), summed(current, named)
    if not a.columns:
        raise StateError("the reference has no columns; give a table of the model's good days")
    names = [*a.columns, *(name for name in b.columns if name not in a.columns)]
    plain = {name: _not_compared(name, a, b) for name in names}
    compared = [i for i, name in enumerate(names) if plain[name] is None]
    among = _Among(max(len(compared), 1) * looks, alpha)
    found = _compared([names[i] for i in compared], a, b, among)
    pairs = [(finding, {}) if (finding := plain[name]) else found[name] for name in names]
    shown = {compared[i] for i in e_bh([pairs[i][0].evidence for i in compared], alpha)}
    findings = [_decided(finding, i in shown, alpha, relevant) for i, (finding, _) in enumerate(pairs)]
    order = sorted(range(len(names)), key=lambda i: (not findings[i].alarm, -findings[i].evidence, i))
    return Drift(tuple(findings[i] for i in order), {names[i]: dict(pairs[i][1]) for i in order if pairs[i][1]}, alpha)


# -- comparing columns ----


def _compared(names: list[str], a: Summary, b: Summary, among: _Among) -> dict[str, tuple[Finding, dict[str, float]]]:
    """The finding on every column whose values are compared, not yet decided, and its distances."""
    found = {}
    for start in range(0, len(names), TOGETHER):
        some = names[start : start + TOGETHER]
        states = [(alike(a.columns[name], b.columns[name]), alike(b.columns[name], a.columns[name])) for name in some]
        views = [_views(mine["kind"], mine["state"], theirs["state"]) for mine, theirs in states]
        logs = iter(log_e_means([one for both in views for one in both]))
        for name, (mine, theirs), both in zip(some, states, views, strict=True):
            found[name] = _values(name, mine, theirs["state"], [(one, next(logs)) for one in both], among)
    return found


def _views(kind: str, a: State, b: State) -> list[Views]:
    """How to look at the values of a column, and at what is missing where something is; vectors are looked at by a classifier."""
    if kind == "vector":
        values = NO_VIEWS
    elif kind == "number":  # the fixed log-buckets
        values = ordered_views(*occupied(a, b)[1:], PARTS)
    else:
        values = category_views(*category_counts(a, b), PARTS[:3], SINGLE)
    missing = [[state["n"], state["missing"]] for state in (a, b)]
    return [values, as_they_are(*missing)] if missing[0][1] + missing[1][1] else [values]


def _not_compared(name: str, a: Summary, b: Summary) -> Finding | None:
    """The finding on a column whose values are not compared; None where they are."""
    if name not in b.columns or name not in a.columns:
        there, where, gone = (a, "current", "reference") if name in a.columns else (b, "the reference", "current")
        why = f"{name}: {there.columns[name]['said']} in {there.rows:,} rows of {gone}, absent from {where}. "
        return _schema(name, b.rows, why + "Tables to compare have the same columns: bring it back, or leave it out")
    mine, theirs = alike(a.columns[name], b.columns[name]), alike(b.columns[name], a.columns[name])
    if mine["kind"] != theirs["kind"] or _of_other_width(mine, theirs):
        why = f"{name}: {mine['said']} in {a.rows:,} rows of the reference, {theirs['said']} in {b.rows:,} rows of current. "
        return _schema(name, b.rows, why + "A column keeps its kind: convert it, or list it in `categories` for both")
    if name == "id" or statistic_of(mine["kind"]) is None:
        moves = {"time": "a time moves on its own: compare its hour or its age"}
        why = "ids are new in every row" if name == "id" else moves.get(mine["kind"], "no numbers or names")
        return _quiet(name, b.rows, f"{name}: not compared: {mine['said']}: {why}")
    if not (a.rows and b.rows):
        why = f"{name}: nothing to compare: {a.rows:,} rows of reference and {b.rows:,} of current"
        return _quiet(name, b.rows, why)
    return None


def _of_other_width(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    widths = {column["state"]["width"] for column in (a, b) if column["kind"] == "vector"} - {0}
    return len(widths) > 1


def _values(
    name: str, column: Mapping[str, Any], b: State, views: list[tuple[Views, float]], among: _Among
) -> tuple[Finding, dict[str, float]]:
    """`views` as `_views` gives them, each with its plain log e-value."""
    a, (values, *gone) = column["state"], views
    weight = 1 - MISSING if gone else 1.0
    if column["kind"] == "vector":
        log_e, found, said = _vectors(column.get("fitted") or basis_of(a), a, b)
        evidence = weight * math.exp(min(log_e, math.log(LARGEST)))
    elif column["kind"] == "number":
        apart = log_apart((a["min"], a["max"], a["n"]), (b["min"], b["max"], b["n"])) if coarse(a, b) else None
        evidence, found, said = among.evidence(*values, weight, apart), numeric_distances(a, b), _said_numbers(a, b)
    else:
        evidence, found, said = among.evidence(*values, weight), category_distances(a, b), _said_categories(a, b)
    evidence = min(evidence + sum(among.evidence(*one, MISSING) for one in gone), LARGEST)
    told = [said, ", ".join(f"{key.replace('_', ' ')} {value:.3g}" for key, value in found.items() if value == value)]
    rows = [state["n"] + state["missing"] for state in (a, b)]
    shares = [state["missing"] / n if n else math.nan for state, n in zip((a, b), rows, strict=True)]
    if any(share > 0 for share in shares):
        told.append(f"missing {shares[0]:.2%} → {shares[1]:.2%} of rows")
    if column["kind"] == "mixed":
        told.append(f"mixed types in the reference ({column['said']}), compared as text: convert it to one type")
    finding = Finding(
        check=NAME, value=found["jensen_shannon"], limit=0.0, evidence=evidence, promise=Promise("fixed"), alarm=False,
        n=rows[1], why=f"{name}: " + "; ".join(part for part in told if part), subject=name,
    )  # fmt: skip
    return finding, found


def _vectors(known: Mapping[str, Any], a: State, b: State) -> tuple[float, dict[str, float], str]:
    """Log e-value, distances, and the change in words; `known` as `luthier.tables.vectors.basis_of` gives it."""
    if not (known and b["n"]):
        few = f"{a['n']:,} vectors of the reference and {b['n']:,} of current: not enough to compare"
        return 0.0, {"jensen_shannon": math.nan}, few
    log_e, found = compared(known, b)
    how = f"told apart with AUC {found['auc']:.2f}" if found["auc"] != 0.5 else "no classifier tells them apart"
    return log_e, found, f"vectors of {a['width']}: {how}"


@dataclass(frozen=True, slots=True)
class _Among:
    """What evidence is for: e-BH at `alpha` over so many `hypotheses`."""

    hypotheses: int
    alpha: float

    def evidence(self, views: Views, log_e: float, weight: float = 1.0, apart: float | None = None) -> float:
        """`weight` times an e-value, of which `log_e` is the plain one; `apart`: the log of one more to average with.

        A tenth is the e-value as it is, which knows no smallest p-value; the rest is what its p-value among draws is worth.
        Where draws cannot be as rare as so many hypotheses ask, and where nothing is drawn, all is the e-value.
        """
        if apart is not None:
            ways = max(len(views), 1)
            log_e = float(np.logaddexp(log_e + math.log(ways), apart)) - math.log(ways + 1)
        plain = weight * math.exp(min(log_e, math.log(LARGEST)))
        level = self.alpha * weight * (1 - PLAIN)
        finest = by_level(self.hypotheses, level)
        if apart is not None or finest < FINEST or not views.sample.any() or views.pooled.sum() >= POOL:
            return plain
        if log_e < math.log(FAINT) or PLAIN * plain >= self.hypotheses / self.alpha:  # not needed for the decision
            return PLAIN * plain
        drawn = margins_p(views.pooled, views.sample, views.log_e, finest)
        return PLAIN * plain + weight * (1 - PLAIN) * by_to_e(drawn, self.hypotheses, level)


def _said_numbers(a: State, b: State) -> str:
    if not (a["n"] and b["n"]):
        return f"no number in {'the reference' if not a['n'] else 'current'}"
    noted = f"; {finer(a, b)}" if coarse(a, b) else ""
    if a["min"] == a["max"] and b["min"] == b["max"]:
        return f"constant: {a['min']:.10g}" + (f" → {b['min']:.10g}" if b["min"] != a["min"] else " in both") + noted
    if noted:
        return f"range {a['min']:.10g} to {a['max']:.10g} → {b['min']:.10g} to {b['max']:.10g}{noted}"
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
