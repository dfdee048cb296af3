"""What metrics to expect from calibrated confidence: right answers by cell, confusion, F1, area under the ROC curve.

A cell is a predicted class and a range of confidence. Arrays over cells are (C, G): C classes, G ranges, rising.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

__all__ = ["curves", "expected", "isotonic", "metrics", "slips", "spread"]

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
PRIOR = 3.0  # rows of the curve over all classes that each class starts with


def isotonic(right: Any, count: Any) -> Floats:
    """The rising curve (G,) nearest to right / count: pool adjacent violators (Ayer et al. 1955).

    Each cell starts with a hundredth of a row at the overall rate, so that empty cells follow their neighbours.
    """
    rate = float(right.sum() / count.sum())
    goods: list[float] = []
    rows: list[float] = []
    widths: list[int] = []
    for good, n in zip((right + 0.01 * rate).tolist(), (count + 0.01).tolist(), strict=True):
        width = 1
        while goods and goods[-1] * n >= good * rows[-1]:  # the block before lies no lower: they are one
            good, n, width = goods.pop() + good, rows.pop() + n, widths.pop() + width
        goods.append(good)
        rows.append(n)
        widths.append(width)
    return np.repeat(np.array(goods) / np.array(rows), widths)


def curves(right: Floats, count: Floats) -> Floats:
    """P(right | cell), (C, G): a rising curve a class, leaning on the curve over all classes where rows are few."""
    good, n = right.sum(axis=0), count.sum(axis=0)
    pooled = isotonic(good, n)
    if len(right) == 1:
        return pooled[None]
    prior = PRIOR * (n + 0.01) / (n + 0.01).sum()
    return np.array([isotonic(own + prior * pooled, rows + prior) for own, rows in zip(right, count, strict=True)])


def spread(curve: Floats, right: Floats, count: Floats, squares: Floats) -> tuple[Floats, Any]:
    """Standard error (C, G) of a curve and its steps (C, G), numbered: cells that were pooled err together.

    `squares` are sums of squared weights, for the effective number of rows (Kish 1965). Half a right and half a wrong
    row more keep a step without errors from being certain; a step without rows is as uncertain as half a row.
    """
    fresh = np.column_stack([np.ones(len(curve), bool), np.diff(curve, axis=1) != 0])
    step = np.cumsum(fresh.ravel()) - 1
    good, n, square = (np.bincount(step, part.ravel()) for part in (right, count, squares))
    share = (good + 0.5) / (n + 1)
    rows = np.maximum(n * n / np.maximum(square, 1e-12), 0.5)
    error: Floats = np.sqrt(share * (1 - share) / rows)[step].reshape(curve.shape)
    return error, step.reshape(curve.shape)


def expected(right: Any, counts: Floats, mistakes: Any) -> Any:
    """Expected confusion (..., C, C), [predicted, target], from right answers (..., C) among `counts` (C,).

    `mistakes` (..., C, C): where a wrong answer's target lies, rows that sum to 1 with an empty diagonal.
    """
    wrong = counts - right
    return wrong[..., None] * mistakes + right[..., None] * np.eye(len(counts))


def slips(mistakes: Floats, wrong: Floats, known: Floats, normal: Floats) -> Floats:
    """Draws (..., C, C) of `mistakes` as `wrong` (C,) new rows would show them, learned from `known` (C,) wrong rows.

    `normal` (..., C, C) standard draws; the variance is the multinomial one of both, and rows go on to sum to 1.
    """
    rows = 1 / np.maximum(wrong, 1.0) + 1 / np.maximum(known, 1.0)  # (C,)
    error = normal * np.sqrt(mistakes * rows[:, None])  # less its share, multinomial
    drawn: Floats = mistakes + error - mistakes * error.sum(axis=-1, keepdims=True)
    return drawn


def metrics(right: Any, counts: Floats, mistakes: Any) -> dict[str, Any]:
    """Metrics of right answers (..., C, G) among counts (C, G): accuracy, F1s, confusion cells, and AUROC of two.

    With several leading draws every metric is an array of them. `mistakes` of width 0: accuracy only.
    """
    total = counts.sum()
    found: dict[str, Any] = {"accuracy": right.sum(axis=(-2, -1)) / total}
    classes = mistakes.shape[-1]
    if not classes:
        return found
    table = expected(right.sum(axis=-1), counts.sum(axis=1), mistakes)
    hit = np.diagonal(table, axis1=-2, axis2=-1)
    said, true = table.sum(axis=-1), table.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        for name, value in (("precision", hit / said), ("recall", hit / true), ("f1", 2 * hit / (said + true))):
            found |= {f"{name}[{c}]": value[..., c] for c in range(classes)}
            found[f"{name}_macro"] = value.mean(axis=-1)
    found |= {f"confusion[{i},{j}]": table[..., i, j] for i in range(classes) for j in range(classes)}
    if classes == 2:
        found["auroc"] = _auroc(right, counts)
    return found


def _auroc(right: Any, counts: Floats) -> Any:
    """Area under the ROC curve of the score of class 1: cells of class 0 from sure to unsure, then of class 1."""
    positive = np.concatenate([(counts - right)[..., 0, ::-1], right[..., 1, :]], axis=-1)  # (..., 2 G), rising score
    negative = np.concatenate([right[..., 0, ::-1], (counts - right)[..., 1, :]], axis=-1)
    below = np.cumsum(negative, axis=-1) - negative / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (positive * below).sum(axis=-1) / (positive.sum(axis=-1) * negative.sum(axis=-1))
