"""The performance report: metrics with intervals of one window or a series, beside the reference and without labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from luthier.errors import StateError
from luthier.reports.base import Report, Series, Window, decided, fold, plural
from luthier.reports.measured import NEWEST, Reader, State, started
from luthier.scoring import Scoring
from luthier.stages.drift import drift
from luthier.statistics.calibration import reliability
from luthier.statistics.confusion import matrix
from luthier.statistics.curves import precision_recall, roc
from luthier.tables.sheets import Cell, Figure, Grid, Mark, Section, Sheet, bars_of
from luthier.tables.tabular import Table, is_table, parts_of
from luthier.types import Estimate, Finding, Promise

__all__ = ["report"]

_PANELS = (
    "loss",
    "hamming_loss",
    "ndcg",
    "accuracy",
    "roc_auc",
    "f1",
    "f1_macro",
    "log_loss",
    "ece",
    "mae",
    "rmse",
    "bias",
    "r2",
)
_CURVE = 400  # points of a drawn curve
_CLASSES = 40  # classes whose confusion matrix is drawn
_LOWER = ("loss", "hamming_loss", "log_loss", "brier", "ece", "mae", "rmse")
"""Metrics that are better when smaller."""


def report(
    reference: Table, current: Table, series: Series, *, title: str, alpha: float, task: str | Scoring | None,
    columns: Mapping[str, Any],
) -> Report:  # fmt: skip
    """Metrics of every window with intervals beside the reference's; an alarm where the errors grew, by e-BH.

    Raises StateError when the reference is no table, has no target or answers, or no labelled row.
    """
    known = reference if is_table(reference) else _one(reference)
    times = [series.at] if isinstance(series.at, str) else []
    reader, base = started(known, task, columns, times)
    if not base.labelled:
        raise StateError("the reference has no labelled row: give the model's good days with their targets")
    states, left_out = fold(current, series, reader.step)
    if not states:
        raise StateError("the current table has no part at all; give a table, if need be one without rows")
    findings = _findings(reader, base, states, series, alpha)
    loud = {one.slice for one in findings if one.alarm and one.promise.kind != "none"}
    measured = {window: reader.measured(state) for window, state in states.items()}
    guessed = {window: reader.estimated(state) for window, state in states.items()}
    good = reader.measured(base)
    items = [item for window in states for item in _items(window, good, measured[window], guessed[window])]
    sections = (_series if series.cuts else _single)(reader, base, states, measured, guessed, loud)
    notes = _notes(reader, alpha, guessed, series, left_out, _contradicted(reader, measured, guessed))
    sheet = Sheet(
        title, _headline(reader, good, states, measured, guessed, findings, series), _status(reader, states, loud),
        _facts(reader, base, states, measured, guessed), sections, notes,
    )  # fmt: skip
    return Report("performance", findings, tuple(items), tuple(states), sheet)


def _one(stream: Iterable[Any]) -> Any:
    """The parts of a reference as one Arrow table: estimates without labels look at its rows."""
    import narwhals as nw
    import pyarrow as pa

    try:
        tables = [
            pa.table(part) if isinstance(part, Mapping) else nw.from_native(part, eager_only=True).to_arrow()
            for part in parts_of(stream)
        ]
        return pa.concat_tables(tables or [pa.table({})])
    except (TypeError, pa.ArrowException) as error:
        raise StateError(f"the parts of the reference make no table ({error}): give it as one table") from error


# -- judging ----


def _findings(
    reader: Reader, base: State, states: Mapping[Window, State], series: Series, alpha: float
) -> tuple[Finding, ...]:
    """One finding a window on its errors, and one for what cannot be used."""
    found = []
    for window, state in states.items():
        name = window.name if series.cuts else ""
        one = drift(base.errors, state.errors).finding("error")
        found.append(
            replace(
                one,
                slice=name,
                value=reader.level(state),
                limit=reader.level(base),
                why=_why(reader, base, state, window, series),
            )
        )
        found += [
            Finding("answers", count, 0.0, 1.0, Promise("none"), True, state.rows, f"{window.name}: column {one.column!r}: {count:,} of {state.rows:,} rows {one.rule}; they are left out. {one.way_out}", one.column, name)
            for one, count in state.odd.items()
        ]  # fmt: skip
    worse = {one.slice for one in found if one.check != "answers" and one.value > one.limit}
    return decided(found, alpha, lambda one: one.slice in worse)


def _why(reader: Reader, base: State, state: State, window: Window, series: Series) -> str:
    before, after = reader.level(base), reader.level(state)
    what = {"mae": "mean absolute error", "accuracy": "share of wrong answers"}.get(reader.main, "mean loss")
    if math.isnan(after):
        return f"{window.name}: no labelled row among {state.rows:,}: the {what} is unknown"
    return (
        f"{window.name}: {what} {after:.4g} in {state.labelled:,} labelled rows, {before:.4g} in "
        f"{base.labelled:,} of the reference"
    )


def _apart(a: Estimate, b: Estimate) -> bool:
    """Whether two intervals have nothing in common."""
    return a.low > b.high or a.high < b.low


def _items(
    window: Window,
    good: Mapping[str, Estimate],
    seen: Mapping[str, Estimate],
    guess: tuple[Mapping[str, Estimate], str],
) -> list[dict[str, Any]]:
    return [
        {
            "window": window.name, "start": window.start, "end": window.end, "metric": name, "measured": one,
            "reference": good[name], "apart": _apart(one, good[name]), "estimated": guess[0].get(name, Estimate()),
            "estimated_why": guess[1],
        }
        for name, one in seen.items()
    ]  # fmt: skip


# -- telling ----


def _said(one: Estimate) -> str:
    return f"{one.value:.4g} ({one.low:.4g} to {one.high:.4g})" if one.n else "unknown"


def _headline(
    reader: Reader, good: Mapping[str, Estimate], states: Mapping[Window, State], measured: Mapping[Window, Any],
    guessed: Mapping[Window, Any], findings: Sequence[Finding], series: Series,
) -> str:  # fmt: skip
    name, rows = reader.main, sum(state.rows for state in states.values())
    word = {"mae": "Mean absolute error", "ndcg": "NDCG"}.get(name, name.replace("_", " ").capitalize())
    reference = f"{_said(good[name])} on the reference"
    loud = [one for one in findings if one.alarm and one.promise.kind != "none"]
    if not rows:
        return f"The current table has no rows: nothing is known. {word} was {reference}."
    if series.cuts:
        order = [window.name for window in states]
        bad = sorted(order.index(one.slice) for one in loud)
        if bad:
            return f"Errors grew in {len(bad):,} of {plural(len(order), 'window')}, first in {order[bad[0]]}. {word} was {reference}."
        labelled = sum(state.labelled > 0 for state in states.values())
        return f"No growth of errors is shown in {plural(labelled, 'window')} with labels, of {len(order):,}. {word} was {reference}."
    (window,) = states
    one, (guess, why) = measured[window][name], guessed[window]
    if one.n:
        grew = "The errors grew" if loud else "No growth of errors is shown"
        return f"{word} is {_said(one)}, {reference}. {grew}."
    if name in guess:
        return f"No labels: {word.lower()} is estimated at {_said(guess[name])}; it was {reference}."
    return f"No labels, so {word.lower()} is unknown{f' ({why})' if why else ''}; it was {reference}."


def _status(reader: Reader, states: Mapping[Window, State], loud: set[str]) -> Mark:
    if loud:
        return Mark("errors grew", "bad")
    labelled = any(state.labelled for state in states.values())
    return Mark("no growth shown", "good") if labelled else Mark("no labels")


def _facts(
    reader: Reader, base: State, states: Mapping[Window, State], measured: Mapping[Window, Any], guessed: Mapping[Window, Any]
) -> list[tuple[str, str, str]]:  # fmt: skip
    rows, labelled = sum(one.rows for one in states.values()), sum(one.labelled for one in states.values())
    valid = sum(bool(guess) for guess, _ in guessed.values())
    found = [
        ("answers", f"{rows:,}", f"in {plural(len(states), 'window')}" if len(states) > 1 else "rows of current"),
        ("labelled", f"{labelled:,}", f"{labelled / rows:.0%} of the answers" if rows else "no rows"),
        ("reference", f"{base.labelled:,}", "labelled rows"),
    ]
    if reader.check is not None:
        found.append(("estimated without labels", f"{valid} of {len(states)}", "windows where the estimate is valid"))
    return found


def _contradicted(reader: Reader, measured: Mapping[Window, Any], guessed: Mapping[Window, Any]) -> list[str]:
    """Windows in which labels say that the estimate without them is wrong: the interval of one and the other are apart."""
    name = reader.main
    return [w.name for w, (guess, _) in guessed.items() if name in guess and _apart(guess[name], measured[w][name])]


def _notes(
    reader: Reader, alpha: float, guessed: Mapping[Window, Any], series: Series, left_out: int,
    contradicted: Sequence[str],
) -> tuple[str, ...]:  # fmt: skip
    found = [
        f"Read as {reader.scoring.said}.",
        f"An alarm says that the errors are not distributed as the reference's and are larger on average: of the windows "
        f"named, a share of at most {alpha:g} is wrong on average (e-BH over exact e-values). Other metrics are shown with "
        f"95 % intervals; “apart” means that they and the reference's have nothing in common.",
    ]
    why = next((why for guess, why in guessed.values() if not guess and why), "")
    if why:
        found.append(f"Where there is no estimate without labels: {why}.")
    if any(guess for guess, _ in guessed.values()):
        found.append(
            f"Estimates without labels rest on the newest {NEWEST:,} answers of a window, and assume that a confidence (or "
            f"an input, for errors of numbers) means what it meant on the reference."
        )
    if contradicted:
        more = f" and {len(contradicted) - 5} more" if len(contradicted) > 5 else ""
        found.append(
            f"Labels contradict the estimate in {', '.join(contradicted[:5])}{more}: there, believe the labels. What the same "
            f"inputs mean has changed, which no estimate without labels can see."
        )
    if left_out:
        found.append(f"{plural(left_out, 'row')} without a time in column {series.at!r} are in no window")
    return tuple(found)


def _single(
    reader: Reader, base: State, states: Mapping[Window, State], measured: Mapping[Window, Any],
    guessed: Mapping[Window, Any], loud: set[str],
) -> list[Section]:  # fmt: skip
    ((window, state),) = states.items()
    good, seen, (guess, _) = reader.measured(base), measured[window], guessed[window]
    lines: list[list[Cell]] = [
        [
            name.replace("_", " "),
            good[name],
            one,
            _change(name, good[name], one),
            guess.get(name, Estimate()) if guess else None,
        ]
        for name, one in seen.items()
    ]
    grid = Grid(("metric", "reference", "current", "", "estimated without labels"), ("", "number", "number", "", "number"), lines)  # fmt: skip
    return [Section("metrics", "Metrics", "With 95 % intervals.", table=grid), *_pictures(reader, base, state)]


def _change(name: str, before: Estimate, after: Estimate) -> Mark:
    if not _apart(before, after):
        return Mark("")
    up = after.value > before.value
    if name == "bias":
        return Mark("apart")
    return Mark("worse", "bad") if up == (name in _LOWER) else Mark("better", "good")


def _pictures(reader: Reader, base: State, state: State) -> list[Section]:
    """What only one window can show: confusion, curves, reliability, or the distribution of errors."""
    if reader.main == "mae":
        sides = [one.signed.columns.get("error") for one in (base, state)]
        bars = bars_of("number", sides[0]["state"], sides[1]["state"]) if sides[0] and sides[1] else None
        lede = "How far answers lie from the truth; the reference in grey, current before it. Right of the middle: too high."
        table = Grid(("", "reference and current"), ("", ""), [["predicted − target", bars]])
        return [Section("errors", "Errors", lede, table=table)]
    found = [_matrix(reader, state)] if state.labelled and "confusion" in state.statistics else []
    if "curves" in state.statistics:
        about = {name: _curve(one.statistics["curves"]) for name, one in (("reference", base), ("current", state))}
        found.append(Section("curves", "ROC and precision–recall", "", [Figure("curves_of_scores", about, "ROC and precision–recall curves")]))  # fmt: skip
    if "calibration" in state.statistics:
        said = "score" if "curves" in state.statistics else "confidence"
        sides_ = {name: reliability(one.statistics["calibration"]) for name, one in (("reference", base), ("current", state))}  # fmt: skip
        lede = f"On the dashed line a {said} of 0.8 comes true 8 times in 10; below it the model is too sure."
        found.append(Section("reliability", "Reliability", lede, [Figure("reliability", {**sides_, "said": said}, "reliability curve")]))  # fmt: skip
    return found


def _matrix(reader: Reader, state: State) -> Section:
    seen, counts = matrix(state.statistics["confusion"])
    names = [str((reader.scoring.labels or seen)[int(i)]) for i in seen]
    lines: list[list[Cell]] = [
        [there, here, int(counts[i, j]), int(counts[i, j]) / max(int(counts[i].sum()), 1)]
        for i, there in enumerate(names)
        for j, here in enumerate(names)
        if counts[i, j] and i != j
    ]
    lines.sort(key=lambda line: -int(str(line[2])))
    figures = (
        [Figure("confusion", {"classes": names, "counts": counts.tolist()}, "confusion matrix")] if len(names) <= _CLASSES else []
    )  # fmt: skip
    table = Grid(("target", "answered", "rows", "share of the target"), ("", "", "number", "number"), lines[:10])
    return Section("confusion", "Confusion", "Targets down, answers across; below, the most frequent mistakes.", figures, table)  # fmt: skip


def _curve(state: Any) -> dict[str, list[float]]:
    """ROC and precision–recall at up to 400 points each; empty where a class was never seen."""
    false, true, _ = roc(state)
    precision, recall, _ = precision_recall(state)
    if np.isnan(false).any() or np.isnan(true).any():
        return {}
    found: dict[str, list[float]] = {}
    for names, pair in ((("false", "true"), (false, true)), (("recall", "precision"), (recall, precision))):
        kept = np.unique(np.linspace(0, len(pair[0]) - 1, _CURVE).round().astype(int))
        found |= {name: values[kept].round(5).tolist() for name, values in zip(names, pair, strict=True)}
    return found


def _series(
    reader: Reader, base: State, states: Mapping[Window, State], measured: Mapping[Window, Any],
    guessed: Mapping[Window, Any], loud: set[str],
) -> list[Section]:  # fmt: skip
    good, windows = reader.measured(base), list(states)
    drawn = [
        name for name in _PANELS if name in good and any(measured[w][name].n or name in guessed[w][0] for w in windows)
    ][:5]
    panels = [
        {
            "metric": name.replace("_", " "), "reference": good[name], "values": [measured[w][name] for w in windows],
            "estimated": [guessed[w][0].get(name, Estimate()) for w in windows],
            "loud": [w.name in loud and name == reader.main for w in windows],
        }
        for name in drawn
    ]  # fmt: skip
    figure = Figure("metrics", {"windows": [w.name for w in windows], "metrics": panels}, "metrics over windows")
    shown = list(dict.fromkeys([reader.main, *drawn]))[:4]
    lines: list[list[Cell]] = [
        [
            w.name, states[w].rows, states[w].labelled, Mark("errors grew", "bad") if w.name in loud else Mark(""),
            *(measured[w][name] if measured[w][name].n else None for name in shown), _guess(reader, guessed[w]),
        ]
        for w in windows
    ]  # fmt: skip
    heads = (
        "window",
        "rows",
        "labelled",
        "",
        *(name.replace("_", " ") for name in shown),
        f"{reader.main} without labels",
    )
    kinds = ("number", "number", "number", "", *("number" for _ in shown), "number")
    lede = "Blue is measured, with its interval, red an alarm; orange is estimated without labels; the grey band is the reference's interval."
    return [
        Section("series", "Metrics over windows", lede, [figure]),
        Section(
            "windows", "Windows", "“Unknown” is said with its reason in the JSON.", table=Grid(heads, kinds, lines)
        ),
    ]


def _guess(reader: Reader, guess: tuple[Mapping[str, Estimate], str]) -> Cell:
    if reader.main in guess[0]:
        return guess[0][reader.main]
    return "unknown" if guess[1] else None
