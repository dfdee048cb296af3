"""What an answer and its target are worth: one loss in [0, 1] a row, 0 right, for every kind of task.

| task | loss of a row |
|---|---|
| binary, multiclass | 0 where `predicted` is `target`, else 1 |
| multilabel | share of the labels that are wrong (Hamming) |
| regression | min(|predicted - target| / scale, 1) |
| ranking | 1 - NDCG of the first k |
| tokens | share of a sequence's tokens that are wrong, those without a target left out |
| loss | the column `loss`, or 0/1 for plain labels |

A row without a target has loss NaN, a target without a usable answer loss 1. A column `loss` always goes first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from luthier.errors import StateError
from luthier.scoring.aliases import in_order_of, recognised, theirs
from luthier.scoring.probabilities import derived, proper, row_mean, upright
from luthier.statistics.ranking import metrics
from luthier.tables import Judge, arrays, first_wrong, floats, has_lists, is_matrix, matrix, objects, padded
from luthier.tables.labels import (
    absent,
    aligned,
    as_labels,
    codes,
    distinct,
    fractions,
    is_text,
    listed,
    named,
    no_amounts,
    one_a_row,
    plain,
    sets,
)

__all__ = ["TASKS", "Scoring"]

TASKS = ("binary", "multiclass", "multilabel", "regression", "ranking", "tokens", "loss")
Columns: TypeAlias = Mapping[str, np.ndarray]
_Found: TypeAlias = dict[str, np.ndarray]
_MANY = 100  # whole numbers: more different ones than this may be labels or amounts, so the caller must say
_PAIR = ("predicted", "target")
_LISTS = (*_PAIR, "gains", "ideal", "scores")
_IGNORED = -100  # the target of a token that does not count, as in transformers


@dataclass(frozen=True, slots=True)
class Scoring:
    """How answers are scored. `task` "": found from the reference's columns.

    `labels`: all there are, in the order of their indices and of the columns of `probabilities`; the last of two is the
    positive one. None: those of the reference, sorted. `scale`: the error of a regression that counts as 1; NaN: the
    99 % point of the reference's errors. `k`: of NDCG. `normalise`: divide probabilities by their sum where they do not
    sum to 1. `names`: our column names to the tables'. `vectors`: the reference's columns of vectors; other lists are
    not read where a row is no vector of numbers as long as the others. `said`: what was found, in words.
    """

    task: str = ""
    labels: tuple[Any, ...] | None = None
    scale: float = math.nan
    k: int = 10
    normalise: bool = False
    said: str = ""
    names: Mapping[str, Any] = field(default_factory=dict)
    vectors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.task not in ("", *TASKS):
            raise StateError(f"task is {self.task!r}; tasks are {', '.join(TASKS)}")
        if self.scale <= 0 or math.isinf(self.scale):
            raise StateError(f"scale is {self.scale!r}; it is an error above 0, in the unit of the target")

    @classmethod
    def of(cls, reference: Any, task: str | Scoring | None = None, columns: Mapping[str, Any] | None = None) -> Scoring:
        """How tables like the reference are read: `columns`, our names to theirs, and the usual names that it has.

        Raises StateError when it is no table, or where two of its columns may be the same one of ours.
        """
        told = task if isinstance(task, Scoring) else cls(task or "")
        names, labels = recognised(reference, columns or {}, told.labels)
        new = [
            f"{' and '.join(theirs(one))} read as {ours}" for ours, one in names.items() if ours not in (columns or {})
        ]
        return replace(told, names=names, labels=labels, said=", ".join(new))

    def read(self, table: Any) -> _Found:
        """The columns of a table as arrays, under our names; see `luthier.tables.arrays`."""
        return arrays(table, self.names)

    def learn(self, reference: Columns) -> Scoring:
        """What the reference fixes: the task, its labels, the scale. Raises StateError where that cannot be told."""
        task = self.task or _found(reference)
        said = f"task {task}" + ("" if self.task else ", found from the columns")
        scale = self.scale
        if task == "regression" and math.isnan(scale) and "loss" not in reference:
            scale = _scale(reference)
            said += f"; an error of {scale:.6g}, the 99 % point of the reference's, counts as 1"
        texts = [name for name in _PAIR if task == "regression" and name in reference and is_text(reference[name])]
        said += "".join(f"; {name} is text, read as numbers" for name in texts)
        labels = replace(self, task=task)._labels(reference)
        if task == "binary" and labels is not None and len(labels) > 2:
            raise StateError(
                f"this looks like a binary task, but there are {len(labels)} labels, not two: {listed(labels)}. Say "
                f"task='multiclass', and give probabilities one column a label"
            )
        if task == "binary" and self.labels is None and labels is not None:
            upright(labels, reference)
        if labels:
            said += f"; labels {listed(labels)}" + (f", positive {labels[-1]!r}" if task == "binary" else "")
        said += f"; {self.said}" if self.said else ""
        lists = [name for name, values in reference.items() if name not in _LISTS and has_lists(values)]
        vectors = tuple(name for name in lists if is_matrix(reference[name]))
        if other := [name for name in lists if name not in vectors]:
            said += f"; {', '.join(other)} not read: lists of different lengths, or not of numbers"
        return replace(self, task=task, labels=labels, scale=scale, vectors=vectors, said=said)

    def score(self, columns: Columns, judge: Judge = first_wrong) -> _Found:
        """The columns with indices for labels, and with `loss`, `confidence`, `score` … where they follow from them.

        Values that cannot be are for `judge`: by default a StateError that names column, row count, first row and way out.
        """
        found = dict(columns)
        work = {
            "binary": _classes, "multiclass": _classes, "multilabel": _several, "regression": _amounts,
            "ranking": _ranks, "tokens": _tokens,
        }  # fmt: skip
        loss = work.get(self.task, _any)(self, found, judge)
        if loss is not None:
            found.setdefault("loss", loss)
        for name, hint in (
            ("loss", "0 right; scale it by its largest possible value"),
            ("confidence", "a probability"),
        ):
            if name in found:
                values = floats(name, found[name])
                with np.errstate(invalid="ignore"):
                    wrong = (values < 0) | (values > 1)
                judge(name, wrong, values, "are outside [0, 1]", f"{name} must lie in [0, 1], {hint}")
                found[name] = np.where(wrong, np.nan, values) if wrong.any() else values
        lists = [name for name, values in found.items() if has_lists(values)]
        known = {"embedding", "probabilities", *self.vectors}
        kept = {
            name: matrix(name, found[name])
            for name in lists if name not in _LISTS and (name in known or is_matrix(found[name]))
        }  # fmt: skip
        return {name: values for name, values in found.items() if name not in lists} | kept

    def _labels(self, reference: Columns) -> tuple[Any, ...] | None:
        """The labels in the order of their indices; None where there are none, or nothing tells them."""
        pair = [reference[name] for name in _PAIR if name in reference]
        if self.labels is not None or self.task in ("regression", "ranking", "loss"):
            return None if self.labels is None else tuple(self.labels)
        if self.task == "tokens" or (self.task == "multilabel" and any(map(sets, pair))):
            for name in _PAIR:
                if name in reference and not (has_lists(reference[name]) or reference[name].ndim == 2):
                    raise StateError(
                        f"column {name!r} holds one value a row where the other holds lists: give both in one form"
                    )
            tokens = [one for rows in pair for row in rows.tolist() if row is not None for one in row]
            return distinct("target", [one for one in tokens if one is not None and one != _IGNORED]) or None
        if self.task == "multilabel":
            return None
        seen = distinct("target", *(one_a_row("target", one) for one in pair))
        k = _width(reference)
        if k and all(isinstance(one, int) and 0 <= one < k for one in seen):
            return tuple(range(k))
        return in_order_of(self.names.get("probabilities"), seen) or None


# -- the tasks: each completes the columns and gives the loss (n,), or None where it does not follow ----


def _classes(scoring: Scoring, found: _Found, judge: Judge) -> np.ndarray | None:
    more = derived(found["probabilities"], scoring.labels, scoring.normalise, judge) if "probabilities" in found else {}
    for name in _PAIR:
        if name in found:
            found[name] = codes(name, found[name], scoring.labels, judge)
    found.update(
        {name: values for name, values in more.items() if name not in found or name in ("probabilities", "score")}
    )
    if not {*_PAIR} <= found.keys():
        return None
    target = found["target"]
    if "probabilities" in found:
        p = found["probabilities"]
        inside = (target >= 0) & (target < p.shape[1])
        found["target_score"] = np.where(inside, p[np.arange(len(p)), np.where(inside, target, 0)], np.nan)
    return np.where(target >= 0, found["predicted"] != target, np.nan)


def _several(scoring: Scoring, found: _Found, judge: Judge) -> np.ndarray | None:
    if "probabilities" in found:
        found["probabilities"] = p = proper(
            floats("probabilities", matrix("probabilities", found["probabilities"])), judge
        )
        found.setdefault("confidence", row_mean(np.maximum(p, 1 - p)))  # what a calibrated 1 - Hamming loss would be
        found.setdefault("predicted", np.where(np.isnan(p), np.nan, p >= 0.5))
    for name in _PAIR:
        if name in found:
            found[name] = _indicators(name, found[name], scoring.labels, judge)
    if not {*_PAIR} <= found.keys():
        return None
    said, target = found["predicted"], found["target"]
    if said.shape != target.shape:
        raise StateError(f"predicted is {said.shape} and target {target.shape}; they must have the same labels")
    return np.where(np.isnan(target).any(axis=1), np.nan, row_mean(np.where(np.isnan(said), 1.0, said != target)))


def _indicators(name: str, values: np.ndarray, labels: tuple[Any, ...] | None, judge: Judge) -> np.ndarray:
    """Label lists, or rows of 0 and 1, as float64 (n, labels) of 0 and 1, NaN throughout where a row is missing."""
    if labels is None or not named(values, labels):
        rows = floats(name, matrix(name, values))
        if rows.ndim != 2:
            raise StateError(
                f"column {name!r} is {rows.shape}; multilabel takes (n, labels) of 0 and 1, or lists of labels"
            )
        missing = np.isnan(rows).any(axis=1)
        wrong = ~((rows == 0) | (rows == 1)).all(axis=1) & ~missing
        judge(name, wrong, rows, "hold what is neither 0 nor 1", "Give shares between them as `probabilities`")
        return np.where((missing | wrong)[:, None], np.nan, rows)
    sizes = np.array([0 if row is None else len(row) for row in values.tolist()])
    flat = objects([one for row in values.tolist() if row is not None for one in row])
    row = np.repeat(np.arange(len(values)), sizes)
    known = {plain(label): index for index, label in enumerate(labels)}
    place = np.array([known.get(plain(one), -1) for one in flat.tolist()], np.int64)
    strange = np.bincount(row[place < 0], minlength=len(values)) > 0
    judge(
        name, strange, values, f"hold a label that is none of the {len(labels)}: {listed(labels)}",
        "Add it at the end of Scoring(labels=…), or leave these rows out",
    )  # fmt: skip
    whole = np.zeros((len(values), len(labels)))
    whole[row, place] = 1
    whole[strange | [one is None for one in values.tolist()]] = np.nan
    return whole


def _amounts(scoring: Scoring, found: _Found, judge: Judge) -> np.ndarray | None:
    for name in _PAIR:
        if name in found:
            found[name] = floats(name, one_a_row(name, found[name]))
    if not {*_PAIR} <= found.keys() or math.isnan(scoring.scale):
        return None
    said, target = found["predicted"], found["target"]
    judge("target", np.isinf(target), target, "are infinite", "A target is a number, or missing")
    target = np.where(np.isinf(target), np.nan, target)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.minimum(np.abs(said - target) / scoring.scale, 1.0)
    return np.where(np.isnan(target), np.nan, np.where(np.isnan(error), 1.0, error))


def _ranks(scoring: Scoring, found: _Found, judge: Judge) -> np.ndarray | None:
    if "gains" not in found and "target" in found:
        found["gains"] = found.pop("target")
    for name in ("gains", "ideal", "scores"):
        if name in found:
            found[name] = padded(name, found[name])
    if "gains" not in found:
        return None
    with np.errstate(invalid="ignore"):
        wrong = np.asarray(((found["gains"] < 0) | np.isinf(found["gains"])).any(axis=1))
    judge("gains", wrong, found["gains"], "hold a relevance that is negative or infinite", "Relevance is ≥ 0")
    found["gains"] = np.where(wrong[:, None], np.nan, found["gains"]) if wrong.any() else found["gains"]
    ndcg = metrics(found["gains"], found.get("scores"), found.get("ideal"), scoring.k)["ndcg"]
    return np.asarray(np.clip(1 - ndcg, 0.0, 1.0))


def _tokens(scoring: Scoring, found: _Found, judge: Judge) -> np.ndarray | None:
    """`predicted` and `target` become indices (n, longest), -1 beyond the end and where a token does not count."""
    given = {name: [_listed_row(row) for row in found.pop(name)] for name in _PAIR if name in found}
    if len(given) < 2:
        return None
    said, true = given["predicted"], given["target"]
    differ = np.array(
        [s is not None and t is not None and len(s) != len(t) for s, t in zip(said, true, strict=True)], bool
    )
    judge(
        "predicted", differ, said, "have another number of tokens than `target`",
        "Give one label a token, and -100 or None where one does not count",
    )  # fmt: skip
    sizes = np.array([0 if row is None else len(row) for row in true], np.int64)
    fits = zip(said, sizes.tolist(), strict=True)
    said = [s if s is not None and len(s) == n else [None] * n for s, n in fits]  # [] where there is no target
    row = np.repeat(np.arange(len(true)), sizes)
    place = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    for name, rows in (("predicted", said), ("target", true)):
        flat = [None if one == _IGNORED else one for tokens in rows if tokens is not None for one in tokens]
        found[name] = np.full((len(true), int(sizes.max(initial=0))), -1, np.int64)
        found[name][row, place] = codes(name, objects(flat), scoring.labels, partial(_of_rows, judge, row, len(true)))
    counts = found["target"] >= 0
    found["tokens"] = counts.sum(axis=1).astype(np.float64)
    found["tokens_loss"] = (counts & (found["predicted"] != found["target"])).sum(axis=1).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return found["tokens_loss"] / np.where(found["tokens"] > 0, found["tokens"], np.nan)


def _of_rows(
    judge: Judge, row: np.ndarray, n: int, name: str, wrong: np.ndarray, values: Any, rule: str, way_out: str
) -> None:
    """Judge the rows (n,) that hold wrong tokens; `row` of every token."""
    first = dict(zip(row[wrong][::-1].tolist(), values[wrong][::-1].tolist(), strict=True))
    judge(name, np.bincount(row[wrong], minlength=n) > 0, first, rule, way_out)


def _any(scoring: Scoring, found: _Found, judge: Judge) -> np.ndarray | None:
    """The task `loss`: 0 or 1 where answers and targets happen to be there as labels. Text goes: it has no index here."""
    if "probabilities" in found:
        found.update(derived(found["probabilities"], scoring.labels, scoring.normalise, judge) | found)
        del found["probabilities"]
    pair = [found[name] for name in _PAIR if name in found]
    loss = None
    if len(pair) == 2 and "loss" not in found:
        if any(one.ndim != 1 or has_lists(one) or fractions(one) for one in pair):
            raise StateError("the loss of such answers depends on the task: say Monitor(…, task=…), or give `loss`")
        said, true = (as_labels(name, found[name], judge) for name in _PAIR)
        if said.dtype.kind != true.dtype.kind and not (absent(said).all() or absent(true).all()):
            raise StateError("one of `predicted` and `target` holds text, the other numbers: give both in one type")
        alike = said == true if said.dtype.kind == true.dtype.kind else np.zeros(len(said), bool)
        loss = np.where(absent(true), np.nan, ~alike)
    for name in _PAIR:
        if name in found and found[name].dtype.kind not in "biuf":
            del found[name]
    return loss


# -- what a reference tells ----


def _found(reference: Columns) -> str:
    """The task that the columns look like. Raises StateError where they look like two."""
    pair = [reference[name] for name in ("target", "predicted") if name in reference]
    if "gains" in reference:
        return "ranking"
    several = any(has_lists(one) or (one.ndim > 1 and one.shape[1] != 1) for one in pair)
    if several:
        return "multilabel" if "probabilities" in reference or not aligned(pair) else "tokens"
    if "probabilities" in reference:
        return "binary" if _width(reference) == 2 else "multiclass"
    if len(pair) < 2:
        if "target" in reference and "loss" not in reference:
            raise StateError(
                f"there are targets, but no answers of the model (`predicted` or `probabilities`, in [0, 1]) among "
                f"{', '.join(sorted(reference))}. Name yours: columns={{'predicted': …}}; or say task='loss'"
            )
        return "loss"
    if any(map(fractions, pair)):
        return "regression"
    for name in _PAIR:
        no_amounts(name, reference[name], _MANY)
    seen = distinct("target", *pair)
    if len(seen) > _MANY and not isinstance(seen[0], str):
        raise StateError(
            f"`predicted` and `target` hold {len(seen):,} different whole numbers: labels or amounts? Say task='multiclass' "
            f"or task='regression'"
        )
    return "binary" if len(seen) <= 2 else "multiclass"


def _width(reference: Columns) -> int:
    """How many classes the probabilities have, 0 without any."""
    if "probabilities" not in reference:
        return 0
    shape = matrix("probabilities", reference["probabilities"]).shape
    return 2 if len(shape) == 1 else shape[1]


def _scale(reference: Columns) -> float:
    if not {*_PAIR} <= reference.keys():
        raise StateError("a regression needs `predicted` and `target` in the reference, or `loss`, or Scoring(scale=…)")
    with np.errstate(invalid="ignore", over="ignore"):
        said, true = (floats(name, one_a_row(name, reference[name])) for name in _PAIR)
        error = np.abs(said - true)
    error = np.sort(error[np.isfinite(error)])
    scale = float(error[math.ceil(0.99 * len(error)) - 1]) if len(error) else 0.0
    if scale <= 0:
        raise StateError(
            f"the 99 % point of the reference's {len(error):,} errors is 0, so nothing says which error is large: give "
            f"Scoring('regression', scale=…) in the unit of the target"
        )
    return scale


def _listed_row(row: Any) -> list[Any] | None:
    return None if row is None else [plain(one) for one in row]
