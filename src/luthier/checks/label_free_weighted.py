"""How well does the model do on answers nobody has labelled, where their mix has changed?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from luthier.checks.base import Memory, counting_passed_over, passed_over, silent
from luthier.evidence import source_bound
from luthier.evidence.thresholds import limit
from luthier.fewlabels import calibrated, domain, support
from luthier.fewlabels.ranges import first_ranges, range_of
from luthier.names import register
from luthier.types import Columns, Estimate, Finding, Promise

__all__ = ["LabelFreeWeighted", "Reading"]

FEWEST = 50
BENT = 10_000  # reference rows that say how weights move the calibration
FEWEST_EFFECTIVE = 100  # weighted reference rows that a calibration may rest on
CELLS = 64
MOST_CLASSES = 20
NEAR = 500  # reference rows among which neighbours are looked for
OTHERS = 2000  # more of them whose distances say what is usual
GATED = 500  # answers of a window that are looked at by the gate
SOURCE, PLACED = 2000, 30_000  # reference rows that the domain classifier learns from, and that it weights
DRAWS = 400


class Reading(NamedTuple):
    """What the newest answers say: `estimate` of accuracy (1 - mean loss), whether it applies, why, and `labels` to ask.

    `rows`: effective number of reference rows behind the calibration; `weighted`: whether they had to be weighted.
    """

    estimate: Estimate
    valid: bool
    why: str
    labels: int
    rows: float
    weighted: bool


@register("check", "label_free.v2")
@dataclass(frozen=True, slots=True)
class LabelFreeWeighted:
    """Accuracy, confusion, F1 and AUROC estimated from confidence under covariate shift (M-CBPE), where they can be.

    P(right | predicted class, confidence) is fitted on the reference by isotonic regression and averaged over the
    newest `window` answers. Where these differ from the reference, it is refitted with the weights of a domain
    classifier (ridge logistic regression on whitened features and their squares), so that it holds for their mix:
    Bialek, Kivimaki, Kuberski & Perrakis (NeurIPS 2025, arXiv 2401.08348); unless that changes the estimate by less than
    its own standard error, when the reference's curve stays and the change widens the interval. The interval (at `confidence`) is for what
    labels of these answers would show: their own randomness and the error of the weighted calibration.

    Valid only if at most `far` of the answers lie beyond the reference's 95 % point of the distance to the 5th
    neighbour, their mean distance is quiet either way, the weighted reference has their mean and is worth at least
    100 rows; else the value is nan and `why` says how many labels give ± `half_width`. Where rows lie is told by
    `columns`: those named, or `embedding`, or every numeric input. That a confidence means in one place what it
    meant there (no concept shift) is assumed, not tested: the promise is "none".
    """

    name: ClassVar[str]
    when: ClassVar[Literal["answer"]] = "answer"
    tolerance: float | None = 0.02
    relative_tolerance: float | None = None
    delta: float = 0.025
    confidence: float = 0.95
    window: int = 500
    block: int = 50
    far: float = 0.08
    half_width: float = 0.03
    columns: tuple[str, ...] = ()

    @property
    def promise(self) -> Promise:
        return Promise("none")

    def start(self, reference: Columns) -> Memory:
        """Memory from the reference's `loss` and `confidence` (n,), where rows lie, and `predicted` and `target`.

        Without the last two there is an accuracy and nothing else. Raises StateError when a loss lies outside [0, 1].
        """
        names = support.names_of(reference, self.columns)
        rows = _reference(reference, names)
        known: dict[str, Any] = {"why": "", "names": names, "n": len(rows["placed"])}
        if known["n"] < FEWEST:
            known["why"] = (
                f"unknown: the reference has {known['n']} labelled rows with confidence and an embedding or numeric "
                f"columns; {FEWEST} are needed to say what accuracy a confidence stands for"
            )
            known |= {"middle": np.zeros(0), "cells": 0}
        else:
            known |= self._fitted(rows, names)
        width, axes = len(known["middle"]), len(known.get("axes", ())) + 1
        return {
            "reference": known, "seen": 0, "x": np.zeros((0, width), np.float32), "confidence": np.zeros(0),
            "predicted": np.zeros(0, np.int64), "cells": np.zeros((0, known["cells"]), np.int64),
            "far": np.zeros(0, np.int64), "distance": np.zeros(0), "rows": np.zeros((0, axes)), "reading": [],
        }  # fmt: skip

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with `confidence` and `predicted` (n,) and where rows lie; rows that lack one are left out."""
        known = memory["reference"]
        if known["why"]:
            return memory, silent(self.name, self.promise, known["why"])
        sure, said, x = _answers(window, known)
        memory = passed_over(memory, window, len(sure))
        if not len(sure):
            return memory, self._noted(memory)
        after = {**memory, "seen": memory["seen"] + len(sure)}
        if len(memory["confidence"]):
            sure = np.concatenate([memory["confidence"], sure])
            said, x = np.concatenate([memory["predicted"], said]), np.concatenate([memory["x"], x])
        whole, blocks = len(sure) // self.block * self.block, max(self.window // self.block, 2)
        after |= {"confidence": sure[whole:].copy(), "predicted": said[whole:].copy(), "x": x[whole:].copy()}
        if whole:
            kept = slice(max(0, whole - blocks * self.block), whole)
            self._blocks(after, sure[kept], said[kept], x[kept], blocks)
            after["reading"] = list(self._read(after))
        return after, self._noted(after)

    def _noted(self, memory: Memory) -> Finding:
        needed = ["confidence", *memory["reference"]["names"]]
        return counting_passed_over(memory, self._finding(memory), f"all of what is read: {', '.join(needed)}")

    def read(self, memory: Memory) -> Reading:
        """The estimate of accuracy over the newest whole blocks, whether it is valid, and why."""
        known, labels = memory["reference"], support.labels_for(self.half_width, self.confidence)
        if known["why"]:
            return Reading(Estimate(), False, known["why"], labels, 0.0, False)
        if not memory["reading"] or memory["reading"][1] < 2 * self.block:
            why = f"{memory['seen']} of the first {2 * self.block} answers seen"
            return Reading(Estimate(), False, why, 0, 0.0, False)
        value, n, half, why, rows, weighted = memory["reading"]
        estimate = Estimate(value, n, max(value - half, 0.0), min(value + half, 1.0))
        if why:
            why = f"unknown: {why}; label {labels} more for ± {self.half_width:g}"
            return Reading(estimate, False, why, labels, rows, weighted)
        how = (
            f"from confidence, calibrated for their mix on {rows:.0f} effective rows" if weighted else "from confidence"
        )
        why = f"estimated accuracy {value:.3f} ({estimate.low:.3f} to {estimate.high:.3f}) over the newest {n} answers"
        why = f"{why}, {how}, as long as it means what it meant on the reference"
        return Reading(estimate, True, why, 0, rows, weighted)

    def estimates(self, memory: Memory) -> dict[str, Estimate]:
        """`accuracy`, and with classes `precision[c]`, `recall[c]`, `f1[c]`, their `_macro` means, `auroc` of two, and
        `confusion[i,j]` (answers i whose truth is j); each with its interval. Empty where nothing valid can be said.
        """
        if not self.read(memory).valid:
            return {}
        known, counts, n = memory["reference"], *_counts(memory)
        fitted = _calibration(known, memory)
        rng = np.random.default_rng(0)
        right, own = counts * fitted["curve"], np.sqrt(counts * fitted["curve"] * (1 - fitted["curve"]))
        error = rng.standard_normal((DRAWS, int(fitted["step"].max()) + 1))[:, fitted["step"]]
        own = own * rng.standard_normal((DRAWS, *counts.shape))
        own += counts * np.tensordot(rng.standard_normal((DRAWS, fitted["bend"].shape[-1])), fitted["bend"], (1, 2))
        mistakes = fitted["mistakes"]
        slips = calibrated.slips(
            mistakes, (counts - right).sum(axis=1), fitted["slips"], rng.standard_normal((DRAWS, *mistakes.shape))
        )
        drawn = calibrated.metrics(right + counts * fitted["error"] * error + own, counts, slips)
        z, found = support.z_score(self.confidence), {}
        for name, value in calibrated.metrics(right, counts, mistakes).items():
            half, most = z * float(np.std(drawn[name])), float(n) if name.startswith("confusion") else 1.0
            kept = min(max(float(value), 0.0), most)
            found[name] = (
                Estimate(kept, n, max(kept - half, 0.0), min(kept + half, most)) if kept == kept else Estimate()
            )
        return found

    def _fitted(self, rows: dict[str, Any], names: list[str]) -> dict[str, Any]:
        placed, sure, said, right = rows["placed"], rows["confidence"], rows["predicted"], 1 - rows["loss"]
        scale = support.scale(rows["x"], names)
        x = support.features(rows["columns"], names, scale)
        known = {"n": len(sure), **scale, **support.fit(x, NEAR, OTHERS), **_classes(rows)}
        ranges = min(CELLS, max(len(sure) // (5 * max(known["classes"], 2)), 8))
        known["edges"] = np.unique(np.quantile(sure[placed], np.linspace(0, 1, ranges + 1)[1:-1]))
        known["first"] = first_ranges(known["edges"])
        known["shape"] = [known["classes"] or 1, len(known["edges"]) + 1]
        known["cells"] = known["shape"][0] * known["shape"][1]
        cell = _cell(known, sure, said)
        known |= _tallied(known, cell, right, said, rows["target"], None)
        known["sure"] = [float(sure.mean()), float(sure.std()) or 1.0]
        away = (sure[placed] - known["sure"][0]) / known["sure"][1]
        z = np.column_stack([support.whiten(known, x), away])
        known |= {"z": z, "design": domain.design(z), "cell": cell[placed], "right": right[placed]}
        known |= {"said": said[placed], "true": rows["target"][placed], "moments": domain.moments(known["design"])}
        known["bent"] = _by_cell(known)
        found = limit(
            rows["loss"], self.tolerance, self.relative_tolerance, lambda part: source_bound(part, self.delta)
        )
        return known | {"limit": found.value}

    def _blocks(self, memory: dict[str, Any], sure: Any, said: Any, x: Any, blocks: int) -> None:
        """Fold whole blocks: how many answers lie in each cell, and where the few that the gate looks at lie."""
        known, count = memory["reference"], len(sure) // self.block
        place = np.repeat(np.arange(count), self.block) * known["cells"] + _cell(known, sure, said)
        cells = np.bincount(place, minlength=count * known["cells"]).reshape(count, -1)
        few = min(self.block, max(1, GATED // blocks))
        place = (np.arange(count)[:, None] * self.block + np.arange(few) * self.block // few).ravel()
        distance, far, rows = _looked(known, x[place], sure[place], few)
        for name, fresh, length in (
            ("cells", cells, blocks), ("far", far, blocks * few),
            ("distance", distance, blocks * few), ("rows", rows, blocks * few),
        ):  # fmt: skip
            memory[name] = np.concatenate([memory[name], fresh])[-length:]

    def _read(self, memory: Memory) -> tuple[float, int, float, str, float, bool]:
        known, counts, n = memory["reference"], *_counts(memory)
        fitted = _calibration(known, memory)
        value = min(max(float((counts * fitted["curve"]).sum()) / n, 0.0), 1.0)
        own = float((counts * fitted["curve"] * (1 - fitted["curve"])).sum()) / n**2
        wrong = np.bincount(fitted["step"].ravel(), (counts * fitted["error"]).ravel()) / n
        mixed = np.tensordot(counts, fitted["bend"], 2) / n
        half = support.z_score(self.confidence) * math.sqrt(own + float(wrong @ wrong) + float(mixed @ mixed))
        looked = len(memory["far"])
        why = support.elsewhere(
            known, float(memory["far"].mean()), float(memory["distance"].mean()), looked, self.far
        ) or _unlike(fitted, memory)  # fmt: skip
        return value, n, half, why, fitted["rows"], fitted["weighted"]

    def _finding(self, memory: Memory) -> Finding:
        reading, most = self.read(memory), memory["reference"]["limit"]
        if not reading.valid:
            return silent(self.name, self.promise, reading.why, limit=most, n=reading.estimate.n)
        alarm, risk, why = 1 - reading.estimate.high > most, 1 - reading.estimate.value, reading.why
        if alarm:
            why += f"; the risk of {risk:.3f} is above {most:.3f}. Label some of the newest answers to confirm it"
        return Finding(
            check=self.name, value=risk, limit=most, evidence=1.0, promise=self.promise, alarm=alarm,
            n=reading.estimate.n, why=why,
        )  # fmt: skip


def _reference(reference: Columns, names: list[str]) -> dict[str, Any]:
    """Rows that have loss and confidence; `placed` are up to 30,000 of them, at random, with `x` and `columns`."""
    n = len(np.asarray(reference.get("loss", ())))
    loss, sure = (np.asarray(reference.get(name, np.full(n, np.nan)), np.float64) for name in ("loss", "confidence"))
    said, true = (np.asarray(reference.get(name, np.full(n, -1)), np.int64) for name in ("predicted", "target"))
    whole = np.isfinite(loss) & np.isfinite(sure)
    if not whole.all():
        loss, sure, said, true = loss[whole], sure[whole], said[whole], true[whole]
    placed = np.random.default_rng(0).permutation(len(loss))[:PLACED]
    chosen = placed if whole.all() else np.flatnonzero(whole)[placed]
    columns = {name: np.asarray(reference[name])[chosen] for name in names if name in reference}
    x = support.features(columns, names)
    if len(x) and names == ["embedding"] and not (there := np.isfinite(x).all(axis=1)).all():
        placed, x, columns = placed[there], x[there], {"embedding": columns["embedding"][there]}
    return {
        "x": x, "columns": columns, "placed": placed[: len(x)], "loss": loss, "confidence": sure, "predicted": said,
        "target": true,
    }  # fmt: skip


def _answers(window: Columns, known: Memory) -> tuple[Any, Any, Any]:
    sure = np.asarray(window.get("confidence", ()), np.float64)
    x = support.features(window, known["names"], known)
    if len(x) != len(sure) or (known["classes"] and "predicted" not in window):
        return np.zeros(0), np.zeros(0, np.int64), x[:0]
    said = np.asarray(window.get("predicted", np.zeros(len(sure))), np.int64)
    if math.isfinite(float(sure.sum()) + float(x.sum())):
        return sure, said, x
    whole = np.isfinite(sure) & np.isfinite(x).all(axis=1)
    return sure[whole], said[whole], x[whole]


def _looked(known: Memory, x: Any, sure: Any, few: int) -> tuple[Any, Any, Any]:
    """Distance, whether that is far, and whitened features of the answers that the gate looks at, `few` of every block.

    Block by block: a matrix product of another height may differ in its last bit.
    """
    distance, far = support.measure(known, x, few)
    away = (sure - known["sure"][0]) / known["sure"][1]
    return distance, far.astype(np.int64), np.column_stack([support.whiten(known, x, few), away])


def _classes(rows: dict[str, Any]) -> dict[str, Any]:
    """`classes`: how many labels there are, 0 where they are unknown, too many, or losses are no plain mistakes."""
    said, true, loss = rows["predicted"], rows["target"], rows["loss"]
    most = int(max(said.max(), true.max())) + 1
    plain = (said >= 0).all() and (true >= 0).all() and bool(((said != true) == (loss == 1)).all())
    return {"classes": most if plain and 2 <= most <= MOST_CLASSES and bool(((loss == 0) | (loss == 1)).all()) else 0}


def _cell(known: Memory, sure: Any, said: Any) -> Any:
    """The cell (n,) of each answer; a class never seen shares the last one's."""
    place = range_of(known["edges"], known["first"], sure)
    return place + np.clip(said, 0, known["classes"] - 1) * known["shape"][1] if known["classes"] else place


def _tallied(known: Memory, cell: Any, right: Any, said: Any, true: Any, weights: Any) -> dict[str, Any]:
    """The calibration of rows with `weights` (None: 1 each): `curve`, its `error` and steps (C, G), `mistakes` (C, C).

    `slips` (C,): weight of the wrong rows that `mistakes` were learned from.
    """
    size, shape, classes = known["cells"], known["shape"], known["classes"]
    kinds = (weights, right, None) if weights is None else (weights, weights * right, weights * weights)
    count, good, squares = (np.bincount(cell, kind, size).reshape(shape).astype(np.float64) for kind in kinds)
    wrong: Any = np.zeros((classes, classes))
    slips: Any = np.zeros(classes or 1)
    if classes:
        wrong = np.bincount(said * classes + true, weights, classes * classes).reshape(classes, classes) + 0.01
        slips = wrong.sum(axis=1) - wrong.diagonal()
        np.fill_diagonal(wrong, 0.0)
        wrong /= wrong.sum(axis=1, keepdims=True)
    curve = calibrated.curves(good, count)
    error, step = calibrated.spread(curve, good, count, squares)
    return {"curve": curve, "error": error, "step": step, "mistakes": wrong, "slips": slips}


def _calibration(known: Memory, memory: Memory) -> dict[str, Any]:
    """The reference's own calibration, or, where the answers differ, one that is weighted for them.

    Weights that change the estimate by no more than their own error are left out: the reference's curve stays, and the
    change joins the error. `bend` (C, G, p): what moves the curve's cells together, a standard normal draw each.
    """
    plain = {name: known[name] for name in ("curve", "error", "step", "mistakes", "slips")}
    target, gap = domain.design(memory["rows"]), memory["rows"].mean(axis=0)
    same = {"rows": float(known["n"]), "weighted": False}
    if not domain.differs(known["moments"], domain.moments(target)):
        nothing = np.zeros((*known["shape"], 1))
        return {**plain, **same, "moved": False, "effective": same["rows"], "gap": gap, "bend": nothing}
    weights, covariance = domain.ratios(known["design"][:SOURCE], target, known["design"])
    rows = domain.effective(weights)
    found = _tallied(known, known["cell"], known["right"], known["said"], known["true"], weights)
    found |= {"moved": True, "effective": rows, "gap": gap - weights @ known["z"] / len(weights)}
    bend = _bend(known, weights, found["curve"]) @ np.linalg.cholesky(covariance)
    counts, _ = _counts(memory)
    turn = found["curve"] - known["curve"]
    if float((counts * turn).sum()) ** 2 > _error_of_turn(known, found, weights, bend, counts):
        return {**found, "rows": rows, "weighted": True, "bend": bend}
    kept = {name: known[name] for name in ("curve", "mistakes", "slips")}
    return {**found, **kept, **same, "bend": np.concatenate([bend, turn[..., None]], axis=-1)}


def _error_of_turn(known: Memory, found: dict[str, Any], weights: Any, bend: Any, counts: Any) -> float:
    """Variance of the change that weights make to the expected right answers: by the weights' own, and the rows' error.

    A row's influence on either curve is its share of its step; both curves rest on the same rows.
    """
    cell, size = known["cell"], known["cells"]
    new = _influence(found["step"], np.bincount(cell, weights, size), counts)
    old = _influence(known["step"], np.bincount(cell, minlength=size) * (known["n"] / len(cell)), counts)
    moved = (new[cell] * weights - old[cell]) * (known["right"] - known["curve"].ravel()[cell])
    mixed = np.tensordot(counts, bend, 2)
    return float(moved @ moved + mixed @ mixed)


def _influence(step: Any, rows: Any, counts: Any) -> Any:
    """What one right row more of a cell (C G,) adds to the expected right answers, where steps are pooled."""
    place = step.ravel()
    return (np.bincount(place, counts.ravel()) / np.maximum(np.bincount(place, rows), 1.0))[place]


def _by_cell(known: Memory) -> dict[str, Any]:
    """The first rows of the reference in the `order` of their cells, each of which starts at one of `starts`."""
    order = np.argsort(known["cell"][:BENT], kind="stable")
    cell = known["cell"][order]
    starts = np.flatnonzero(np.append(True, np.diff(cell) != 0))
    return {
        "order": order,
        "cell": cell,
        "starts": starts,
        "right": known["right"][order],
        "design": known["design"][order].T.copy(),
    }


def _bend(known: Memory, weights: Any, curve: Any) -> Any:
    """How the curve's cells (C, G, p) move with the classifier's coefficients, from some of the rows.

    The derivative of weighted shares of right answers.
    """
    bent, size = known["bent"], known["cells"]
    cell, weights = bent["cell"], weights[bent["order"]]
    missed = weights * (bent["right"] - curve.ravel()[cell])
    moved = np.zeros((size, len(bent["design"])))
    moved[cell[bent["starts"]]] = np.add.reduceat(missed * bent["design"], bent["starts"], axis=1).T
    total = np.maximum(np.bincount(cell, weights, size), 1.0)
    return (moved / total[:, None]).reshape(*curve.shape, -1)


def _unlike(fitted: dict[str, Any], memory: Memory) -> str:
    """Why the weighted reference is no picture of the answers; empty when it seems to be."""
    if fitted["moved"] and fitted["effective"] < FEWEST_EFFECTIVE:
        return f"only {fitted['effective']:.0f} effective reference rows are like the newest answers"
    gap, error = fitted["gap"][:-1], 1 / len(memory["far"]) + 1 / max(fitted["effective"], 1.0)
    if float(gap @ gap) > support.gap_limit(len(gap), error):
        return (
            f"the mean of the inputs has moved by {math.sqrt(float(gap @ gap)):.2f} reference standard deviations "
            + ("even after weighting")
        )
    return ""


def _counts(memory: Memory) -> tuple[Any, int]:
    """Answers in each cell (C, G), and how many."""
    total = memory["cells"].sum(axis=0)
    return total.reshape(memory["reference"]["shape"]).astype(np.float64), int(total.sum())
