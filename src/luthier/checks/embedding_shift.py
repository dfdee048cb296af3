"""Do inputs come from where the reference came from, as the model's own embedding sees them?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.checks.base import Memory, counting_passed_over, ended, passed_over, silent
from luthier.evidence import (
    LARGEST,
    advance,
    clopper_pearson_upper,
    conformal_p,
    detector,
    level_ever,
    level_now,
    p_to_e,
    rise,
    watch_rise,
)
from luthier.names import register
from luthier.types import Columns, Finding, Promise

__all__ = ["EmbeddingShift"]

WIDEST = 1024  # wider embeddings are projected at random, so that a reference of any width starts in seconds
FREQUENCIES = 256
REPLICATES = 1999
GATHERED = 1000  # rows that are drawn again at a time: few enough to stay in the cache
FEWEST = 100


@register("check", "embedding_shift.v1")
@dataclass(frozen=True, slots=True)
class EmbeddingShift:
    """Three views of the embeddings, averaged into one e-detector: at most one false alarm in `arl` answers.

    Per block of `block` answers: distance of the whitened mean (Hotelling; covariance shrunk as Ledoit & Wolf 2004
    when n < 5 d) and of the mean of 256 random Fourier features (MMD; Rahimi & Recht 2007), each turned into a
    conformal p-value against blocks drawn again from the reference, then into an e-value. Per answer: whether its
    Mahalanobis distance lies beyond the reference's 95 % point, against a bounded rate. Half of the reference fits
    the whitening, the other half calibrates; the error of the reference's own mean is part of the null blocks.
    Answers that do not fill a block yet wait in memory, so the batch size changes nothing. A shift is no proof of
    harm.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["answer"]] = "answer"
    arl: float = 100_000
    delta: float = 0.025
    slack: float = 0.01
    block: int = 100

    @property
    def promise(self) -> Promise:
        return Promise("e-detector", self.arl)

    def start(self, reference: Columns) -> Memory:
        """Memory from the reference's `embedding` (n, d); rows with NaN are left out."""
        x = _rows(reference)
        streams = {"mean": detector(1), "mmd": detector(1), "far": rise()}
        known: dict[str, Any] = {"why": ""}
        if len(x) < FEWEST:
            known["why"] = f"not watched: the reference has {len(x)} embeddings; {FEWEST} are needed"
        else:
            known.update(_fit(x, self.block, self.delta, self.slack))
        return {"reference": known, "buffer": np.zeros((0, x.shape[1]), np.float32), "alarm_n": 0, **streams}

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's `embedding` (n, d); rows with NaN or of another width are left out."""
        known = memory["reference"]
        if known["why"]:
            return memory, silent(self.name, self.promise, known["why"])
        x = _rows(window)
        fits = bool(len(x)) and x.shape[1] == memory["buffer"].shape[1]
        memory = passed_over(memory, window, len(x) if fits else 0)
        if not fits:
            return memory, self._noted(memory)
        x = np.concatenate([memory["buffer"], x])
        after = {**memory, "buffer": x[len(x) // self.block * self.block :].copy()}
        for start in range(0, len(x) - self.block + 1, self.block):
            self._block(after, x[start : start + self.block])
        return after, self._noted(after)

    def _noted(self, memory: Memory) -> Finding:
        width = memory["buffer"].shape[1]
        return counting_passed_over(memory, self._finding(memory), f"an `embedding` of {width} finite numbers")

    def _block(self, memory: dict[str, Any], x: Any) -> None:
        known = memory["reference"]
        x = _project(known, x)
        white = _whiten(known, x)
        for name, view in (("mean", white), ("mmd", _waves(known, x))):
            gap = view.mean(axis=0) - known[f"{name}_centre"]
            p = conformal_p(float(gap @ gap), known[f"{name}_null"])
            memory[name], _ = advance(memory[name], np.array([[p_to_e(p)]]))
        far = (_norms(white) > known["edge"]).astype(np.float64)
        memory["far"], _ = watch_rise(memory["far"], far, known["limit"])
        if not memory["alarm_n"] and self._evidence(memory) >= self.arl:
            memory["alarm_n"] = memory["far"]["detector"]["n"]

    def _parts(self, memory: Memory) -> dict[str, float]:
        """Evidence of each view in answers: a detector over blocks counts `block` answers a step."""
        return {
            "the whitened mean": memory["mean"]["value"] * self.block,
            "random-feature MMD": memory["mmd"]["value"] * self.block,
            "far answers": memory["far"]["detector"]["value"],
        }

    def _evidence(self, memory: Memory) -> float:
        return min(sum(self._parts(memory).values()) / 3, LARGEST)

    def _finding(self, memory: Memory) -> Finding:
        known, far = memory["reference"], memory["far"]
        n, limit = far["detector"]["n"], known["limit"]
        if not n:
            why = f"{len(memory['buffer'])} of the first {self.block} answers seen"
            return silent(self.name, self.promise, why, limit=limit)
        value, parts = level_ever(far), self._parts(memory)
        why = f"{value:.1%} of {n} answers lie beyond the reference's 95 % distance, allowed {limit:.1%}"
        if memory["alarm_n"]:
            recent, count, begun = level_now(far)
            count = count if begun < memory["alarm_n"] else 0  # a stretch of its own is not what was shown
            value = recent if count else value
            clearest = max(parts, key=lambda part: parts[part])
            why = (
                f"inputs have moved from the reference, most clearly by {clearest}: {value:.1%} of {count} answers "
                f"since about answer {begun + 1} lie beyond its 95 % distance (allowed {limit:.1%}); shown at answer "
                f"{memory['alarm_n']}. Label some of the newest answers: a shift may or may not be harm"
            )
            if not count:
                said = (
                    f"inputs moved from the reference, most clearly by {clearest}: {value:.1%} beyond its 95 % distance"
                )
                why = ended(said, n, "answer", memory["alarm_n"])
        return Finding(
            check=self.name, value=value, limit=limit, evidence=self._evidence(memory), promise=self.promise,
            alarm=bool(memory["alarm_n"]), n=n, why=why,
        )  # fmt: skip


def _rows(columns: Columns) -> Any:
    """`embedding` as float32 (n, d) without rows that hold NaN or infinity."""
    x = np.asarray(columns.get("embedding", np.zeros((0, 0))))
    if x.dtype.kind not in "biuf":
        return np.zeros((0, 0), np.float32)
    with np.errstate(over="ignore"):
        x = x.astype(np.float32, copy=False)
    x = x if x.ndim == 2 else np.zeros((0, 0), np.float32)
    whole = np.isfinite(x).all(axis=1)
    return x if whole.all() else x[whole]


def _fit(x: Any, block: int, delta: float, slack: float) -> dict[str, Any]:
    """Whitening, frequencies and bandwidth from one half of x (n, d); thresholds and null blocks from the other."""
    rng = np.random.default_rng(0)
    known: dict[str, Any] = {"why": "", "projection": np.zeros((0, 0), np.float32)}
    if x.shape[1] > WIDEST:
        known["projection"] = (rng.standard_normal((x.shape[1], WIDEST)) / math.sqrt(WIDEST)).astype(np.float32)
    x = _project(known, x[rng.permutation(len(x))])
    fit, rest = x[: len(x) // 2], x[len(x) // 2 :]
    known["middle"], known["whitening"] = _whitening(fit)
    pairs = rng.integers(len(fit), size=(2, 2000))
    scale = float(np.median(_norms(fit[pairs[0]] - fit[pairs[1]]))) or 1.0
    known["frequencies"] = (rng.standard_normal((x.shape[1], FREQUENCIES)) / scale).astype(np.float32)
    known["phases"] = rng.uniform(0, 2 * math.pi, FREQUENCIES).astype(np.float32)
    white = _whiten(known, rest)
    radius = _norms(white)
    known["edge"] = float(np.quantile(radius, 0.95))
    known["limit"] = clopper_pearson_upper(int((radius > known["edge"]).sum()), len(rest), delta) + slack
    for name, view, tolerance in (("mean", white, 0.1), ("mmd", _waves(known, rest), 0.0)):
        known[f"{name}_centre"] = view.mean(axis=0)
        known[f"{name}_null"] = _null(view, block, 1 - delta / 2, tolerance, rng)
    return known


def _whitening(x: Any) -> tuple[Any, Any]:
    """Mean (d,) and inverse square root (d, d) of the covariance of x (n, d), shrunk towards a sphere when n < 5 d."""
    middle = x.mean(axis=0)
    n, d = x.shape
    centred = (x - middle).astype(np.float64)
    covariance = centred.T @ centred / n
    size = float(np.trace(covariance)) / d
    shrink = 1e-6
    if n < 5 * d:
        spread = float(((covariance - size * np.eye(d)) ** 2).sum())
        noise = float((_norms(centred) ** 4).sum() / n - (covariance**2).sum()) / n
        shrink = min(max(noise / spread, 1e-6), 1.0) if spread > 0 else 1.0
    values, vectors = np.linalg.eigh((1 - shrink) * covariance + shrink * size * np.eye(d))
    inverse = vectors / np.sqrt(np.maximum(values, 1e-12 + 1e-9 * size))
    return middle, inverse.astype(np.float32)


def _null(view: Any, block: int, quantile: float, tolerance: float, rng: Any) -> Any:
    """Sorted squared distances (REPLICATES,) of blocks drawn again from `view` (n, d) to its mean.

    To each block mean an error of the reference's mean is added: a direction drawn again, of a length that the true
    error exceeds with probability 1 - quantile only, and the tolerance. So a reference that was drawn unluckily
    once does not become an alarm by being compared with again and again.
    """
    n = len(view)
    centred = (view - view.mean(axis=0)) * math.sqrt(n / (n - 1))
    errors = _errors(centred, rng)
    lengths = _norms(errors)
    wanted = math.hypot(float(np.quantile(lengths, quantile)), tolerance)
    errors *= (wanted / np.maximum(lengths, 1e-12))[:, None]
    _add_blocks(errors, centred, block, rng)
    return np.sort(_norms(errors).astype(np.float64) ** 2)


def _add_blocks(errors: Any, centred: Any, block: int, rng: Any) -> None:
    """Add to each of `errors` (m, d) the mean of `block` rows of `centred` (n, d), drawn again; some blocks at a time."""
    n, d = centred.shape
    some = max(1, GATHERED // block)
    drawn = np.empty((some, block, d), centred.dtype)
    for start in range(0, len(errors), some):
        part = errors[start : start + some]
        picks = rng.integers(n, size=(len(part), block))
        part += np.take(centred, picks, axis=0, out=drawn[: len(part)], mode="clip").mean(axis=1)


def _errors(centred: Any, rng: Any) -> Any:
    """(REPLICATES, d) errors of the mean of n rows: normal, with the covariance that rows (n, d) drawn again would have."""
    n, d = centred.shape
    root = centred / n
    if n > d:
        covariance = (centred.T @ centred).astype(np.float64) / n**2
        covariance[np.diag_indices(d)] += 1e-6 * np.trace(covariance) / d + 1e-300
        root = _root(covariance).astype(np.float32)
    return rng.standard_normal((REPLICATES, len(root)), dtype=np.float32) @ root


def _root(covariance: Any) -> Any:
    """A (d, d) whose product with its own transpose, root.T @ root, is the covariance (d, d)."""
    try:
        return np.linalg.cholesky(covariance).T
    except np.linalg.LinAlgError:  # waves of a few dimensions span few: what is left of the others is rounding
        values, vectors = np.linalg.eigh(covariance)
        return (vectors * np.sqrt(np.maximum(values, 0.0))).T


def _project(known: Memory, x: Any) -> Any:
    return x @ known["projection"] if known["projection"].size else x


def _whiten(known: Memory, x: Any) -> Any:
    return (x - known["middle"]) @ known["whitening"]


def _waves(known: Memory, x: Any) -> Any:
    return math.sqrt(2 / FREQUENCIES) * np.cos(x @ known["frequencies"] + known["phases"])


def _norms(x: Any) -> Any:
    return np.sqrt(np.einsum("ij,ij->i", x, x))
