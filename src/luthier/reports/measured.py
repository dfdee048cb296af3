"""What is measured of a window for the performance report: statistics of the task, errors, and the estimate without labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.answers import Answers, Understood
from luthier.names import get
from luthier.stages.drift import Summary, summarise
from luthier.types import Columns, Estimate

__all__ = ["NEWEST", "Reader", "State", "level", "started"]

NEWEST = 5_000  # answers of a window that its estimate without labels rests on


@dataclass(frozen=True, slots=True)
class State:
    """What is kept of a window: rows, statistics by name, the sizes of its errors, and the memory of the estimate."""

    rows: int
    statistics: Mapping[str, Any]
    errors: Summary
    signed: Summary
    memory: Any
    odd: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Reader:
    """How a window is summed up: the statistics of the task and the check that estimates without labels."""

    about: Understood
    statistics: Mapping[str, Any]
    check: Any = None
    start: Any = None
    scale: float = 1.0

    def step(self, state: State | None, part: Any) -> State:
        answers = self.about.read(part)
        seen = {name: one.observe(answers.columns) for name, one in self.statistics.items()}
        memory = self._memory(state, answers)
        fresh = State(
            answers.rows, seen, _errors(self.about, answers), _signed(self.about, answers), memory, answers.odd
        )
        return fresh if state is None else self._merged(state, fresh)

    def _memory(self, state: State | None, answers: Answers) -> Any:
        if self.check is None:
            return None
        before = self.start if state is None else state.memory
        return self.check.step(before, _for_check(self.about, answers, self.scale))[0] if answers.rows else before

    def _merged(self, a: State, b: State) -> State:
        merged = {name: one.merge(a.statistics[name], b.statistics[name]) for name, one in self.statistics.items()}
        odd = {name: a.odd.get(name, 0) + b.odd.get(name, 0) for name in {**a.odd, **b.odd}}
        return State(a.rows + b.rows, merged, a.errors.merge(b.errors), a.signed.merge(b.signed), b.memory, odd)

    def metrics(self, state: State) -> dict[str, Estimate]:
        read = {name: one.read(state.statistics[name]) for name, one in self.statistics.items()}
        return _regression(read) if self.about.task == "regression" else _classification(self.about, read)

    def labelled(self, state: State) -> int:
        """Rows with both an answer and a target."""
        name = "regression" if self.about.task == "regression" else "confusion"
        return int(state.statistics[name]["n"])

    def estimated(self, state: State) -> tuple[dict[str, Estimate], str]:
        """Metrics estimated without labels, by name, and why there are none or what they rest on."""
        if self.check is None:
            return {}, ""
        reading = self.check.read(state.memory)
        if not reading.valid:
            return {}, reading.why
        if self.about.task == "regression":
            return {"mae": _scaled(reading.estimate, self.scale)}, reading.why.replace(
                "estimated loss", "estimated error"
            )
        found = self.check.estimates(state.memory)
        return _classification_estimates(self.about, found) | {"accuracy": reading.estimate}, reading.why


def started(about: Understood, reference: Any) -> tuple[Reader, State]:
    answers = about.read(reference)
    plain = Reader(about, _statistics(about, answers.columns))
    base = plain.step(None, reference)
    if not about.features or not ("confidence" in answers.columns or about.task == "regression"):
        return plain, base
    sizes = answers.columns["size"] if about.task == "regression" else np.zeros(0)
    scale = float(np.nanmax(sizes)) if np.isfinite(sizes).any() else 1.0
    known = _for_check(about, answers, scale or 1.0)
    names = tuple(name for name in known if name.startswith("in:") or name == "embedding")
    kind = get("check", "loss_free.v1" if about.task == "regression" else "label_free.v2")
    check = kind(window=NEWEST, columns=names)
    return Reader(about, plain.statistics, check, check.start(known), scale or 1.0), base


def _statistics(about: Understood, columns: Columns) -> dict[str, Any]:
    if about.task == "regression":
        return {"regression": get("statistic", "regression.v1")()}
    found = {"confusion": get("statistic", "confusion.v1")()}
    if "score" in columns:
        found["curves"] = get("statistic", "curves.v1")(target="is_positive")
        found["calibration"] = get("statistic", "calibration.v1")(probability="score", outcome="positive", bins=10)
        found["log_loss"] = get("statistic", "log_loss.v1")(probability="score", target="is_positive", of="positive")
    elif "probabilities" in columns:
        found["log_loss"] = get("statistic", "log_loss.v1")(probability="probabilities", of="classes")
    if "calibration" not in found and "confidence" in columns:
        found["calibration"] = get("statistic", "calibration.v1")(bins=10)
    return {name: _Renamed(one, about.positive) for name, one in found.items()}


@dataclass(frozen=True, slots=True)
class _Renamed:
    """A statistic on columns in which the positive class is 1, whatever its index is."""

    inner: Any
    positive: int

    def observe(self, columns: Columns) -> Any:
        target = columns["target"]
        if self.positive < 0:
            return self.inner.observe(columns)
        is_positive = np.where(target < 0, -1, (target == self.positive).astype(np.int64))
        named = {"target": is_positive} if type(self.inner).__name__ == "Calibration" else {}
        return self.inner.observe({**columns, "is_positive": is_positive, **named})

    def merge(self, a: Any, b: Any) -> Any:
        return self.inner.merge(a, b)

    def read(self, state: Any) -> Mapping[str, Estimate]:
        found: Mapping[str, Estimate] = self.inner.read(state)
        return found


def _for_check(about: Understood, answers: Answers, scale: float) -> dict[str, Any]:
    """The columns by which accuracy, or the mean error as a share of `scale`, is estimated without labels."""
    columns = answers.columns
    kept = {name: values for name, values in columns.items() if name.startswith("in:") or name == "embedding"}
    if about.task == "regression":
        kept["in:predicted"] = columns["predicted"]
        return kept | {"loss": np.minimum(columns["size"] / scale, 1.0)}
    return kept | {name: columns[name] for name in ("confidence", "predicted", "target", "loss")}


def _errors(about: Understood, answers: Answers) -> Summary:
    """What the evidence compares: whether each answer was wrong, or the size of its error; unlabelled rows left out."""
    values = answers.columns["size" if about.task == "regression" else "loss"]
    known = values[np.isfinite(values)]
    if about.task == "regression":
        return summarise({"error": known})
    return summarise({"error": known.astype(np.int64)}, ("error",))


def _signed(about: Understood, answers: Answers) -> Summary:
    if about.task != "regression":
        return Summary()
    values = answers.columns["error"]
    return summarise({"error": values[np.isfinite(values)]})


def _classification(about: Understood, read: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Estimate]:
    found = read["confusion"]
    if about.task == "binary":
        i = about.positive
        made = {"accuracy": found["accuracy"]}
        made |= {name: found.get(f"{name}[{i}]", Estimate()) for name in ("precision", "recall", "f1")}
    else:
        made = {
            name: found[name] for name in ("accuracy", "precision_macro", "recall_macro", "f1_macro", "f1_weighted")
        }
    made["balanced_accuracy"] = found["balanced_accuracy"]
    for name, source in (("roc_auc", "curves"), ("average_precision", "curves"), ("log_loss", "log_loss"), ("brier", "log_loss"), ("ece", "calibration")):  # fmt: skip
        if source in read:
            made[name] = read[source][name]
    return made


def _classification_estimates(about: Understood, found: Mapping[str, Estimate]) -> dict[str, Estimate]:
    names = {name: name for name in ("accuracy", "precision_macro", "recall_macro", "f1_macro")}
    if about.task == "binary":
        i = about.positive
        names = {f"{name}[{i}]": name for name in ("precision", "recall", "f1")} | {"auroc": "roc_auc"}
    return {ours: found[theirs] for theirs, ours in names.items() if theirs in found}


def _regression(read: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Estimate]:
    return {name: read["regression"][name] for name in ("mae", "rmse", "bias", "r2")}


def _scaled(one: Estimate, by: float) -> Estimate:
    return Estimate(one.value * by, one.n, one.low * by, one.high * by)


def level(state: State) -> float:
    """The mean size of the errors: 0 to 1, or in the target's unit."""
    about = state.errors.columns.get("error")
    if about is None or not about["state"]["n"]:
        return math.nan
    if "names" not in about["state"]:
        read = state.statistics["regression"]
        return float(get("statistic", "regression.v1")().read(read)["mae"].value)
    counts = dict(zip(about["state"]["names"].tolist(), about["state"]["counts"].tolist(), strict=True))
    return float(counts.get("1", 0)) / int(about["state"]["n"])
