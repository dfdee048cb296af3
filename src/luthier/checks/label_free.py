"""How well does the model do on answers nobody has labelled, and may one say so at all?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.checks.base import Memory, counting_passed_over, passed_over, silent
from luthier.evidence import source_bound
from luthier.fewlabels.calibrated import isotonic
from luthier.fewlabels.support import (
    Reading,
    elsewhere,
    enough,
    fit,
    gap_limit,
    labels_for,
    measure,
    newest_far,
    whiten,
    z_score,
)
from luthier.names import register
from luthier.types import Columns, Estimate, Finding, Promise

__all__ = ["LabelFree", "Reading"]

FEWEST = 50
KEPT = 1000  # reference rows among which neighbours are looked for
RESAMPLES = 200
GRID = 256  # steps of a loss that the bootstrap tells apart


@register("check", "label_free.v1")
@dataclass(frozen=True, slots=True)
class LabelFree:
    """Risk estimated from confidence (CBPE), over the newest `window` answers; stated only where it can be true.

    P(right | confidence) is fitted on the reference by isotonic regression and averaged over the answers. Its
    interval (at `confidence`) is for what labels of these answers would show: it has their own randomness and, by
    bootstrap, the error of the calibration. The
    estimate is valid only if at most `far` of the answers lie beyond the reference's 95 % point of the distance to
    the 5th neighbour, and both the mean distance (either way) and the whitened mean are quiet; elsewhere every
    label-free method fails, so value is nan and `why` says how many labels give an interval of ± `half_width`. The newest
    half, quarter … down to two blocks have to be quiet too, or good answers would hide the first bad ones; and nothing is
    stated before the answers would show a mean moved by half a standard deviation 9 times in 10, or the window is full.
    The promise is "none": that calibration carries over to this traffic is assumed, not tested. Bialek et al.
    2024 (arXiv 2401.08348) for the estimate; the validity rule was measured on 58 shifts.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["answer"]] = "answer"
    tolerance: float = 0.02
    delta: float = 0.025
    confidence: float = 0.95
    window: int = 500
    block: int = 50
    far: float = 0.08
    half_width: float = 0.03

    @property
    def promise(self) -> Promise:
        return Promise("none")

    def start(self, reference: Columns) -> Memory:
        """Memory from the reference's `loss` and `confidence` (n,) and `embedding` (n, d).

        Raises StateError when a loss lies outside [0, 1].
        """
        loss, sure, x = _reference(reference)
        known: dict[str, Any] = {"why": "", "n": len(loss)}
        if len(loss) < FEWEST:
            known["why"] = f"unknown: the reference has {len(loss)} labelled rows with confidence and embedding; " + (
                f"{FEWEST} are needed to say what accuracy a confidence stands for"
            )
        else:
            known.update(_calibration(loss, sure), **fit(x, KEPT))
            known["limit"] = source_bound(loss, self.delta) + self.tolerance
        width, cells, axes = x.shape[1], len(known.get("curve", ())), len(known.get("axes", ()))
        return {
            "reference": known, "seen": 0, "embedding": np.zeros((0, width), np.float32), "confidence": np.zeros(0),
            "cells": np.zeros((0, cells), np.int64), "far": np.zeros(0, np.int64),
            "distance": np.zeros((0, 2)), "middle": np.zeros((0, axes)),
        }  # fmt: skip

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's `confidence` (n,) and `embedding` (n, d); rows that lack one are left out."""
        known = memory["reference"]
        if known["why"]:
            return memory, silent(self.name, self.promise, known["why"])
        sure, x = _answers(window, memory["embedding"].shape[1])
        memory = passed_over(memory, window, len(sure))
        if not len(sure):
            return memory, self._noted(memory)
        after = {**memory, "seen": memory["seen"] + len(sure)}
        sure, x = np.concatenate([memory["confidence"], sure]), np.concatenate([memory["embedding"], x])
        whole = len(sure) // self.block * self.block
        after["confidence"], after["embedding"] = sure[whole:].copy(), x[whole:].copy()
        kept = max(self.window // self.block, 2) * self.block
        for start in range(max(0, whole - kept), whole, self.block):
            self._block(after, sure[start : start + self.block], x[start : start + self.block], kept // self.block)
        return after, self._noted(after)

    def _noted(self, memory: Memory) -> Finding:
        width = memory["embedding"].shape[1]
        return counting_passed_over(memory, self._finding(memory), f"a confidence and an embedding of {width} numbers")

    def read(self, memory: Memory) -> Reading:
        """The estimate of accuracy over the newest whole blocks, whether it is valid, and why."""
        known, n = memory["reference"], int(memory["cells"].sum())
        labels = labels_for(self.half_width, self.confidence)
        if known["why"]:
            return Reading(Estimate(), False, known["why"], labels)
        needed = self._needed(known)
        if n < 2 * self.block:
            return Reading(Estimate(), False, f"unknown: {memory['seen']} of the first {needed} answers seen", 0)
        shares = memory["cells"].sum(axis=0) / n
        value = min(max(float(shares @ known["curve"]), 0.0), 1.0)  # shares may sum to a hair more than 1
        spread = float((known["curves"] @ shares).std())
        own = float(shares @ (known["curve"] * (1 - known["curve"])))  # of one answer that is right as its cell says
        half = z_score(self.confidence) * math.hypot(spread, math.sqrt(max(own, 0.0) / n))
        estimate = Estimate(value, n, max(value - half, 0.0), min(value + half, 1.0))
        why = self._elsewhere(memory)
        if why:
            return Reading(estimate, False, f"unknown: {why}; label {labels} more for ± {self.half_width:g}", labels)
        if n < needed:
            why = f"unknown: {memory['seen']} of the first {needed} answers seen; fewer show no mean that moves"
            return Reading(estimate, False, why, 0)
        why = f"estimated accuracy {value:.3f} ({estimate.low:.3f} to {estimate.high:.3f}) over the newest {n} answers"
        return Reading(estimate, True, f"{why}, from confidence, as long as it means what it meant on the reference", 0)

    def _finding(self, memory: Memory) -> Finding:
        reading, limit = self.read(memory), memory["reference"]["limit"]
        if not reading.valid:
            return silent(self.name, self.promise, reading.why, limit=limit, n=reading.estimate.n)
        alarm, risk = 1 - reading.estimate.high > limit, 1 - reading.estimate.value
        why = reading.why
        if alarm:
            why += f"; the risk of {risk:.3f} is above {limit:.3f}. Label some of the newest answers to confirm it"
        return Finding(
            check=self.name, value=risk, limit=limit, evidence=1.0, promise=self.promise, alarm=alarm,
            n=reading.estimate.n, why=why,
        )  # fmt: skip

    def _needed(self, known: Memory) -> int:
        """Answers before the first number: whole blocks, two at least and the window at most."""
        blocks = math.ceil(min(enough(len(known["axes"]), known["n"]), self.window) / self.block)
        return max(blocks, 2) * self.block

    def _elsewhere(self, memory: Memory) -> str:
        """Why the answers, or the newest of them, do not come from where the reference came from; empty when they seem to."""
        blocks = len(memory["far"])
        why = self._away(memory, blocks, self.far)
        while not why and (blocks := blocks // 2) >= 2:
            why = self._away(memory, blocks, newest_far(self.far, blocks * self.block))
        return why

    def _away(self, memory: Memory, blocks: int, far: float) -> str:
        known, n = memory["reference"], blocks * self.block
        share, distance = float(memory["far"][-blocks:].sum()) / n, float(memory["distance"][-blocks:, 0].sum()) / n
        gap = memory["middle"][-blocks:].sum(axis=0) / n
        why = elsewhere(known, share, distance, n, far)
        if not why and float(gap @ gap) > gap_limit(len(gap), 1 / n + 1 / known["n"]):
            moved = math.sqrt(float(gap @ gap))
            why = f"the mean embedding has moved by {moved:.2f} reference standard deviations in the newest {n} answers"
        return why

    def _block(self, memory: dict[str, Any], sure: Any, x: Any, kept: int) -> None:
        known = memory["reference"]
        cells = np.bincount(np.searchsorted(known["edges"], sure, side="right"), minlength=len(known["curve"]))
        distance, far = measure(known, x)
        middle = whiten(known, x).sum(axis=0)
        for name, row in (
            ("cells", cells), ("far", far.sum()),
            ("distance", [distance.sum(), (distance**2).sum()]), ("middle", middle),
        ):  # fmt: skip
            memory[name] = np.concatenate([memory[name], np.asarray([row], memory[name].dtype)])[-kept:]


def _reference(reference: Columns) -> tuple[Any, Any, Any]:
    """Rows that have loss, confidence and embedding."""
    if not all(name in reference for name in ("loss", "confidence", "embedding")):
        return np.zeros(0), np.zeros(0), np.zeros((0, 0), np.float32)
    loss = np.asarray(reference["loss"], np.float64)
    sure, x = np.asarray(reference["confidence"], np.float64), np.asarray(reference["embedding"], np.float32)
    whole = np.isfinite(loss) & np.isfinite(sure) & np.isfinite(x).all(axis=1)
    return loss[whole], sure[whole], x[whole]


def _answers(window: Columns, width: int) -> tuple[Any, Any]:
    sure = np.asarray(window.get("confidence", ()), np.float64)
    x = np.asarray(window.get("embedding", ()))
    if x.dtype.kind not in "biuf" or x.ndim != 2 or x.shape[1] != width or len(x) != len(sure):
        return np.zeros(0), np.zeros((0, width), np.float32)
    with np.errstate(over="ignore"):
        x = x.astype(np.float32, copy=False)
    whole = np.isfinite(sure) & np.isfinite(x).all(axis=1)
    return sure[whole], x[whole]


def _calibration(loss: Any, sure: Any) -> dict[str, Any]:
    """`edges` (G - 1,) cut confidence into cells, `curve` (G,) is P(right) in each, `curves` its bootstrap.

    Rows of the same cell and loss are drawn together: the same law as one by one, whatever the number of rows.
    """
    rng = np.random.default_rng(0)
    edges = np.unique(np.quantile(sure, np.linspace(0, 1, 66)[1:-1]))
    cell, cells = np.searchsorted(edges, sure, side="right"), len(edges) + 1
    curve = isotonic(np.bincount(cell, 1 - loss, cells), np.bincount(cell, minlength=cells).astype(np.float64))
    kinds, times = np.unique(cell * (GRID + 1) + np.rint(loss * GRID).astype(np.int64), return_counts=True)
    cell, right = kinds // (GRID + 1), 1 - kinds % (GRID + 1) / GRID
    curves = []
    for weight in rng.multinomial(len(sure), times / len(sure), size=RESAMPLES):
        curves.append(isotonic(np.bincount(cell, weight * right, cells), np.bincount(cell, weight, cells)))
    return {"edges": edges, "curve": curve, "curves": np.array(curves)}
