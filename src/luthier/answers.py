"""A table of answers and targets, as people have it, to the columns that statistics and checks read.

Which column is what is told by its name or by `roles`; whether it is classification or regression by what it holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.errors import StateError
from luthier.frames import Column, columns_of, length_of, names_of, part_of
from luthier.types import Columns

__all__ = ["ROLES", "Answers", "Understood", "understand"]

ROLES: Mapping[str, tuple[str, ...]] = {
    "target": ("target", "label", "y_true", "actual", "truth", "ground_truth"),
    "predicted": ("predicted", "prediction", "y_pred", "predicted_label", "output"),
    "score": ("score", "probability", "y_score", "y_prob", "y_pred_proba", "predicted_probability"),
    "probabilities": ("probabilities",),
    "confidence": ("confidence",),
}
"""Role to the names that say so, the first one there; `probabilities` is (n, k), or one column a class."""
_PREFIXES = ("probability_", "proba_", "score_", "y_prob_", "y_pred_proba_")
_YES = ("1", "true", "yes", "positive", "y")
_MOST_CLASSES = 1000
_NUMBERS = 50  # distinct whole numbers beyond which they are quantities


@dataclass(frozen=True, slots=True)
class Understood:
    """How a table is read. `task`: "binary", "classes" or "regression"; `why` says how that was told.

    `positive`: index of the class whose score it is (binary). `features`: the numeric columns, or the embedding, by which an
    estimate without labels judges where a row lies. `given`: numbers are indices into the classes already.
    """

    task: str
    why: str
    columns: Mapping[str, Any]
    classes: tuple[str, ...] = ()
    positive: int = -1
    features: tuple[str, ...] = ()
    given: bool = False

    def read(self, table: Any) -> Answers:
        """The answers of a table, or of a part of one.

        Raises StateError when a column that the reference had is not there.
        """
        needed = [name for role, names in self.columns.items() if role != "target" for name in _several(names)]
        if missing := [name for name in needed if name not in names_of(table)]:
            raise StateError(
                f"column {missing[0]!r} is in the reference and not here; there are {', '.join(names_of(table))}. Name it alike in both"
            )
        found = _columns(table)
        n = length_of(table)
        return _numbers(self, found, n) if self.task == "regression" else _labels(self, found, n)


@dataclass(frozen=True, slots=True)
class Answers:
    """Columns as `luthier.types.Columns` has them, and rows that cannot be used, by what is wrong with them."""

    columns: Columns
    rows: int
    odd: Mapping[str, int]


def understand(reference: Any, roles: Mapping[str, Any]) -> Understood:
    """How to read tables like the reference. `roles`: role to column; also `task`, `positive` and `labels` (the classes).

    Raises StateError when there is no target or no answer among the columns, or a role names none.
    """
    names = names_of(reference)
    chosen = _chosen(names, roles)
    if "target" not in chosen or not ({"predicted", "score", "probabilities"} & chosen.keys()):
        absent = "target" if "target" not in chosen else "predicted (or score, or probabilities)"
        raise StateError(
            f"no column of the reference is the {absent}; there are {', '.join(names)}. Say which one is: "
            f'roles={{"target": …, "predicted": …}}'
        )
    found = _columns(part_of(reference, names=[name for part in chosen.values() for name in _several(part)]))
    task, why = _task(found, chosen, roles.get("task", ""))
    used = {name for part in chosen.values() for name in _several(part)}
    features = _features(reference, used)
    if task == "regression":
        kept = {role: name for role, name in chosen.items() if role in ("target", "predicted")}
        return Understood(task, why, kept, features=features)
    classes = _classes(found, chosen, roles)
    positive = _positive(classes, roles.get("positive")) if len(classes) == 2 else -1
    return Understood(
        "binary" if len(classes) == 2 else "classes", why, chosen, classes, positive, features, "labels" in roles
    )


def _chosen(names: Sequence[str], roles: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for role, known in ROLES.items():
        named = roles.get(role)
        if named is not None:
            if odd := [name for name in _several(named) if name not in names]:
                raise StateError(f"roles name {odd[0]!r} as {role}, and there is no such column: {', '.join(names)}")
            found[role] = named
        elif there := [name for name in known if name in names]:
            found[role] = there[0]
    if "probabilities" not in found:
        for prefix in _PREFIXES:
            if len(several := [name for name in names if name.startswith(prefix)]) > 1:
                found["probabilities"] = tuple(several)
                break
    return found


def _several(names: Any) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _columns(table: Any) -> dict[str, Any]:
    """Name to Column, or to an array (n, d)."""
    if not isinstance(table, Mapping):
        return {column.name: column for column in columns_of(table)}
    arrays = {str(name): values if hasattr(values, "dtype") else np.asarray(values) for name, values in table.items()}
    wide = {name: np.asarray(values) for name, values in arrays.items() if np.ndim(values) == 2}
    flat = {name: values for name, values in arrays.items() if name not in wide}
    return {column.name: column for column in columns_of(flat)} | wide


def _task(found: Mapping[str, Any], chosen: Mapping[str, Any], asked: str) -> tuple[str, str]:
    if asked:
        if asked not in ("classification", "regression"):
            raise StateError(f"task is {asked!r}; it is classification or regression")
        return ("regression" if asked == "regression" else "classes"), f"{asked}, as asked for"
    if "score" in chosen or "probabilities" in chosen or "confidence" in chosen:
        return "classes", "classification: there are scores"
    for role in ("target", "predicted"):
        column = found[chosen[role]]
        if column.kind != "number":
            return "classes", f"classification: {role} holds {column.said}"
    for role in ("target", "predicted"):
        values = np.asarray(found[chosen[role]].values, np.float64)
        values = values[np.isfinite(values)]
        if (values != np.trunc(values)).any() or len(np.unique(values)) > _NUMBERS:
            return "regression", f"regression: {role} holds quantities"
    return "classes", "classification: target and predicted hold few whole numbers"


def _features(reference: Any, used: set[str]) -> tuple[str, ...]:
    found = _columns(reference)
    if "embedding" in found and isinstance(found["embedding"], np.ndarray):
        return ("embedding",)
    return tuple(
        name for name, column in found.items()
        if name not in used and isinstance(column, Column) and column.kind == "number"
        and name not in ("loss", "margin", "entropy", "at", "id", "target_score")
    )  # fmt: skip


def _classes(found: Mapping[str, Any], chosen: Mapping[str, Any], roles: Mapping[str, Any]) -> tuple[str, ...]:
    if "labels" in roles:
        return tuple(map(str, roles["labels"]))
    seen: set[str] = set()
    for role in ("target", "predicted"):
        if role in chosen:
            seen |= {name for name in _coded(found[chosen[role]])[1] if name}
    names = tuple(chosen.get("probabilities", ())) if not isinstance(chosen.get("probabilities"), str) else ()
    for prefix in _PREFIXES:
        if names and all(name.startswith(prefix) for name in names):
            seen |= {name.removeprefix(prefix) for name in names}
    if not seen:
        raise StateError("the reference has no labelled row: give a reference with targets")
    if len(seen) > _MOST_CLASSES:
        raise StateError(
            f"the target has {len(seen):,} distinct values: is it a quantity? Say roles={{'task': 'regression'}}"
        )
    ordered = sorted(seen, key=lambda name: (0, float(name), "") if _is_number(name) else (1, 0.0, name))
    return tuple(ordered) if len(ordered) > 1 else (*ordered, "other")


def _is_number(name: str) -> bool:
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False


def _positive(classes: Sequence[str], asked: Any) -> int:
    if asked is not None:
        if str(asked) not in classes:
            raise StateError(f"positive is {asked!r}; the classes are {', '.join(classes)}")
        return classes.index(str(asked))
    return next((i for i, name in enumerate(classes) if name.lower() in _YES), 1)


def _coded(column: Column) -> tuple[np.ndarray, list[str]]:
    """Indices (n,) into the names of its distinct values; a missing one is ""."""
    if column.kind == "number":
        values = np.asarray(column.values)
        distinct, codes = np.unique(values, return_inverse=True)
        return codes.reshape(-1), [_named(value) for value in distinct.tolist()]
    import pyarrow as pa

    values = (
        column.values
        if not isinstance(column.values, np.ndarray)
        else pa.array([str(v) for v in column.values.tolist()])
    )
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    array = array.cast(pa.string()).dictionary_encode()
    names = [_named(value) for value in array.dictionary.to_pylist()]
    codes = array.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)
    return codes, [*names, ""]


def _named(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _index(column: Any, about: Understood) -> tuple[np.ndarray, int]:
    """The class index (n,) of every row, -1 for none, and how many rows have an unknown class."""
    codes, names = _coded(column)
    places = {name: i for i, name in enumerate(about.classes)}
    if about.given and column.kind == "number":
        places = {str(i): i for i in range(len(about.classes))} | {"-1": -1}
    places |= {"": -1}
    look = np.array([places.get(name, -2) for name in names], np.int64)
    found = look[codes] if len(names) else np.zeros(0, np.int64)
    unknown = int((found == -2).sum())
    return np.maximum(found, -1), unknown


def _labels(about: Understood, found: Mapping[str, Any], n: int) -> Answers:
    """Columns of a classification: predicted, target, loss, and score, probabilities, confidence where there are any."""
    odd: dict[str, int] = {}
    columns: dict[str, Any] = {}
    p = _probabilities(about, found, n, odd)
    if p is not None:
        columns["probabilities"], columns["confidence"] = p, p.max(axis=1)
    if "score" in about.columns and about.positive >= 0:
        columns["score"] = _chances(found[about.columns["score"]], odd, n)
    elif p is not None and about.positive >= 0:
        columns["score"] = p[:, about.positive]
    if "confidence" in about.columns:
        columns["confidence"] = _chances(found[about.columns["confidence"]], odd, n)
    elif "score" in columns and "confidence" not in columns:
        columns["confidence"] = np.maximum(columns["score"], 1 - columns["score"])
    columns["predicted"] = _predicted(about, found, columns, odd, n)
    columns["target"] = np.full(n, -1, np.int64)
    if about.columns["target"] in found:
        columns["target"], unknown = _index(found[about.columns["target"]], about)
        odd |= {"a target outside the known classes": unknown} if unknown else {}
    known = (columns["target"] >= 0) & (columns["predicted"] >= 0)
    columns["loss"] = np.where(known, (columns["predicted"] != columns["target"]).astype(np.float64), np.nan)
    return Answers(columns | _features_of(about, found, n), n, odd)


def _probabilities(about: Understood, found: Mapping[str, Any], n: int, odd: dict[str, int]) -> Any:
    """(n, classes) of float64, NaN in rows that are no probabilities; None where there are none."""
    names = about.columns.get("probabilities")
    if names is None:
        return None
    if isinstance(names, str):
        p = np.asarray(found[names], np.float64) if isinstance(found[names], np.ndarray) else None
        if p is None or p.shape != (n, len(about.classes)):
            shape = None if p is None else p.shape
            raise StateError(
                f"column {names!r} has shape {shape}; probabilities are ({n}, {len(about.classes)}), classes in the order {', '.join(about.classes)}"
            )
    else:
        prefix = next((one for one in _PREFIXES if names[0].startswith(one)), "")
        order = {name.removeprefix(prefix): name for name in names}
        if absent := [name for name in about.classes if name not in order]:
            raise StateError(f"there is no probability of class {absent[0]!r} among {', '.join(names)}")
        p = np.column_stack([_quantities(found[order[name]]) for name in about.classes])
    with np.errstate(invalid="ignore"):
        good = ((p >= 0) & (p <= 1)).all(axis=1) & (np.abs(p.sum(axis=1) - 1) <= 1e-4)
    if n - good.sum():
        odd["probabilities outside [0, 1], or that do not sum to 1"] = int(n - good.sum())
    return np.where(good[:, None], p, np.nan)


def _chances(column: Any, odd: dict[str, int], n: int) -> np.ndarray:
    """A column of probabilities (n,), NaN where it is none."""
    p = _quantities(column)
    with np.errstate(invalid="ignore"):
        bad = int(((p < 0) | (p > 1)).sum())
    if bad:
        odd["a score outside [0, 1]"] = bad
    return np.where((p >= 0) & (p <= 1), p, np.nan)


def _quantities(column: Any) -> np.ndarray:
    if column.kind != "number":
        raise StateError(f"column {column.name!r} holds {column.said}; numbers are needed: convert it")
    return np.asarray(column.values, np.float64)


def _predicted(
    about: Understood, found: Mapping[str, Any], columns: Mapping[str, Any], odd: dict[str, int], n: int
) -> np.ndarray:
    if "predicted" in about.columns:
        index, unknown = _index(found[about.columns["predicted"]], about)
        if unknown:
            odd["an answer outside the known classes"] = unknown
        return index
    if "probabilities" in columns:
        p = columns["probabilities"]
        whole = np.isfinite(p).all(axis=1) if len(p) else np.zeros(0, bool)
        return np.where(whole, np.where(np.isfinite(p), p, -1).argmax(axis=1) if len(p) else 0, -1).astype(np.int64)
    score = columns.get("score", np.full(n, np.nan))
    said = np.where(score >= 0.5, about.positive, 1 - about.positive)
    return np.where(np.isfinite(score), said, -1).astype(np.int64)


def _numbers(about: Understood, found: Mapping[str, Any], n: int) -> Answers:
    """Columns of a regression: predicted, target, `size` of the error and its signed value, NaN where one is unknown."""
    predicted = _quantities(found[about.columns["predicted"]])
    target = np.full(n, np.nan)
    if about.columns["target"] in found:
        target = _quantities(found[about.columns["target"]])
    with np.errstate(invalid="ignore"):
        error = predicted - target
    odd = {"an infinite number": int(np.isinf(predicted).sum() + np.isinf(target).sum())}
    error = np.where(np.isfinite(error), error, np.nan)
    columns = {"predicted": predicted, "target": target, "error": error, "size": np.abs(error)}
    return Answers(columns | _features_of(about, found, n), n, {name: count for name, count in odd.items() if count})


def _features_of(about: Understood, found: Mapping[str, Any], n: int) -> dict[str, Any]:
    made = {}
    for name in about.features:
        column = found.get(name)
        if isinstance(column, np.ndarray):
            made[name] = column
        elif column is not None and column.kind == "number":
            made[f"in:{name}"] = np.asarray(column.values, np.float64)
    return made
