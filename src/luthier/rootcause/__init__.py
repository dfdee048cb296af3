"""Where a rise of the loss comes from: every slice of one or two predicates, every feature, and examples.

A slice explains a rise when its own loss rose more than that of the rest, or when it was harder than the rest and its share
grew. An equal rise everywhere, or none, explains nothing by any slice. Slices are named only when bounds that hold for all
of them at once say so (Bonferroni over all that were looked at).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from luthier.errors import StateError
from luthier.evidence.intervals import chernoff
from luthier.rootcause import slicing
from luthier.rootcause.examples import Example, failures
from luthier.rootcause.slicing import Feature, ScanOptions, Table
from luthier.tables import arrays, floats, matrix
from luthier.types import Estimate

__all__ = ["Example", "FeatureEffect", "RootCause", "ScanOptions", "Slice", "explain"]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Codes: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
_JUDGED = 2_000  # slices whose bounds are computed, of all that were looked at
_QUEUE = 400  # slices that are shown to matter, among which the named ones are chosen
_SCREEN = 0.4  # of the normal bound: Chernoff's, for few losses, may be as near as half of it


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows that one or two predicates choose. `kind` "worse": their loss rose more than elsewhere; "more": a slice that
    is harder than the rest has a larger share.

    `effect`: mean loss that would be saved had it risen only as much as the rest ("worse"), or kept its share. `low`: lower bound, true for all slices
    looked at together, of its rise beyond the rise elsewhere ("worse") or of the growth of its share ("more").
    """

    name: str
    kind: Literal["worse", "more"]
    effect: float
    low: float
    before: Estimate
    after: Estimate
    share_before: float
    share_after: float
    elsewhere_before: float
    elsewhere_after: float


@dataclass(frozen=True, slots=True)
class FeatureEffect:
    """A column's part in the rise: `mix` Σ (q - p) · err, the same losses on other inputs; `concept` Σ q · (err' - err),
    other losses on the same inputs. They add up to the rise. `moved`: the bin whose share changed it most."""

    name: str
    mix: Estimate
    concept: float
    moved: str
    share_before: float
    share_after: float


@dataclass(frozen=True, slots=True)
class RootCause:
    """What changed between two sets of rows; `looked` slices were tested at `alpha` together."""

    before: Estimate
    after: Estimate
    slices: tuple[Slice, ...] = ()
    features: tuple[FeatureEffect, ...] = ()
    examples: tuple[Example, ...] = ()
    looked: int = 0
    alpha: float = 0.05
    why: str = field(default="")

    @property
    def rise(self) -> float:
        """How much the mean loss rose."""
        return self.after.value - self.before.value


def explain(before: Any, after: Any, options: ScanOptions | None = None) -> RootCause:
    """Why the mean `loss` after is not that before: the slices, features and examples behind it.

    Tables (dictionaries of arrays, Arrow, pandas, Polars) with `loss` in [0, 1]; every one-dimensional column that both have is a feature
    (tags, numbers, `predicted`, `target`), `embedding` (n, d) gives the examples. Rows with no loss are left out.
    Where fewer than `least` rows are on either side nothing is claimed, and `why` says so.

    Raises StateError for what is no table, has no column `loss`, or a loss outside [0, 1].

    >>> rng = np.random.default_rng(0)
    >>> def rows(n, german):
    ...     lang = rng.choice(["de", "en", "fr"], n)
    ...     return {"tag:lang": lang, "loss": (rng.random(n) < np.where(lang == "de", german, 0.1)).astype(float)}
    >>> explain(rows(1000, 0.1), rows(500, 0.5)).slices[0].name
    'lang=de'
    """
    options = options or ScanOptions()
    old, new = _known(before, "before"), _known(after, "after")
    count = len(old["loss"]), len(new["loss"])
    totals = _mean(old["loss"]), _mean(new["loss"])
    if min(count) < options.least:
        why = (
            f"no cause looked for: {count[0]} rows before and {count[1]} after have a loss; {options.least} are needed"
        )
        return RootCause(*totals, alpha=options.alpha, why=why)
    features = slicing.features(old, new, options)
    loss = np.concatenate([old["loss"], new["loss"]])
    slices, looked = _named(features, loss, count, options)
    effects = tuple(
        sorted((_effect(one, loss, count, len(features)) for one in features), key=lambda e: -abs(e.mix.value))
    )
    examples = failures(old, new, options.named)
    found = RootCause(*totals, slices, effects, examples, looked, options.alpha)
    return replace(found, why=_sentence(found))


def _known(columns: Any, side: str) -> dict[str, np.ndarray]:
    """The rows that have a loss."""
    table = arrays(columns)
    if table and "loss" not in table:
        raise StateError(
            f"there is no column 'loss' {side} the change, but {', '.join(table)}: give a loss in [0, 1] a row"
        )
    loss = floats("loss", table.get("loss", np.zeros(0)))
    if loss.ndim != 1:
        raise StateError(f"column 'loss' {side} the change is {loss.shape}: give one loss a row")
    if "embedding" in table:
        table["embedding"] = _vectors(table["embedding"], side)
    there = ~np.isnan(loss)
    if ((loss[there] < 0) | (loss[there] > 1)).any():
        raise StateError(f"a loss {side} the change lies outside [0, 1]; divide by its largest possible value first")
    kept = table if there.all() else {name: array[there] for name, array in table.items()}
    return kept | {"loss": loss[there]}


def _vectors(values: np.ndarray, side: str) -> np.ndarray:
    """(n, d) float64; a row with a number beyond 1e100, whose square is none, is NaN throughout."""
    rows = floats("embedding", matrix("embedding", values))
    if rows.ndim != 2:
        raise StateError(f"column 'embedding' {side} the change is {rows.shape}: give one vector a row, (n, d)")
    with np.errstate(invalid="ignore"):
        return np.where((np.abs(rows) < 1e100).all(axis=1)[:, None], rows, np.nan)


# -- which slices are named ----


@dataclass(frozen=True, slots=True)
class _Sums:
    """Rows and losses before and after: of everything (2,) and of slices (2, m)."""

    total: Floats
    lost: Floats
    rows: Floats
    losses: Floats


@dataclass(frozen=True, slots=True)
class _Measured:
    """Of m slices: rows, losses and means (2: inside, elsewhere; 2: before, after; m), shares (2, m); the `rise` of the mean
    beyond that elsewhere; how much `harder` the slice is, and at which time (`when`) that was measured."""

    n: Floats
    k: Floats
    means: Floats
    shares: Floats
    rise: Floats
    harder: Floats
    when: Codes

    @property
    def worse(self) -> Floats:
        """Mean loss that would be saved had the slice risen only as much as the rest."""
        saved: Floats = self.shares[1] * self.rise
        return saved

    @property
    def more(self) -> Floats:
        """Mean loss that comes from the growth of the slice's share."""
        grown: Floats = (self.shares[1] - self.shares[0]) * self.harder
        return grown


def _measure(sums: _Sums, least: int) -> _Measured:
    n = np.stack([sums.rows, sums.total[:, None] - sums.rows])
    k = np.clip(np.stack([sums.losses, sums.lost[:, None] - sums.losses]), 0, n)
    means = np.divide(k, n, out=np.full(n.shape, np.nan), where=n > 0)
    when = np.where(sums.rows[0] >= least, 0, 1)  # slices that were hardly there before are judged by the rows after
    place = np.arange(len(when))
    rise = np.where((sums.rows >= least).all(axis=0), means[0, 1] - means[0, 0] - (means[1, 1] - means[1, 0]), -np.inf)
    harder = means[0, when, place] - means[1, when, place]
    return _Measured(n, k, means, sums.rows / sums.total[:, None], rise, harder, when)


def _rank(measured: _Measured, worse: Any = True, more: Any = True) -> Floats:
    """Slices by what they explain; 1 - share makes a slice outrank those that merely contain it (the covariance)."""
    explains = np.where(worse, measured.worse * (1 - measured.shares[1]), -np.inf)
    ranked: Floats = np.maximum(explains, np.where(more & (measured.harder > 0), measured.more, -np.inf))
    return ranked


def _bounds(measured: _Measured, level: float) -> tuple[Floats, Floats]:
    """Lower bounds (m,) of the rise beyond the rest's, and of the growth of the share of slices shown to be harder.

    Each is wrong with chance `level`: Chernoff's bounds of the means, joined by MOVER (Zou & Donner 2008).
    """
    means, place = measured.means, np.arange(len(measured.when))
    low, high = chernoff(measured.k, measured.n, level)
    below, above = means - low, high - means
    rise = measured.rise - np.sqrt(below[0, 1] ** 2 + above[0, 0] ** 2 + above[1, 1] ** 2 + below[1, 0] ** 2)
    when = measured.when
    harder = measured.harder - np.hypot(below[0, when, place], above[1, when, place])
    shares = measured.shares
    low, high = chernoff(measured.n[0], measured.n.sum(axis=0), level)
    grown = shares[1] - shares[0] - np.hypot(shares[1] - low[1], high[0] - shares[0])
    return rise, np.where(harder > 0, grown, -np.inf)


def _named(
    features: Sequence[Feature], loss: Floats, count: tuple[int, int], options: ScanOptions
) -> tuple[tuple[Slice, ...], int]:
    """The slices shown to matter, those that explain most first, each still shown once the rows of the others are set
    aside; and how many slices were looked at."""
    total, lost = np.array(count, float), np.array([loss[: count[0]].sum(), loss[count[0] :].sum()])
    likely, looked = Table.of([]), 0
    for table in slicing.scan(features, loss, count, options.least):
        looked += table.rows.shape[1]
        likely = _likeliest(Table.of([likely, table]), total, lost, options)
    if not likely.rows.size:
        return (), looked
    level = options.alpha / (2 * looked)  # the bounds hold for all that were looked at
    measured = _measure(_Sums(total, lost, likely.rows, likely.losses), options.least)
    worse, more = _bounds(measured, level)
    rank = _rank(measured, worse > 0, more > 0)
    free, named = np.ones(len(loss), bool), list[Slice]()
    for i in np.argsort(-rank, kind="stable")[: min(int((rank > 0).sum()), _QUEUE)].tolist():
        mask = _mask(likely.parts[i], features)
        if named and not _still(mask, free, loss, count[0], level, options.least):
            continue
        named.append(_slice(_text(likely.parts[i], features), measured, i, worse[i], more[i], level))
        if len(named) == options.named:
            break
        free &= ~mask
    return tuple(named), looked


def _likeliest(table: Table, total: Floats, lost: Floats, options: ScanOptions) -> Table:
    """The slices that seem to explain most, of those that may be shown: only theirs are bounds that are worth computing."""
    measured = _measure(_Sums(total, lost, table.rows, table.losses), options.least)
    level = options.alpha / (2 * max(table.rows.shape[1], 1))
    guess = _rank(measured, *_promising(measured, level))
    return table.at(np.argsort(-guess, kind="stable")[: min(int((guess > 0).sum()), _JUDGED)])


def _promising(measured: _Measured, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Which slices might have a bound above 0: those that reach `_SCREEN` of the normal one. "Worse", and "more"."""
    z = _SCREEN * math.sqrt(2 * math.log(1 / level))
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.nan_to_num(measured.means * (1 - measured.means) / measured.n)
        whole = measured.n.sum(axis=0)  # (2, m)
        moved = (measured.shares * (1 - measured.shares) / whole).sum(axis=0)
    worse: np.ndarray = measured.rise >= z * np.sqrt(spread.sum(axis=(0, 1)))
    more: np.ndarray = measured.shares[1] - measured.shares[0] >= z * np.sqrt(moved)
    return worse, more


def _mask(part: Codes, features: Sequence[Feature]) -> np.ndarray:
    f, a, g, b = part.tolist()
    chosen = _inside(features[f], a)
    return chosen if g < 0 else chosen & _inside(features[g], b)


def _inside(feature: Feature, span: int) -> np.ndarray:
    first, last = feature.spans[span].tolist()
    held: np.ndarray = (feature.codes >= first) & (feature.codes <= last) if first < last else feature.codes == first
    return held


def _text(part: Codes, features: Sequence[Feature]) -> str:
    f, a, g, b = part.tolist()
    return f"{features[f].named[a]} and {features[g].named[b]}" if g >= 0 else features[f].named[a]


def _still(mask: np.ndarray, free: np.ndarray, loss: Floats, old: int, level: float, least: int) -> bool:
    """Whether a slice is shown to matter among the rows that are `free`."""
    sides = [slice(None, old), slice(old, None)]
    inside = mask & free
    total, rows = (np.array([part[side].sum() for side in sides], float) for part in (free, inside))
    if total.min() <= least or not least <= rows[1] <= total[1] - least:
        return False
    lost, losses = (np.array([loss[side][part[side]].sum() for side in sides]) for part in (free, inside))
    measured = _measure(_Sums(total, lost, rows[:, None], losses[:, None]), least)
    if not _rank(measured, *_promising(measured, level))[0] > 0:
        return False
    worse, more = _bounds(measured, level)
    return bool(_rank(measured, worse > 0, more > 0)[0] > 0)


def _slice(name: str, measured: _Measured, i: int, worse: float, more: float, level: float) -> Slice:
    """Slice `i` of those measured, with its bounds; of two reasons that are shown, the larger one."""
    gained, grown = (
        float(part[i]) if bound > 0 else -math.inf for part, bound in ((measured.worse, worse), (measured.more, more))
    )
    means, n = measured.means[:, :, i], measured.n[0, :, i]
    low, high = chernoff(measured.k[0, :, i], n, level)
    before, after = (
        Estimate(float(means[0, t]), int(n[t]), float(low[t]), float(high[t])) if n[t] else Estimate() for t in (0, 1)
    )
    kind, bound = ("worse", worse) if gained >= grown else ("more", more)
    return Slice(
        name, "worse" if kind == "worse" else "more", max(gained, grown), float(bound), before, after,
        *(float(share) for share in measured.shares[:, i]), *(float(mean) for mean in means[1]),
    )  # fmt: skip


# -- features, words ----


def _effect(feature: Feature, loss: Floats, count: tuple[int, int], looked: int) -> FeatureEffect:
    """Mix and concept effect; the mix with its normal interval, by the delta method, at 95 % for all features together."""
    width = len(feature.labels)
    sides = (slice(None, count[0]), slice(count[0], None))
    rows = [np.bincount(feature.codes[side], minlength=width) for side in sides]
    losses = [np.bincount(feature.codes[side], weights=loss[side], minlength=width) for side in sides]
    overall = loss[sides[0]].mean()
    err = np.divide(
        losses[0], rows[0], out=np.full(width, overall), where=rows[0] > 0
    )  # a new value is as hard as all were
    p, q = rows[0] / count[0], rows[1] / count[1]
    moved = (q - p) * (err - overall)
    mix = float(moved.sum())
    rise = float(loss[sides[1]].mean() - overall)
    spread = (q @ err**2 - (q @ err) ** 2) / count[1] + (p @ err**2 - (p @ err) ** 2) / count[0]
    noise = np.divide(np.minimum(err * (1 - err), 0.25), rows[0], out=np.full(width, 0.25), where=rows[0] > 0)
    half = _z(0.05 / max(looked, 1)) * math.sqrt(max(spread, 0.0) + float((q - p) ** 2 @ noise))
    top = int(np.argmax(moved if mix >= 0 else -moved))
    estimate = Estimate(mix, sum(count), mix - half, mix + half)
    return FeatureEffect(feature.name, estimate, rise - mix, feature.labels[top], float(p[top]), float(q[top]))


def _z(alpha: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(1 - alpha / 2)


def _mean(loss: Floats) -> Estimate:
    n = len(loss)
    if n == 0:
        return Estimate()
    low, high = chernoff(loss.sum(), n, 0.025)
    return Estimate(float(loss.mean()), n, float(low), float(high))


def _sentence(found: RootCause) -> str:
    """One sentence for a Finding's `why`: the three slices, or features, behind the rise, with numbers."""
    whole = f"mean loss {found.before.value:.3g} → {found.after.value:.3g}"
    moved = [one for one in found.features if one.mix.low > 0][: max(3 - len(found.slices), 0)]
    told = [_slice_text(one) for one in found.slices] + [_feature_text(one) for one in moved]
    if told:
        return f"{whole}: {'; '.join(told)}"
    return f"{whole}: none of {found.looked} slices is shown to have risen more than the rest"


def _slice_text(one: Slice) -> str:
    part = f"{one.effect * 100:.1f} points from {one.name} ({one.share_before:.0%} → {one.share_after:.0%} of answers, loss "
    was = f"{one.before.value:.3g}" if one.before.n else "unknown"
    return f"{part}{was} → {one.after.value:.3g}, elsewhere {one.elsewhere_before:.3g} → {one.elsewhere_after:.3g})"


def _feature_text(one: FeatureEffect) -> str:
    return (
        f"{one.mix.value * 100:.1f} points because {one.name} moved ({one.moved}: "
        f"{one.share_before:.0%} → {one.share_after:.0%} of answers)"
    )
