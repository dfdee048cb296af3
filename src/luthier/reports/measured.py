"""What is measured of a window for the performance report: metrics of the task, errors, and the estimate without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from luthier.errors import StateError
from luthier.fewlabels.support import names_of as names_near
from luthier.names import get
from luthier.scoring import Scoring
from luthier.scoring.aliases import theirs
from luthier.scoring.buckets import Metric, metrics_of, read
from luthier.tables.frames import columns_of
from luthier.tables.summaries import Summary, summarise
from luthier.tables.tabular import names_of, part_of, rows_of
from luthier.types import Columns, Estimate

__all__ = ["MAIN", "NEWEST", "Reader", "State", "Wrong", "started"]

NEWEST = 5_000  # answers of a window that its estimate without labels rests on
_CLASSES = ("precision_macro", "recall_macro", "f1_macro", "f1_weighted", "balanced_accuracy", "log_loss", "ece")
_SHOWN = {
    "binary": ("accuracy", "precision", "recall", "f1", "balanced_accuracy", "roc_auc", "average_precision", "log_loss",
               "brier", "ece"),
    "multiclass": ("accuracy", *_CLASSES),
    "multilabel": ("hamming_loss", "subset_accuracy", "precision_micro", "recall_micro", "f1_micro", "f1_macro"),
    "regression": ("mae", "rmse", "bias", "r2"),
    "ranking": ("ndcg", "precision", "recall", "hit_rate", "mrr", "map"),
    "tokens": ("accuracy", *_CLASSES[:5]),
    "loss": ("loss",),
}  # fmt: skip
MAIN = {task: names[0] for task, names in _SHOWN.items()}
"""Task to the metric that stands for it."""
_READ = ("target", "predicted", "probabilities", "loss", "confidence", "gains", "ideal", "scores")
_LATE = ("target", "loss", "gains", "ideal")


@dataclass(frozen=True, slots=True)
class Wrong:
    """A rule that rows of a column broke, and the way out."""

    column: str
    rule: str
    way_out: str


@dataclass(frozen=True, slots=True)
class State:
    """What is kept of a window: rows, those with a loss, statistics by name, errors, the memory of the estimate, and how
    many rows were left out for what is wrong with them."""

    rows: int
    labelled: int
    statistics: Mapping[str, Any]
    errors: Summary
    signed: Summary
    memory: Any
    odd: Mapping[Wrong, int]


@dataclass(frozen=True, slots=True)
class Reader:
    """How a window is read and summed up. `needed`: what the reference has beside its targets; `features`: numeric inputs."""

    scoring: Scoring
    needed: tuple[str, ...]
    features: tuple[str, ...]
    metrics: tuple[Metric, ...] = ()
    check: Any = None
    start: Any = None
    scale: float = 1.0

    @property
    def main(self) -> str:
        return MAIN[self.scoring.task]

    def read(self, part: Any) -> tuple[dict[str, np.ndarray], dict[Wrong, int]]:
        """The scored columns of the rows that can be used, and how many cannot.

        Raises StateError when a column that the reference had is not there.
        """
        there = names_of(part)
        if missing := [name for name in self.needed if name not in there]:
            raise StateError(
                f"column {missing[0]!r} is in the reference and not here; there are {', '.join(there)}. Name it alike in both"
            )
        given = {name for ours in _READ for name in theirs(self.scoring.names.get(ours, ours))}
        wanted = [name for name in there if name in given or name in self.features]
        odd: dict[Wrong, int] = {}
        left_out = np.zeros(rows_of(part), bool)

        def judge(name: str, wrong: np.ndarray, values: Any, rule: str, way_out: str) -> None:
            nonlocal left_out
            if wrong.any():
                odd[Wrong(name, rule, way_out)] = int(wrong.sum())
                left_out = left_out | wrong

        columns = self.scoring.score(self.scoring.read(part_of(part, names=wanted)), judge)
        if self.scoring.task == "regression" and "predicted" in columns:
            said = columns["predicted"]
            judge("predicted", np.isinf(said), said, "are infinite", "An answer is a number, or missing")
        return {name: values[~left_out] for name, values in columns.items()} if odd else columns, odd

    def step(self, state: State | None, part: Any) -> State:
        columns, odd = self.read(part)
        seen = {
            one.name: one.observe(columns, slice(None)) if columns.keys() >= {*one.needs} else one.statistic.observe({})
            for one in self.metrics
        }
        memory = self.start if state is None else state.memory
        if self.check is not None and rows_of(columns):
            memory = self.check.step(memory, self.for_check(columns))[0]
        errors, signed = _summed(self.scoring.task, columns)
        labelled = int(np.isfinite(columns["loss"]).sum()) if "loss" in columns else 0
        fresh = State(rows_of(part), labelled, seen, errors, signed, memory, odd)
        return fresh if state is None else self._merged(state, fresh)

    def for_check(self, columns: Columns) -> dict[str, np.ndarray]:
        """The columns by which the mean loss, or the mean error as a share of `scale`, is estimated without labels."""
        kept = {name: columns[name] for name in self.features if name in columns}
        if self.main == "mae":
            size = np.abs(_errors_of(columns)) / self.scale
            near = {} if "embedding" in kept else {"predicted": columns["predicted"]}
            return kept | near | {"loss": np.minimum(size, 1.0)}
        said = {name: columns[name] for name in ("confidence", "predicted", "target", "loss") if name in columns}
        return kept | {name: values for name, values in said.items() if values.ndim == 1}

    def level(self, state: State) -> float:
        """The mean loss, 0 to 1, or the mean size of errors in the target's unit; NaN without a label."""
        metric, name = ("regression", "mae") if self.main == "mae" else ("loss", "loss")
        return read([one for one in self.metrics if one.name == metric], [state.statistics], None)[name].value

    def _merged(self, a: State, b: State) -> State:
        merged = {one.name: one.statistic.merge(a.statistics[one.name], b.statistics[one.name]) for one in self.metrics}
        odd = {name: a.odd.get(name, 0) + b.odd.get(name, 0) for name in {**a.odd, **b.odd}}
        errors, signed = a.errors.merge(b.errors), a.signed.merge(b.signed)
        return State(a.rows + b.rows, a.labelled + b.labelled, merged, errors, signed, b.memory, odd)

    def measured(self, state: State) -> dict[str, Estimate]:
        """The metrics of the task by name; of a binary one precision, recall and F1 are those of the positive label."""
        found = read(self.metrics, [state.statistics], None)
        found |= {
            name: found.get(f"{name}[1]", Estimate()) for name in ("precision", "recall", "f1") if "accuracy" in found
        }
        return {name: found[name] for name in _SHOWN[self.scoring.task] if name in found}

    def estimated(self, state: State) -> tuple[dict[str, Estimate], str]:
        """Metrics estimated without labels, by name, and why there are none or what they rest on."""
        if self.check is None:
            return {}, ""
        reading = self.check.read(state.memory)
        if not reading.valid:
            return {}, reading.why
        one = reading.estimate
        if self.main == "mae":
            scaled = Estimate(one.value * self.scale, one.n, one.low * self.scale, one.high * self.scale)
            return {"mae": scaled}, reading.why.replace("estimated loss", "estimated error")
        if self.main != "accuracy":  # the check tells accuracy, 1 - the mean loss
            return {self.main: Estimate(1 - one.value, one.n, 1 - one.high, 1 - one.low)}, reading.why
        found = {
            "roc_auc" if name == "auroc" else name: one for name, one in self.check.estimates(state.memory).items()
        }
        if self.scoring.task == "binary":
            found |= {name: found[f"{name}[1]"] for name in ("precision", "recall", "f1") if f"{name}[1]" in found}
        shown = {name: found[name] for name in _SHOWN[self.scoring.task] if name in found}
        return shown | {"accuracy": reading.estimate}, reading.why


def started(
    reference: Any, task: str | Scoring | None, columns: Mapping[str, Any], times: Sequence[str]
) -> tuple[Reader, State]:
    """How to read tables like the reference, and what it holds. `times`: columns that tell nothing of a row's place.

    Raises StateError when there is no target or no answer among its columns, or `columns` names one that is not there.
    """
    named, there = Scoring.of(reference, task, columns), names_of(reference)
    mine = {ours: theirs(named.names.get(ours, ours)) for ours in _READ}
    mine = {ours: names for ours, names in mine.items() if all(name in there for name in names)}
    if odd := [f"{one!r} as {ours}" for ours, one in columns.items() if ours in _READ and ours not in mine]:
        raise StateError(f"columns name {odd[0]}, and there is no such column; there are {', '.join(there)}")
    if not ({"loss", "gains"} & mine.keys() or ("target" in mine and {"predicted", "probabilities"} & mine.keys())):
        lacking = "target" if "target" not in mine else "predicted (or probabilities)"
        raise StateError(
            f"no column of the reference is the {lacking}; there are {', '.join(there)}. Say which one is: "
            f'columns={{"target": …, "predicted": …}}'
        )
    used = {name for names in [*mine.values(), *map(theirs, columns.values())] for name in names}
    features = _features(part_of(reference, names=[name for name in there if name not in used and name not in times]))
    raw = named.read(part_of(reference, names=[name for name in there if name in used or name in features]))
    scoring = named.learn(raw)
    scored = scoring.score(raw)
    needed = tuple(name for ours, names in mine.items() if ours not in _LATE for name in names)
    metrics = tuple(one for one in metrics_of(scoring) if scored.keys() >= {*one.needs})
    reader = Reader(scoring, needed, features, metrics)
    return _guessing(reader, scored), reader.step(None, reference)


def _features(inputs: Any) -> tuple[str, ...]:
    """The columns that say where a row lies: `embedding`, or all numbers that are neither ids nor times."""
    empty = {"number": np.zeros(0), "vector": np.zeros((0, 1))}
    kinds = {one.name: empty[one.kind] for one in columns_of(inputs) if one.kind in empty}
    return tuple(names_near(kinds, ()))


def _guessing(reader: Reader, scored: Columns) -> Reader:
    """The reader with the check that estimates its main metric without labels, where there can be one."""
    numbers = reader.main == "mae"
    if not reader.features or not (
        numbers or ("confidence" in scored and reader.main in ("accuracy", "hamming_loss", "loss"))
    ):
        return reader
    sizes = np.abs(_errors_of(scored)) if numbers else np.zeros(0)
    scale = float(np.nanmax(sizes)) if np.isfinite(sizes).any() else 1.0
    reader = replace(reader, scale=scale or 1.0)
    known = reader.for_check(scored)
    names = tuple(name for name in known if name in reader.features or (name == "predicted" and numbers))
    check = get("check", "loss_free.v1" if numbers else "label_free.v2")(window=NEWEST, columns=names)
    return replace(reader, check=check, start=check.start(known))


def _errors_of(columns: Columns) -> np.ndarray:
    """predicted - target (n,), NaN where one is unknown or infinite."""
    if "target" not in columns:
        return np.full(rows_of(columns), np.nan)
    with np.errstate(invalid="ignore"):
        error = columns["predicted"] - columns["target"]
    return np.where(np.isfinite(error), error, np.nan)


def _summed(task: str, columns: Columns) -> tuple[Summary, Summary]:
    """What the evidence compares, the losses or the sizes of errors, and errors with their sign; unlabelled rows left out."""
    if task == "regression":
        error = _errors_of(columns)
        error = error[~np.isnan(error)]
        return summarise({"error": np.abs(error)}), summarise({"error": error})
    loss = columns.get("loss", np.zeros(0))
    loss = loss[~np.isnan(loss)]
    if task in ("binary", "multiclass"):  # right or wrong
        return summarise({"error": loss.astype(np.int64)}, ("error",)), Summary()
    return summarise({"error": loss}), Summary()
