"""Are rows stranger than the reference's own, by any outlier score?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from luthier.checks.base import Memory, ended, silent
from luthier.evidence import LARGEST, advance, clopper_pearson_upper, detector, level_ever, level_now, rise, watch_rise
from luthier.evidence.conformal import exceedance_bets, learn, normal_scores, p_values, ranks, tilt_bets, uniforms
from luthier.names import register
from luthier.outliers import Detector, HalfSpaces, Mahalanobis, Nearest, Reconstruction
from luthier.statistics.base import hash64
from luthier.types import Columns, Finding, Promise

__all__ = ["Outlier"]

FEWEST = 100  # reference rows, half to fit and half to calibrate
MOST = 20_000  # reference rows used, the first of a permutation
AT_ONCE = 500  # rows that the reference is scored at a time
CENTRED = 4000  # of its rows that say of which order scores are
TILTS = (0.5, 1.0, 2.0)
STAKES = ((0.05, 0.005), (0.2, 0.05))  # share staked, p-value: few and very strange rows
STRANGE = 0.05  # share of the reference beyond the edge
ROOM = 0.01  # by which that share may be exceeded, over the bound for the reference's own error
BY_NAME: dict[str, Detector] = {
    "nearest": Nearest(), "mahalanobis": Mahalanobis(), "half_spaces": HalfSpaces(), "reconstruction": Reconstruction(),
}  # fmt: skip


@register("check", "outlier.v1")
@dataclass(frozen=True, slots=True)
class Outlier:
    """Two e-SR detectors of an outlier score, averaged: at most one false alarm in `arl` rows on average.

    `method`: "nearest", "mahalanobis", "half_spaces", "reconstruction", or any `luthier.outliers.Detector` (isolation forest,
    autoencoder, PyOD, River: `luthier.outliers.detectors`). `columns` of numbers (n,) or vectors (n, d) are put side by side,
    in robust standard deviations. One half of the reference fits the score, the other half calibrates it, twice: as
    the beginning of the stream of ranks, whose conformal p-values are exact for any score while rows stay
    exchangeable with the reference or their normal scores rise by at most `slack`; and by its 95 % point, with the
    share of rows beyond it held against the Clopper-Pearson bound (1 - delta) of the reference's share and 1 %. The
    first finds any change however small the reference, the second one that was there from the first row on. Ties
    are broken by hash of `id`, or by the running number. Rows are scored in
    blocks of `block`, which wait in memory until they are full. Strange is no proof of harm.
    """

    name: ClassVar[str]
    when: ClassVar[Literal["answer"]] = "answer"
    method: str | Detector = "nearest"
    columns: tuple[str, ...] = ("embedding",)
    arl: float = 100_000
    delta: float = 0.025
    slack: float = 0.1
    block: int = 16

    def __post_init__(self) -> None:
        if isinstance(self.method, str) and self.method not in BY_NAME:
            raise ValueError(f"method is {self.method!r}; it must be {', '.join(BY_NAME)} or a detector object")
        if not self.columns or self.block < 1:
            raise ValueError(f"columns are {self.columns!r} and block is {self.block}; at least one each is needed")

    @property
    def promise(self) -> Promise:
        return Promise("e-detector", self.arl)

    def start(self, reference: Columns) -> Memory:
        """Memory from the reference's `columns`; rows with a number that is missing or infinite are left out."""
        x, _ = _table(reference, self.columns)
        x = x[np.isfinite(x).all(axis=1)]
        known: dict[str, Any] = {"why": "", "width": x.shape[1]}
        memory = {
            "reference": known, "buffer": np.zeros((0, x.shape[1]), np.float32), "keys": np.zeros(0, np.uint64),
            "n": 0, "left_out": 0, "alarm_n": 0, "ranks": ranks(), "far": rise(),
            "engine": detector(len(TILTS) + len(STAKES)),
        }  # fmt: skip
        if len(x) < FEWEST or not x.shape[1]:
            known["why"] = f"not watched: the reference has {len(x)} whole rows of {', '.join(self.columns)}; " + (
                f"{FEWEST} are needed, each with finite numbers in all of them"
            )
            return memory
        calibration = self._learn(known, x[np.random.default_rng(0).permutation(len(x))[:MOST]])
        if not len(calibration):
            known["why"] = f"not watched: {self._how} scores no row of the reference with a number"
            return memory
        known["edge"] = float(np.quantile(calibration, 1 - STRANGE))
        beyond = int((calibration > known["edge"]).sum())
        known["limit"] = min(clopper_pearson_upper(beyond, len(calibration), self.delta) + ROOM, 1 - 1e-9)
        return {**memory, "ranks": learn(ranks(), calibration)}

    def _learn(self, known: dict[str, Any], x: np.ndarray) -> np.ndarray:
        """Fit to one half of x (n, d), into `known`; scores of the other half without the NaN."""
        half = len(x) // 2
        known.update(_scaling(x[:half]))
        fitted, rest = _scaled(known, x[:half]), _scaled(known, x[half:])
        known.update(state=dict(self._detector.fit(fitted)), centre=0.0, spread=1.0)
        known.update(_middle(self._score(known, fitted[:CENTRED], AT_ONCE)))
        scores = self._score(known, rest, AT_ONCE)
        calibration: np.ndarray = scores[~np.isnan(scores)]
        return calibration

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        """Go on with the window's `columns`, and `id` (n,) if there is one."""
        known = memory["reference"]
        if known["why"]:
            return memory, silent(self.name, self.promise, known["why"])
        x, keys = self._rows(memory, window)
        good = np.isfinite(x).all(axis=1)
        after = {**memory, "left_out": memory["left_out"] + int((~good).sum())}
        x, keys = np.concatenate([memory["buffer"], x[good]]), np.concatenate([memory["keys"], keys[good]])
        whole = len(x) // self.block * self.block
        after["buffer"], after["keys"] = x[whole:].copy(), keys[whole:].copy()
        if whole:
            scores = self._score(known, _scaled(known, x[:whole]), self.block)
            scored = ~np.isnan(scores)
            after["left_out"] += int((~scored).sum())
            after = self._advance(after, scores[scored], keys[:whole][scored])
        return after, self._finding(after)

    @property
    def _detector(self) -> Detector:
        return BY_NAME[self.method] if isinstance(self.method, str) else self.method

    def _rows(self, memory: Memory, window: Columns) -> tuple[np.ndarray, np.ndarray]:
        """(n, d) and a key a row; a window without one of the columns has no rows, one of another width only bad ones."""
        x, ids = _table(window, self.columns)
        if x.shape[1] != memory["reference"]["width"]:
            x = np.full((len(x), memory["reference"]["width"]), np.nan, np.float32)
        first = memory["n"] + memory["left_out"] + len(memory["buffer"])
        keys = hash64(ids) if len(ids) else np.arange(first, first + len(x), dtype=np.uint64)
        return x, keys

    def _score(self, known: Memory, x: np.ndarray, block: int) -> np.ndarray:
        """(n,) of order 1, from whole blocks; what does not fill the last one is filled up with its last row."""
        size = -(-len(x) // block) * block
        filled = np.concatenate([x, np.repeat(x[-1:], size - len(x), axis=0)]) if size > len(x) else x
        raw = self._detector.score(known["state"], filled.reshape(-1, block, x.shape[1])).reshape(-1)[: len(x)]
        scores: np.ndarray = (np.asarray(raw, dtype=np.float64) - known["centre"]) / known["spread"]
        return scores

    def _advance(self, memory: Memory, scores: np.ndarray, keys: np.ndarray) -> dict[str, Any]:
        known, n = memory["reference"], memory["n"]
        ranked, p = p_values(memory["ranks"], scores, uniforms(keys))
        bets = np.vstack([
            tilt_bets(normal_scores(p), TILTS, self.slack), exceedance_bets(p, STAKES, self.slack),
        ])  # fmt: skip
        engine, ranks_path = advance(memory["engine"], bets)
        far, far_path = watch_rise(memory["far"], (scores > known["edge"]).astype(np.float64), known["limit"])
        high = (ranks_path + far_path) / 2 >= self.arl
        alarm_n = memory["alarm_n"] or (n + int(high.argmax()) + 1 if high.any() else 0)
        return {**memory, "n": n + len(p), "ranks": ranked, "engine": engine, "far": far, "alarm_n": alarm_n}

    def _finding(self, memory: Memory) -> Finding:
        known, n, far = memory["reference"], memory["n"], memory["far"]
        lost = f"; {memory['left_out']} rows left out: not {known['width']} finite numbers in "
        lost = (
            f"{lost}{', '.join(self.columns)}. Fill them in or watch them with quality.v2" if memory["left_out"] else ""
        )
        if not n:
            why = f"{len(memory['buffer'])} of the first {self.block} rows seen{lost}"
            return silent(self.name, self.promise, why, limit=known["limit"])
        value, beyond = level_ever(far), f"stranger than {1 - STRANGE:.0%} of the reference by {self._how}"
        why = f"{value:.1%} of {n} rows are {beyond}, allowed {known['limit']:.1%}"
        if memory["alarm_n"]:
            recent, count, begun = level_now(far)
            count = count if begun < memory["alarm_n"] else 0  # a stretch of its own is not what was shown
            value = recent if count else value
            why = (
                f"rows have become strange: {value:.1%} of {count or n} since about row {begun + 1} are {beyond} (allowed "
                f"{known['limit']:.1%}); shown at row {memory['alarm_n']}. Look at the newest of them and label some: strange "
                f"may or may not be harm"
            )
            if not count:
                why = ended(f"rows became strange: {value:.1%} {beyond}", n, "row", memory["alarm_n"])
        evidence = min((memory["engine"]["value"] + far["detector"]["value"]) / 2, LARGEST)
        return Finding(
            check=self.name, value=value, limit=known["limit"], evidence=evidence, promise=self.promise,
            alarm=bool(memory["alarm_n"]), n=n, why=why + lost,
        )  # fmt: skip

    @property
    def _how(self) -> str:
        how = self.method if isinstance(self.method, str) else type(self.method).__name__
        return f"{how} of {', '.join(self.columns)}"


def _table(columns: Columns, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The named columns side by side (n, d) float32, what is no number NaN, and `id` (n,) or nothing (0,)."""
    if not all(name in columns for name in names):
        return np.zeros((0, 0), np.float32), np.zeros(0)
    parts = [_numbers(np.asarray(columns[name])) for name in names]
    x = np.concatenate([part[:, None] if part.ndim == 1 else part for part in parts], axis=1)
    ids = np.asarray(columns.get("id", ()))
    return x, (ids if ids.dtype.kind in "biuU" else ids.astype(str)) if len(ids) == len(x) else np.zeros(0)


def _numbers(values: np.ndarray) -> np.ndarray:
    if values.ndim not in (1, 2):
        return np.full((len(values), 1), np.nan, np.float32)
    try:
        with np.errstate(over="ignore"):
            numbers: np.ndarray = values.astype(np.float32)
    except (TypeError, ValueError):
        numbers = np.full(values.shape, np.nan, np.float32)
    return numbers


def _scaling(x: np.ndarray) -> dict[str, Any]:
    """Median and robust sd of each column of x (n, d); a column that hardly varies keeps its unit."""
    middle = np.median(x, axis=0)
    spread = 1.4826 * np.median(np.abs(x - middle), axis=0)
    spread = np.where(spread > 0, spread, x.std(axis=0))
    return {"middle": middle, "size": np.where(spread > 0, spread, 1.0).astype(np.float32)}


def _scaled(known: Memory, x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        scaled: np.ndarray = np.clip((x - known["middle"]) / known["size"], -1e9, 1e9)
    return scaled


def _middle(scores: np.ndarray) -> dict[str, float]:
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return {}
    centre = float(np.median(scores))
    return {"centre": centre, "spread": float(np.median(np.abs(scores - centre))) or float(scores.std()) or 1.0}
