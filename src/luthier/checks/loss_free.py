"""How large is the loss of answers nobody has labelled, told from their inputs?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.checks.base import Memory, counting_passed_over, passed_over, silent
from luthier.evidence import source_bound, unit_interval
from luthier.evidence.thresholds import limit
from luthier.fewlabels import support
from luthier.fewlabels.support import Reading
from luthier.names import register
from luthier.types import Columns, Estimate, Finding, Promise

__all__ = ["LossFree"]

FEWEST = 100
BINS = 10  # of each column, by the reference's quantiles
WIDEST = 64  # columns; an embedding is read on its first principal axes
PLACED = 50_000  # reference rows that say where the reference lies, and what the loss is there
RIDGES = (1.0, 10.0, 100.0, 1000.0)
FOLDS = 5
TILTED, LEANING, OUTERMOST, STEEPEST = 2000, 0.01, 6.0, 3.0  # reference rows, ridge, standard deviations, log weight
NEAR, OTHERS, GATED = 500, 2000, 500  # reference rows for neighbours, more of them, answers of a window looked at


@register("check", "loss_free.v1")
@dataclass(frozen=True, slots=True)
class LossFree:
    """Mean loss over the newest `window` answers, estimated from their inputs by an error model; for regression.

    A ridge regression of the reference's `loss` (any loss scaled to [0, 1]: absolute error, pinball, 0/1) on ten
    quantile bins of every numeric column, the model's own prediction among them if it is one, or of the principal
    axes of an embedding; its penalty by 5-fold cross-validation. A window is then a vector of bin counts. Direct loss
    estimation, NannyML 2022; here linear, so the interval is in closed form: the spread of losses about the model
    (itself regressed on the bins) and the model's own error. It is for the mean loss that these answers turn out to have.
    What bins cannot tell, as of losses that grow beyond the outermost, is told by the residuals of reference rows that
    are weighted to the window's means and squares (exponential tilting, doubly robust: Robins, Rotnitzky and Zhao 1994).

    Valid only if at most `far` of the answers lie beyond the reference's 95 % point of the distance to the 5th
    neighbour and their mean distance is quiet either way; else the value is nan and `why` says how many labels give
    ± `half_width`. That the same inputs have the same loss (no concept shift) is assumed: the promise is "none".
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
        """Memory from the reference's `loss` (n,) in [0, 1] and its numeric columns or `embedding` (n, d).

        Raises StateError when a loss lies outside [0, 1].
        """
        names = support.names_of(reference, self.columns)[:WIDEST]
        loss, x, scale = _reference(reference, names)
        known: dict[str, Any] = {"why": "", "names": names, "n": len(loss), **scale, "size": 0}
        if len(loss) < FEWEST:
            known["why"] = (
                f"unknown: the reference has {len(loss)} labelled rows with numeric columns or an embedding; {FEWEST} "
                f"are needed to say what loss an input stands for"
            )
        else:
            known |= support.fit(x, NEAR, OTHERS)
            known |= _model(_view(known, x), loss)
            every = unit_interval(reference["loss"], "reference loss")
            known["limit"] = limit(
                every, self.tolerance, self.relative_tolerance, lambda part: source_bound(part, self.delta)
            ).value
        return {
            "reference": known, "seen": 0, "x": np.zeros((0, len(known["middle"])), np.float32),
            "counts": np.zeros((0, known["size"]), np.int64), "far": np.zeros(0, np.int64), "distance": np.zeros(0),
        }  # fmt: skip

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's numeric columns or `embedding` (n, d); rows with a NaN embedding are left out."""
        known = memory["reference"]
        if known["why"]:
            return memory, silent(self.name, self.promise, known["why"])
        x = support.features(window, known["names"], known)
        x = x[np.isfinite(x).all(axis=1)]
        memory = passed_over(memory, window, len(x))
        if not len(x):
            return memory, self._noted(memory)
        after = {**memory, "seen": memory["seen"] + len(x)}
        x = np.concatenate([memory["x"], x])
        whole, blocks = len(x) // self.block * self.block, max(self.window // self.block, 2)
        after["x"] = x[whole:].copy()
        kept = range(max(0, whole - blocks * self.block), whole, self.block)
        if kept:
            self._blocks(after, [x[start : start + self.block] for start in kept], blocks)
        return after, self._noted(after)

    def _noted(self, memory: Memory) -> Finding:
        needed = ", ".join(memory["reference"]["names"])
        return counting_passed_over(memory, self._finding(memory), f"all of what is read: {needed}")

    def read(self, memory: Memory) -> Reading:
        """The estimate of the mean loss over the newest whole blocks, whether it is valid, and why."""
        known, n = memory["reference"], len(memory["counts"]) * self.block
        if known["why"]:
            return Reading(Estimate(), False, known["why"], support.labels_for(self.half_width, self.confidence))
        if n < 2 * self.block:
            return Reading(Estimate(), False, f"{memory['seen']} of the first {2 * self.block} answers seen", 0)
        share = memory["counts"].sum(axis=0) / n - known["centre_bins"]  # (size,)
        missed, doubt = _missed(known, share, n)
        value = min(max(known["mean"] + float(share @ known["weights"]) + missed, 0.0), 1.0)
        uneven = float(share @ known["noise_weights"])  # where losses spread more, mean and weights err together
        own = max(known["noise"] + uneven, 0.1 * known["noise"])
        error = own / n + max(known["noise"] + 2 * uneven, 0.0) / known["n"] + doubt
        half = support.z_score(self.confidence) * math.sqrt(error + float(share @ known["covariance"] @ share))
        estimate = Estimate(value, n, max(value - half, 0.0), min(value + half, 1.0))
        looked = len(memory["far"])
        why = support.elsewhere(known, float(memory["far"].mean()), float(memory["distance"].mean()), looked, self.far)
        if why:
            labels = math.ceil((support.z_score(self.confidence) / self.half_width) ** 2 * known["spread"]) or 1
            return Reading(estimate, False, f"unknown: {why}; label {labels} more for ± {self.half_width:g}", labels)
        why = f"estimated mean loss {value:.4g} ({estimate.low:.4g} to {estimate.high:.4g}) over the newest {n} answers"
        why = f"{why}, from inputs, which tell {known['skill']:.0%} of the variance of the reference's losses"
        return Reading(estimate, True, why, 0)

    def _blocks(self, memory: dict[str, Any], parts: list[Any], blocks: int) -> None:
        """Fold whole blocks; one at a time, as a matrix product of another height may differ in its last bit."""
        known, few = memory["reference"], min(self.block, max(1, GATED // blocks))
        place = np.arange(few) * self.block // few
        counts = [_tally(known, part) for part in parts]
        seen = [support.measure(known, part[place]) for part in parts]
        for name, fresh, length in (
            ("counts", np.array(counts), blocks),
            ("distance", np.concatenate([distance for distance, _ in seen]), blocks * few),
            ("far", np.concatenate([far for _, far in seen]).astype(np.int64), blocks * few),
        ):
            memory[name] = np.concatenate([memory[name], fresh])[-length:]

    def _finding(self, memory: Memory) -> Finding:
        reading, most = self.read(memory), memory["reference"]["limit"]
        if not reading.valid:
            return silent(self.name, self.promise, reading.why, limit=most, n=reading.estimate.n)
        alarm, why = reading.estimate.low > most, reading.why
        if alarm:
            why += f"; that is above {most:.4g}. Label some of the newest answers to confirm it"
        return Finding(
            check=self.name, value=reading.estimate.value, limit=most, evidence=1.0, promise=self.promise, alarm=alarm,
            n=reading.estimate.n, why=why,
        )  # fmt: skip


def _reference(reference: Columns, names: list[str]) -> tuple[Any, Any, dict[str, Any]]:
    """Losses (n,) and features (n, d) of up to 50,000 labelled rows at random, and how features are scaled."""
    loss = np.asarray(reference.get("loss", ()), np.float64)
    labelled = np.flatnonzero(np.isfinite(loss))
    placed = labelled[np.random.default_rng(0).permutation(len(labelled))[:PLACED]]
    columns = {name: np.asarray(reference[name])[placed] for name in names if name in reference}
    raw = support.features(columns, names)
    if not len(raw):
        return np.zeros(0), raw, {"middle": np.zeros(0), "scale": np.zeros(0), "typical": np.zeros(0)}
    scale = support.scale(raw, names)
    x = support.features(columns, names, scale)
    whole = np.isfinite(x).all(axis=1)
    return loss[placed][whole], x[whole], scale


def _view(known: Memory, x: Any) -> Any:
    """What is cut into bins, (n, c): numeric columns, or the whitened axes of an embedding."""
    return support.whiten(known, x) if known["names"] == ["embedding"] else x[:, :-1]


def _bins(view: Any, edges: Any, first: Any) -> Any:
    """The bin (n, c) of every row in every column, numbered through."""
    parts = zip(edges, view.T, first, strict=True)
    return np.column_stack([np.searchsorted(cut, column, side="right") + at for cut, column, at in parts])


def _tally(known: Memory, x: Any) -> Any:
    """How many rows lie in every bin, (size,)."""
    place = _bins(_view(known, x), known["edges"], known["first"])
    return np.bincount(place.ravel(), minlength=known["size"])


def _model(view: Any, loss: Any) -> dict[str, Any]:
    """Ridge regression of loss (n,) on the quantile bins of `view` (n, c), about the mean row.

    `covariance` is that of its `weights`, whatever the spread of each row (White 1980); `noise` the spread of losses
    about it, and `noise_weights` how that varies.
    """
    edges = [np.unique(np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1])).astype(np.float32) for column in view.T]
    first = np.cumsum([0, *(len(cut) + 1 for cut in edges)]).tolist()
    size = first[-1]
    fitted = {"edges": edges, "first": first[:-1], "size": size}
    design, bins = np.zeros((len(loss), size), np.float32), _bins(view, edges, first[:-1])
    design[np.arange(len(loss))[:, None], bins] = 1
    centre = design.mean(axis=0, dtype=np.float64)
    design = design.astype(np.float64) - centre
    ridge, skill = _chosen(design, loss)
    gram, mean = design.T @ design, float(loss.mean())
    inverse = np.linalg.inv(gram + ridge * np.eye(size))
    inverse += ridge * inverse @ inverse  # fitted once more to what the penalty left: half the bias (Tukey's twicing)
    weights = inverse @ (design.T @ (loss - mean))
    spent = float(np.einsum("ij,ji", inverse, gram)) + 1  # degrees of freedom that the fit used up
    residual = (loss - mean - design @ weights) * math.sqrt(len(loss) / (len(loss) - min(spent, len(loss) / 2)))
    square = residual**2
    noise = float(square.mean())
    uneven = design.T @ (design * square[:, None])
    return fitted | {
        "centre_bins": centre, "mean": mean, "weights": weights, "noise": noise, "skill": skill,
        "noise_weights": inverse @ (design.T @ (square - noise)), "covariance": inverse @ uneven @ inverse,
        "spread": float(loss.var()), **_tilts(view[:TILTED], bins[:TILTED], size), "residual": residual[:TILTED],
    }  # fmt: skip


def _tilts(view: Any, bins: Any, size: int) -> dict[str, Any]:
    """Standardised columns and their squares of some reference rows, `tilt` (n, 2c), about 0, their inverse covariance
    `lean` (2c, 2c), and the mean of them in each bin of their own column, `tilt_bins` (size, 2c).
    """
    z = (view - view.mean(axis=0, dtype=np.float64)) / np.maximum(view.std(axis=0, dtype=np.float64), 1e-9)
    z = np.clip(z, -OUTERMOST, OUTERMOST)
    tilt = np.concatenate([z, (z * z - 1) / math.sqrt(2)], axis=1)
    tilt -= tilt.mean(axis=0)
    sums, columns = np.zeros((size, tilt.shape[1])), view.shape[1]
    for i, column in enumerate(tilt.T):
        sums[:, i] = np.bincount(bins[:, i % columns], weights=column, minlength=size)
    held = np.maximum(np.bincount(bins.ravel(), minlength=size), 1)
    lean = np.linalg.inv(tilt.T @ tilt / len(tilt) + LEANING * np.eye(tilt.shape[1]))
    return {"tilt": tilt, "lean": lean, "tilt_bins": sums / held[:, None]}


def _missed(known: Memory, share: Any, n: int) -> tuple[float, float]:
    """The mean residual of reference rows tilted to a window of n answers, and its variance; (0, 0) of chance alone.

    `share` (size,) is how the window's bins differ; by what chance moves them the tilt is shrunk (James and Stein 1961).
    """
    tilt, moved = known["tilt"], share @ known["tilt_bins"]
    lean = known["lean"] @ moved
    distance, chance = float(moved @ lean), len(moved) * (1 / n + 1 / len(tilt))
    if distance <= chance:
        return 0.0, 0.0
    weights = np.exp(np.clip((1 - chance / distance) * (tilt @ lean), -STEEPEST, STEEPEST))
    parts = (weights / weights.sum() - 1 / len(weights)) * known["residual"]
    return float(parts.sum()), float(parts @ parts)


def _chosen(design: Any, loss: Any) -> tuple[float, float]:
    """The penalty with the smallest held-out error in 5 folds (rows are in random order), and the variance it explains."""
    folds = np.array_split(np.arange(len(loss)), FOLDS)
    grams = [design[fold].T @ design[fold] for fold in folds]
    errors = np.zeros(len(RIDGES))
    for fold, gram in zip(folds, grams, strict=True):
        rest = np.ones(len(loss), bool)
        rest[fold] = False
        mean = float(loss[rest].mean())
        values, vectors = np.linalg.eigh(sum(grams) - gram)
        seen, held = vectors.T @ (design[rest].T @ (loss[rest] - mean)), design[fold] @ vectors
        for index, ridge in enumerate(RIDGES):
            gap = loss[fold] - mean - held @ (seen / (np.maximum(values, 0) + ridge))
            errors[index] += float(gap @ gap)
    best = int(errors.argmin())
    total = float(((loss - loss.mean()) ** 2).sum())
    return RIDGES[best], max(1 - float(errors[best]) / total, 0.0) if total > 0 else 0.0
