"""Labels that look wrong: rows on which an out-of-fold linear model disagrees, and is sure."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier.errors import MissingPackage, need

__all__ = ["suspicious"]

_ROWS = 20_000  # looked at, evenly spaced
_SHOWN = 20
_EXACT = 40_000  # rows times classes; beyond, or with more than 20 classes, SGD fits the same model much faster


def suspicious(texts: Sequence[str], labels: Sequence[str]) -> list[tuple[int, str]] | None:
    """The clearest of them as (index, likelier label), at most 20, the clearest first; None without scikit-learn.

    TF-IDF and logistic regression in three folds. A row is named when another label's probability reaches the mean
    that label gets on its own rows and ten times that of the given label: Northcutt, Jiang, Chuang, "Confident
    learning" (JAIR 2021). Classes with fewer than three rows are not judged.
    """
    try:
        need("sklearn", extra="fit")
    except MissingPackage:
        return None
    counts = Counter(labels)
    kept = np.array([i for i, label in enumerate(labels) if counts[label] >= 3], np.int64)
    if len(kept) < 50:
        return []
    if len(kept) > _ROWS:
        kept = kept[np.linspace(0, len(kept) - 1, _ROWS).astype(np.int64)]
        counts = Counter(labels[i] for i in kept)
        kept = np.array([i for i in kept if counts[labels[i]] >= 3], np.int64)
    classes, given = np.unique([labels[i] for i in kept], return_inverse=True)
    if len(classes) < 2:
        return []
    probability = _out_of_fold([texts[i] for i in kept], given, len(classes))  # (n, classes)
    if probability is None:
        return []
    rows = np.arange(len(kept))
    top, own = probability.argmax(axis=1), probability[rows, given]
    chance = max(np.bincount(given)) / len(given)
    if (top == given).mean() <= chance + 3 * np.sqrt(chance * (1 - chance) / len(given)):
        return []  # words say nothing about these labels, so they cannot doubt one
    usual = np.array([probability[given == c, c].mean() for c in range(len(classes))])
    best = probability[rows, top]
    doubted = np.flatnonzero((top != given) & (best >= usual[top]) & (own <= 0.1 * best))
    order = doubted[np.argsort(own[doubted] - best[doubted], kind="stable")][:_SHOWN]
    return [(int(kept[i]), str(classes[top[i]])) for i in order]


def _out_of_fold(texts: Sequence[str], given: Any, classes: int) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, SGDClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    words = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, min_df=2, max_features=50_000, token_pattern=r"(?u)\w+|[^\w\s]",
        dtype=np.float32,
    )  # fmt: skip
    model = (
        LogisticRegression(C=10, max_iter=100)
        if classes <= 20 and len(texts) * classes <= _EXACT
        else SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=15, random_state=0)
    )
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    try:
        features = words.fit_transform([text[:2_000] for text in texts])
    except ValueError:  # no word occurs twice
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that did not converge is good enough to doubt a label
        return cross_val_predict(model, features, given, cv=folds, method="predict_proba")
